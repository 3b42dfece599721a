"""Keras: `image_dataset_from_directory` and `predict`, with a Keras model; then with the converted network as a layer.

Documented in https://keras.io/api/data_loading/image/ and https://keras.io/api/models/model_training_apis/ (predict).
"""

from __future__ import annotations

import argparse
import concurrent.futures
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers import job

BATCH = 32
LANES = 2


def recommended(flags: argparse.Namespace) -> None:
    """What Keras' own pages show, with their defaults."""
    _predict(flags, keras.models.load_model(flags.keras, compile=False))


def same_network(flags: argparse.Namespace) -> None:
    """The same, with the converted network in two threads in place of the model's layers."""
    network, pool = job.ConvertedNetwork(flags.litert), concurrent.futures.ThreadPoolExecutor(LANES)

    def encode(images: Any) -> job.Vectors:
        pixels = np.rint(images).astype(np.uint8)
        return np.concatenate(list(pool.map(network, np.array_split(pixels, LANES))))

    class Converted(keras.Model):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(encode, [images], tf.float32), [None, job.DIMENSION])

    _predict(flags, Converted())


def _predict(flags: argparse.Namespace, model: Any) -> None:
    dataset = keras.utils.image_dataset_from_directory(
        flags.images, labels=None, shuffle=False, batch_size=BATCH, image_size=(job.SIZE, job.SIZE), verbose=False
    )
    names = list(dataset.file_paths)
    callback = keras.callbacks.Callback()
    callback.on_predict_batch_end = lambda _batch, logs: job.mark(flags.marks, len(logs["outputs"]))
    vectors = model.predict(dataset, verbose=0, callbacks=[callback])
    job.write_parquet(flags.output, names, vectors)


if __name__ == "__main__":
    job.main(recommended, same_network)
