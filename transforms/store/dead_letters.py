"""The dead letters of a table: one row an image that has no row of its own, the newest attempt only.

```
TABLE/_dead_letters/<run>/<shard>.parquet
```
The commit of a run takes out the older letters of every image that the run had another go at, so what lies there is
what still fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from transforms.files.filesystem import join, open_filesystem, remove_file, write_atomically
from transforms.store.read import read_file
from transforms.store.schema import DEAD_LETTER_SCHEMA

DIRECTORY = "_dead_letters"


def dead_letter_files(table: str) -> list[str]:
    """Returns the addresses of a table's files of dead letters, sorted."""
    root, path = open_filesystem(join(table, DIRECTORY))
    found = root.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    names = sorted(info.path for info in found if info.type == fs.FileType.File and info.path.endswith(".parquet"))
    return [join(table, DIRECTORY, name[len(path) + 1 :]) for name in names]


def read_dead_letters(table: str) -> Iterator[pa.RecordBatch]:
    """Yields the dead letters of a table, file by file, as rows of DEAD_LETTER_SCHEMA."""
    for address in dead_letter_files(table):
        yield from _read(address).to_batches()


def publish_dead_letters(table: str, run_id: str, letters: Mapping[str, str], parts: Iterable[str]) -> None:
    """Puts a run's dead letters in place, and takes out the older ones of the images that it handled.

    Done twice, it changes nothing.

    Args:
      table: address of the table.
      run_id: of the run.
      letters: shard to its file of dead letters, relative to the table; it is removed once it is published.
      parts: the run's data files, relative to the table: images that have a row now.
    """
    older = [address for address in dead_letter_files(table) if f"/{DIRECTORY}/{run_id}/" not in address]
    attempts = _attempts(older)
    handled: set[str] = set()
    for shard, file in letters.items():
        target = join(table, DIRECTORY, run_id, f"{shard}.parquet")
        handled |= _publish(join(table, file), target, attempts)
    if attempts:
        for part in parts:
            for batch in read_file(join(table, part), ["image_id"]):
                handled.update(attempts.keys() & set(batch.column("image_id").to_pylist()))
        for address in older:
            _take_out(address, handled)


def _publish(source: str, target: str, attempts: Mapping[str, int]) -> set[str]:
    """Moves a file of letters, counting each one's attempts; returns their image ids."""
    root, path = open_filesystem(source)
    try:
        letters = _read(source)
    except FileNotFoundError:
        try:
            return set(_read(target).column("image_id").to_pylist())
        except FileNotFoundError:  # a run of the same plan was faster, and has published them under its own name
            return set()
    ids = letters.column("image_id").to_pylist()
    counted = pa.array([attempts.get(image_id, 0) + 1 for image_id in ids], pa.int32())
    column = letters.schema.get_field_index("attempt")
    write_letters(target, letters.set_column(column, letters.schema.field(column), counted))
    remove_file(root, path)
    return set(ids)


def _attempts(addresses: Iterable[str]) -> dict[str, int]:
    """Returns how often each image has been tried."""
    attempts: dict[str, int] = {}
    for address in addresses:
        try:
            letters = _read(address).select(["image_id", "attempt"])
        except FileNotFoundError:  # another run has taken it out
            continue
        for image_id, attempt in zip(*(column.to_pylist() for column in letters.columns), strict=True):
            attempts[image_id] = max(attempt, attempts.get(image_id, 0))
    return attempts


def _take_out(address: str, image_ids: Collection[str]) -> None:
    try:
        letters = _read(address)
    except FileNotFoundError:  # another run has taken it out
        return
    gone = pc.is_in(letters.column("image_id"), value_set=pa.array(sorted(image_ids), pa.string()))
    kept = letters.filter(pc.invert(gone))
    if kept.num_rows == 0:
        root, path = open_filesystem(address)
        remove_file(root, path)
    elif kept.num_rows < letters.num_rows:
        write_letters(address, kept)


def _read(address: str) -> pa.Table:
    root, path = open_filesystem(address)
    with root.open_input_file(path) as source:
        return pq.read_table(source, schema=DEAD_LETTER_SCHEMA)


def write_letters(address: str, letters: pa.Table) -> None:
    """Writes dead letters, of which there is a bounded number, as one Parquet file that appears whole."""
    sink = pa.BufferOutputStream()
    pq.write_table(letters, sink)
    root, path = open_filesystem(address)
    write_atomically(root, path, sink.getvalue().to_pybytes())
