"""tf.data: files read, decoded and resized by TensorFlow in parallel, a Keras model; then the converted network.

Documented in https://www.tensorflow.org/tutorials/load_data/images and https://www.tensorflow.org/guide/data_performance:
list_files, map with AUTOTUNE, batch, prefetch, and the model called on each batch.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.peers import job

BATCH = 32
LANES = 2


def recommended(flags: argparse.Namespace) -> None:
    """The tutorial's input pipeline, with the resizing it shows, and `predict` on a compiled model."""
    model = tf.keras.models.load_model(flags.keras, compile=False)
    dataset = _pixels(flags, antialias=False).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    callback = tf.keras.callbacks.LambdaCallback()
    callback.on_predict_batch_end = lambda _batch, logs: job.mark(flags.marks, len(logs["outputs"]))
    vectors = model.predict(dataset, verbose=0, callbacks=[callback])
    job.write_parquet(flags.output, job.paths(flags.images), vectors)


def same_network(flags: argparse.Namespace) -> None:
    """The same pipeline with antialiasing, and the converted network in two parallel calls of small batches."""
    network = job.ConvertedNetwork(flags.litert)
    dataset = _pixels(flags, antialias=True).batch(8)
    dataset = dataset.map(lambda pixels: tf.numpy_function(network, [pixels], tf.float32), num_parallel_calls=LANES)
    vectors = []
    for batch in dataset.prefetch(tf.data.AUTOTUNE):
        vectors.append(batch.numpy())
        job.mark(flags.marks, len(batch))
    job.write_parquet(flags.output, job.paths(flags.images), np.concatenate(vectors))


def _pixels(flags: argparse.Namespace, antialias: bool) -> Any:
    files = tf.data.Dataset.list_files(f"{flags.images}/*.jpg", shuffle=False)

    def decode(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(image, [job.SIZE, job.SIZE], antialias=antialias)
        return tf.cast(tf.round(image), tf.uint8) if antialias else image

    return files.map(decode, num_parallel_calls=tf.data.AUTOTUNE)


if __name__ == "__main__":
    job.main(recommended, same_network)
