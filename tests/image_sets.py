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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    second: str = ""
    group: str = ""
    camera: str = ""

    @property
    def path(self) -> str:
        return f"{self.split}/{self.label}/{self.name}"

    @property
    def labels(self) -> list[str]:
        return [self.label, *([self.second] if self.second else [])]

    def fields(self, *names: str) -> dict[str, Any]:
        """What is known, under the names of our own manifest; what is empty is left out."""
        known = {"labels": self.labels, "split": self.split, "group": self.group, "camera": self.camera}
        return {name: known[name] for name in names or known if known[name]}


def samples(count: int, described: bool = False) -> list[Sample]:
    """Draws images of both labels, in all three splits; ``described`` ones have groups, cameras, a second label."""
    splits = ("train", "train", "validation", "test")
    plain = [
        Sample(f"{n:04d}.jpg", encoded(draw(LABELS[n % 2], n)), LABELS[n % 2], splits[n // 2 % 4]) for n in range(count)
    ]
    if not described:
        return plain
    more = [("" if n % 3 else "outside", f"site {n // 2}", f"K{n % 5 % 2}") for n in range(count)]
    return [one._replace(second=a, group=b, camera=c) for one, (a, b, c) in zip(plain, more, strict=True)]


def write_files(root: Path, images: Sequence[Sample]) -> Path:
    """Writes ``root/<split>/<label>/<name>``."""
    for image in images:
        (root / image.path).parent.mkdir(parents=True, exist_ok=True)
        (root / image.path).write_bytes(image.data)
    return root


def write_table(path: Path, rows: Iterable[Sequence[str]], separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
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
        files += [(f"{key}.json", json.dumps(image.fields("split", "group", "camera")).encode())]
    return tar_bytes(files)


def webdataset_of_json(images: Sequence[Sample]) -> bytes:
    """Samples that tell all, several labels too, in their JSON."""
    files = ((image.name, image.data, json.dumps(image.fields()).encode()) for image in images)
    return tar_bytes(pair for name, data, text in files for pair in ((name, data), (name[:-3] + "json", text)))


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
                    "image/class/text": [label.encode() for label in image.labels],
                    "image/class/label": [1],
                    "image/filename": [image.name.encode()],
                    "image/height": [72],
                    **{key: [value.encode()] for key, value in image.fields("split", "group", "camera").items()},
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


def _hf_described(root: Path, images: Sequence[Sample]) -> Path:
    """Several ClassLabels an image, the bytes in a plain binary column, further columns beside them."""
    names = sorted({label for image in images for label in image.labels})
    rows = [
        {"image": image.data, **image.fields(), "labels": [names.index(label) for label in image.labels]}
        for image in images
    ]
    features = {"image": {"_type": "Image"}, "labels": {"feature": {"names": names, "_type": "ClassLabel"}}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), root / "a.parquet", row_group_size=30)
    return root / "a.parquet"


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _vertex_item(root: Path, image: Sample) -> dict[str, object]:
    ml_use = "training" if image.split == "train" else image.split
    several = [{"displayName": label} for label in image.labels]
    return {
        "imageGcsUri": str(root / image.path),
        **({"classificationAnnotations": several} if image.second else {"classificationAnnotation": several[0]}),
        "dataItemResourceLabels": {
            "aiplatform.googleapis.com/ml_use": ml_use,
            **image.fields("group", "camera"),
        },
    }


def _table(images: Sequence[Sample], address: str, *names: str) -> list[list[str]]:
    """A header and a row an image."""
    rows = [{"labels": [], **image.fields(*names)} for image in images]
    cells = [["|".join(row["labels"]), *(row.get(name, "") for name in names if name != "labels")] for row in rows]
    header = [address, "labels", *(name for name in names if name != "labels")]
    return [header, *([image.path, *cell] for image, cell in zip(images, cells, strict=True))]


ALL = ("labels", "split", "group", "camera")


Write = Callable[[Path, Sequence[Sample]], Path]
"""Writes images into an empty directory; returns what to name as the input. Manifests find files in ``files``."""


def _manifest(
    name: str, rows: Callable[[Path, Sequence[Sample]], Iterable[Sequence[str]]], separator: str = ","
) -> Write:
    def write(root: Path, images: Sequence[Sample]) -> Path:
        write_files(root / "files", images)
        return write_table(root / "files" / name, rows(root / "files", images), separator)

    return write


def _json(name: str, row: Callable[[Path, Sample], object]) -> Write:
    def write(root: Path, images: Sequence[Sample]) -> Path:
        write_files(root / "files", images)
        return write_lines(root / "files" / name, (row(root / "files", image) for image in images))

    return write


def _parquet(name: str, address: str) -> Write:
    def write(root: Path, images: Sequence[Sample]) -> Path:
        write_files(root, images)
        pq.write_table(pa.Table.from_pylist([{address: i.path, **i.fields()} for i in images]), root / name)
        return root / name

    return write


def _imagefolder(root: Path, images: Sequence[Sample]) -> Path:
    write_files(root, images)
    write_table(root / "metadata.csv", _table(images, "file_name", *ALL))
    return root


def _json_imagefolder(root: Path, images: Sequence[Sample]) -> Path:
    write_files(root, images)
    write_lines(root / "metadata.jsonl", ({"file_name": image.path, **image.fields()} for image in images))
    return root


def _split_imagefolders(root: Path, images: Sequence[Sample]) -> Path:
    for image in images:
        (root / image.split).mkdir(exist_ok=True)
        _written(root / image.split / image.name, image.data)
    for split in {image.split for image in images}:
        rows = _table([image for image in images if image.split == split], "file_name", "labels", "group", "camera")
        rows = [[row[0].rpartition("/")[2], *row[1:]] for row in rows]
        write_table(root / split / "metadata.csv", rows)
    return root


def _halves(root: Path, images: Sequence[Sample], name: str, pack: Callable[[Sequence[Sample]], bytes]) -> Path:
    half = len(images) // 2
    for number, part in enumerate((images[:half], images[half:])):
        _written(root / f"{number}-{name}", pack(part))
    return root / f"*-{name}"


def _pack(name: str, pack: Callable[[Sequence[Sample]], bytes]) -> Write:
    return lambda root, images: _written(root / name, pack(images))


def _in_folders(images: Sequence[Sample], wrapper: str = "") -> Iterator[tuple[str, bytes]]:
    return ((f"{wrapper}{image.path}", image.data) for image in images)


class Form(NamedTuple):
    """A dialect or container: its name in DIALECTS, what writes it, and what of an image it can tell."""

    dialect: str
    write: Write
    tells: tuple[str, ...]


_FOLDER = ("label", "split")

FORMS: dict[str, Form] = {
    "folder": Form("folder", write_files, _FOLDER),
    "glob": Form("glob", lambda root, images: write_files(root, images) / "*" / "*" / "*.jpg", _FOLDER),
    "manifest csv": Form("manifest", _manifest("m.csv", lambda _, images: _table(images, "uri", *ALL)), ALL),
    "manifest tsv without split": Form(
        "manifest",
        _manifest("m.tsv", lambda _, images: _table(images, "uri", "labels", "group", "camera"), "\t"),
        ("labels", "group", "camera"),
    ),
    "manifest jsonl": Form("manifest", _json("m.jsonl", lambda _, image: {"uri": image.path, **image.fields()}), ALL),
    "manifest parquet": Form("manifest", _parquet("m.parquet", "uri"), ALL),
    "flowers-csv": Form(
        "flowers-csv",
        _manifest("f.csv", lambda root, images: [(str(root / i.path), *i.labels) for i in images]),
        ("labels",),
    ),
    "vertex-csv": Form(
        "vertex-csv",
        _manifest("v.csv", lambda root, images: [(i.split, str(root / i.path), *i.labels) for i in images]),
        ("labels", "split"),
    ),
    "vertex-jsonl": Form("vertex-jsonl", _json("v.jsonl", _vertex_item), ALL),
    "vertex-batch": Form(
        "vertex-batch",
        _json("b.jsonl", lambda root, image: {"content": str(root / image.path), "mimeType": "image/jpeg"}),
        (),
    ),
    "vertex-batch with more keys": Form(
        "vertex-batch",
        _json("b.jsonl", lambda root, image: {"content": str(root / image.path), **image.fields()}),
        ALL,
    ),
    "imagefolder": Form("imagefolder", _imagefolder, ALL),
    "imagefolder jsonl": Form("imagefolder", _json_imagefolder, ALL),
    "imagefolder parquet": Form("imagefolder", _parquet("metadata.parquet", "file_name"), ALL),
    "split imagefolders": Form("imagefolder", _split_imagefolders, ALL),
    "webdataset": Form("webdataset", _pack("a.tar", webdataset), ("label", "split", "group", "camera")),
    "webdataset gzip": Form(
        "webdataset",
        _pack("a.tar.gz", lambda images: gzip.compress(webdataset_of_json(images), 1)),
        ALL,
    ),
    "tar of folders": Form("webdataset", _pack("a.tar", lambda images: tar_bytes(_in_folders(images, "./"))), _FOLDER),
    "tar of folders gzip": Form(
        "webdataset",
        _pack("a.tgz", lambda images: gzip.compress(tar_bytes(_in_folders(images, "photos/")), 1)),
        _FOLDER,
    ),
    "tfrecord": Form("tfrecord", _pack("a.tfrecord", tfrecord), ALL),
    "tfrecord gzip": Form("tfrecord", _pack("odd", lambda images: gzip.compress(tfrecord(images), 1)), ALL),
    "zip": Form("zip", _pack("a.zip", lambda images: zip_bytes(_in_folders(images))), _FOLDER),
    "zip stored in one directory": Form(
        "zip", _pack("a.zip", lambda images: zip_bytes(_in_folders(images, "photos/"), zipfile.ZIP_STORED)), _FOLDER
    ),
    "hf-parquet": Form("hf-parquet", lambda root, images: write_hf_parquet(root / "a.parquet", images), _FOLDER),
    "hf-parquet text": Form(
        "hf-parquet", lambda root, images: write_hf_parquet(root / "a.parquet", images, False), _FOLDER
    ),
    "hf-parquet with more columns": Form("hf-parquet", _hf_described, ALL),
    "glob of tars": Form("webdataset", lambda root, images: _halves(root, images, "s.tar", webdataset_of_json), ALL),
    "folder of tars": Form(
        "webdataset", lambda root, images: _halves(root, images, "s.tar", webdataset_of_json).parent, ALL
    ),
}
"""Every form in which the same images can come."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
