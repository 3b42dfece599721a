"""Daft: its own download, decoding and resizing, a Keras model in a class; then Pillow and the converted network.

Documented in https://docs.daft.ai/en/stable/modalities/images/ (from_glob_path, download, decode_image, resize) and
https://docs.daft.ai/en/stable/custom-code/cls/ (`daft.cls` loads the model once a worker, `daft.method.batch` takes
a batch, `use_process` where Python's lock would be in the way); Daft's published benchmark of image classification
is written the same way.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import daft
import numpy as np

from benchmarks.peers import job

WORKERS = 2
BATCH = 100
VECTOR = daft.DataType.embedding(daft.DataType.float32(), job.DIMENSION)


@daft.cls
class KerasModel:
    """Loads the model once and calls it on a batch of images."""

    def __init__(self, path: str, marks: str) -> None:
        import keras

        self._model = keras.models.load_model(path, compile=False)
        self._marks = Path(marks)

    @daft.method.batch(return_dtype=VECTOR, batch_size=BATCH)
    def encode(self, images: daft.Series) -> Any:
        """Returns the vectors of a batch of decoded images."""
        vectors = self._model.predict_on_batch(np.stack(images.to_pylist()).astype(np.float32))
        job.mark(self._marks, len(vectors))
        return list(vectors)


@daft.cls(max_concurrency=WORKERS, use_process=True)
class LiteRtModel:
    """Decodes and encodes paths, a process for each core."""

    def __init__(self, path: str, marks: str) -> None:
        self._network = job.ConvertedNetwork(Path(path))
        self._marks = Path(marks)

    @daft.method.batch(return_dtype=VECTOR, batch_size=32)
    def encode(self, files: daft.Series) -> Any:
        """Returns the vectors of a batch of files."""
        vectors = self._network(np.stack([job.read_pixels(path.removeprefix("file://")) for path in files.to_pylist()]))
        job.mark(self._marks, len(vectors))
        return list(vectors)


def recommended(flags: argparse.Namespace) -> None:
    """Daft downloads, decodes and resizes in its own threads; the network is called in the same process."""
    from daft.functions import decode_image, download, resize

    files = daft.from_glob_path(f"{flags.images}/*.jpg")
    pixels = resize(decode_image(download(files["path"]), mode="RGB"), job.SIZE, job.SIZE)
    model = KerasModel(str(flags.keras), str(flags.marks))
    files.with_column("embedding", model.encode(pixels)).select("path", "embedding").write_parquet(str(flags.output))


def same_network(flags: argparse.Namespace) -> None:
    """Hands paths to two processes that decode and encode, so that a core is never idle."""
    files = daft.from_glob_path(f"{flags.images}/*.jpg").into_batches(256)
    model = LiteRtModel(str(flags.litert), str(flags.marks))
    rows = files.with_column("embedding", model.encode(files["path"])).select("path", "embedding")
    rows.write_parquet(str(flags.output))


if __name__ == "__main__":
    job.main(recommended, same_network)
