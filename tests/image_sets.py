"""Writes the same images in every dialect and container that can be read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from tests.photographs import LABELS, draw, encoded


class Sample(NamedTuple):
    """An image with what is known of it."""

    name: str
    data: bytes
    label: str
    split: str

    @property
    def path(self) -> str:
        return f"{self.split}/{self.label}/{self.name}"


def samples(count: int) -> list[Sample]:
    """Draws images of both labels, in all three splits."""
    splits = ("train", "train", "validation", "test")
    return [
        Sample(f"{n:04d}.jpg", encoded(draw(LABELS[n % 2], n)), LABELS[n % 2], splits[n // 2 % 4]) for n in range(count)
    ]


def write_files(root: Path, images: Sequence[Sample]) -> Path:
    """Writes ``root/<split>/<label>/<name>``."""
    for image in images:
        (root / image.path).parent.mkdir(parents=True, exist_ok=True)
        (root / image.path).write_bytes(image.data)
    return root


def write_table(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def webdataset(images: Sequence[Sample]) -> bytes:
    files = []
    for image in images:
        key = image.name.removesuffix(".jpg")
        files += [(f"{key}.jpg", image.data), (f"{key}.cls", image.label.encode())]
        files += [(f"{key}.json", json.dumps({"split": image.split}).encode())]
    return tar_bytes(files)


def zip_bytes(files: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return stream.getvalue()


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def example(features: dict[str, list[bytes] | list[int] | list[float]]) -> bytes:
    """Serializes a tf.Example by the protocol buffer's definition."""
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], bytes):
            feature = _field(1, b"".join(_field(1, value) for value in values))  # type: ignore[arg-type]
        elif isinstance(values[0], float):
            feature = _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            feature = _field(3, _field(1, b"".join(_varint(value % 2**64) for value in values)))  # type: ignore[operator]
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def record(data: bytes) -> bytes:
    """Frames a record as TFRecord does."""

    def masked(content: bytes) -> bytes:
        crc = google_crc32c.value(content)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def tfrecord(images: Sequence[Sample]) -> bytes:
    return b"".join(
        record(
            example(
                {
                    "image/encoded": [image.data],
                    "image/class/text": [image.label.encode()],
                    "image/class/label": [1],
                    "image/filename": [image.name.encode()],
                    "image/height": [72],
                    "split": [image.split.encode()],
                }
            )
        )
        for image in images
    )


def write_hf_parquet(path: Path, images: Sequence[Sample], class_labels: bool = True, row_group_size: int = 5) -> Path:
    """Writes what ``datasets`` writes: struct{bytes, path}, and ClassLabel names in the schema's metadata."""
    names = sorted({image.label for image in images})
    labels = [names.index(image.label) for image in images] if class_labels else [image.label for image in images]
    table = pa.table(
        {
            "image": [{"bytes": image.data, "path": image.name} for image in images],
            "label": labels,
            "split": [image.split for image in images],
        }
    )
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if class_labels:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=row_group_size)
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _vertex_item(root: Path, image: Sample) -> dict[str, object]:
    ml_use = "training" if image.split == "train" else image.split
    return {
        "imageGcsUri": str(root / image.path),
        "classificationAnnotation": {"displayName": image.label},
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": ml_use},
    }


def _manifest_rows(images: Sequence[Sample], *header: str) -> list[Sequence[str]]:
    return [header, *((image.path, image.label, image.split) for image in images)]


Write = Callable[[Path, Sequence[Sample]], Path]
"""Writes images into an empty directory; returns what to name as the input. Manifests find files in ``files``."""


def _manifest(name: str, rows: Callable[[Path, Sequence[Sample]], Iterable[Sequence[str]]]) -> Write:
    def write(root: Path, images: Sequence[Sample]) -> Path:
        write_files(root / "files", images)
        return write_table(root / "files" / name, rows(root / "files", images))

    return write


def _json(name: str, row: Callable[[Path, Sample], object]) -> Write:
    def write(root: Path, images: Sequence[Sample]) -> Path:
        write_files(root / "files", images)
        return write_lines(root / "files" / name, (row(root / "files", image) for image in images))

    return write


def _imagefolder(root: Path, images: Sequence[Sample]) -> Path:
    write_files(root, images)
    write_table(root / "metadata.csv", _manifest_rows(images, "file_name", "label", "split"))
    return root


def _split_imagefolders(root: Path, images: Sequence[Sample]) -> Path:
    for image in images:
        (root / image.split).mkdir(exist_ok=True)
        _written(root / image.split / image.name, image.data)
    for split in {image.split for image in images}:
        rows = [(image.name, image.label) for image in images if image.split == split]
        write_table(root / split / "metadata.csv", [("file_name", "label"), *rows])
    return root


def _halves(root: Path, images: Sequence[Sample], name: str, pack: Callable[[Sequence[Sample]], bytes]) -> Path:
    half = len(images) // 2
    for number, part in enumerate((images[:half], images[half:])):
        _written(root / f"{number}-{name}", pack(part))
    return root / f"*-{name}"


FORMS: dict[str, tuple[str, Write]] = {
    "folder": ("folder", write_files),
    "glob": ("glob", lambda root, images: write_files(root, images) / "*" / "*" / "*.jpg"),
    "manifest": ("manifest", _manifest("m.csv", lambda _, images: _manifest_rows(images, "uri", "label", "split"))),
    "vertex-csv": (
        "vertex-csv",
        _manifest("v.csv", lambda root, images: [(i.split, str(root / i.path), i.label) for i in images]),
    ),
    "vertex-jsonl": ("vertex-jsonl", _json("v.jsonl", _vertex_item)),
    "imagefolder": ("imagefolder", _imagefolder),
    "split imagefolders": ("imagefolder", _split_imagefolders),
    "webdataset": ("webdataset", lambda root, images: _written(root / "a.tar", webdataset(images))),
    "webdataset gzip": (
        "webdataset",
        lambda root, images: _written(root / "a.tar.gz", gzip.compress(webdataset(images))),
    ),
    "tfrecord": ("tfrecord", lambda root, images: _written(root / "a.tfrecord", tfrecord(images))),
    "tfrecord gzip": ("tfrecord", lambda root, images: _written(root / "odd", gzip.compress(tfrecord(images)))),
    "zip": ("zip", lambda root, images: _written(root / "a.zip", zip_bytes((i.path, i.data) for i in images))),
    "hf-parquet": ("hf-parquet", lambda root, images: write_hf_parquet(root / "a.parquet", images)),
    "hf-parquet text": ("hf-parquet", lambda root, images: write_hf_parquet(root / "a.parquet", images, False)),
    "glob of tars": ("webdataset", lambda root, images: _halves(root, images, "s.tar", webdataset)),
    "folder of tars": ("webdataset", lambda root, images: _halves(root, images, "s.tar", webdataset).parent),
}
"""What tells split and label of every image: its name, its dialect, and what writes it."""

LABELLED_ONLY: dict[str, tuple[str, Write]] = {
    "flowers-csv": (
        "flowers-csv",
        _manifest("f.csv", lambda root, images: [(str(root / i.path), i.label) for i in images]),
    ),
}
"""Forms that know no split."""

ADDRESSES_ONLY: dict[str, tuple[str, Write]] = {
    "vertex-batch": (
        "vertex-batch",
        _json("b.jsonl", lambda root, image: {"content": str(root / image.path), "mimeType": "image/jpeg"}),
    ),
}
"""Forms that know neither split nor label."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
