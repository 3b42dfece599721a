"""Ray Data: images read by `read_images`, a Keras model in an actor; then Pillow and the converted network in actors.

Documented in https://docs.ray.io/en/latest/data/working-with-images.html (read_images, map, map_batches with a class
that loads the model once, write_parquet) and https://docs.ray.io/en/latest/data/batch_inference.html; its example of
image classification is written the same way, with a network of torchvision's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import job

ACTORS = 2
BATCH = 32


def recommended(flags: argparse.Namespace) -> None:
    """Reads images into the object store, resizes in tasks, calls the model in an actor; the other core reads."""
    import ray

    ray.init(logging_level="ERROR", include_dashboard=False)
    images = ray.data.read_images(str(flags.images), size=(job.SIZE, job.SIZE), mode="RGB", include_paths=True)
    vectors = images.map_batches(
        KerasActor, fn_constructor_args=(flags.keras, flags.marks), batch_size=BATCH, concurrency=1
    )
    vectors.write_parquet(str(flags.output))


class KerasActor:
    """Loads the model once and calls it on a batch."""

    def __init__(self, path: Path, marks: Path) -> None:
        import keras

        self._model = keras.models.load_model(path, compile=False)
        self._marks = marks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Adds the vectors of a batch."""
        vectors = self._model.predict_on_batch(batch["image"].astype(np.float32))
        job.mark(self._marks, len(vectors))
        return {"path": batch["path"], "embedding": vectors}


def same_network(flags: argparse.Namespace) -> None:
    """Sends paths, not pixels: each of two actors decodes and encodes, so that a core is never idle."""
    import ray

    ray.init(logging_level="ERROR", include_dashboard=False)
    files = ray.data.from_items([{"path": path} for path in job.paths(flags.images)], override_num_blocks=16)
    vectors = files.map_batches(
        LiteRtActor,
        fn_constructor_args=(flags.litert, flags.marks),
        batch_size=BATCH,
        num_cpus=0.9,
        concurrency=ACTORS,
    )
    vectors.write_parquet(str(flags.output))


class LiteRtActor:
    """Decodes and encodes a batch of paths on one core."""

    def __init__(self, path: Path, marks: Path) -> None:
        self._network = job.ConvertedNetwork(path)
        self._marks = marks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Adds the vectors of a batch."""
        vectors = self._network(np.stack([job.read_pixels(path) for path in batch["path"]]))
        job.mark(self._marks, len(vectors))
        return {"path": batch["path"], "embedding": vectors}


if __name__ == "__main__":
    job.main(recommended, same_network)
