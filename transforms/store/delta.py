"""The Delta log: opening it and putting its errors into words."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from transforms.errors import CommitError, PlaceError, StoreError
from transforms.files import filesystem, objects

_PROVIDERS = {"s3": "AWS", "gs": "GOOGLE"}
_PATIENCE = {
    "connect_timeout": f"{objects.CONNECT_SECONDS:g}s",
    "timeout": f"{objects.READ_SECONDS:g}s",
    "max_retries": str(objects.ATTEMPTS),
    "retry_timeout": f"{objects.READ_SECONDS:g}s",
}
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|↳")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class DataFile(NamedTuple):
    """One live Parquet file of a table.

    Attributes:
      uri: absolute path or address.
      path: relative to the table, as the log names it.
      rows: number of rows.
      size: bytes.
      has_views: it may have augmented views; False when the log says that it has none.
    """

    uri: str
    path: str
    rows: int
    size: int
    has_views: bool = True


def normal_path(path: str) -> str:
    """Returns a table's path in the form that deltalake takes: absolute, or an address of an object store.

    Raises:
      StoreError: for a local path with an escape like ``%20``, which deltalake looks for unescaped.
    """
    filesystem.check_uri(path)
    if not filesystem.is_local(path):
        return path.rstrip("/")
    place = filesystem.local_path(path)
    escape = _ESCAPE.search(place)
    if escape:
        raise StoreError(f"{place}: the Delta log cannot live below a name with {escape[0]!r}; rename it")
    return place


def storage_options(path: str) -> dict[str, str] | None:
    """Returns what deltalake must be told of an object store; credentials it takes from the environment."""
    if filesystem.is_local(path):
        return None
    scheme = filesystem.scheme_of(path)
    client, _ = filesystem.open_objects(path)
    options = {**_PATIENCE, f"{_PROVIDERS[scheme]}_SKIP_SIGNATURE": str(client.anonymous).lower()}
    endpoint = objects.endpoint(scheme)
    if endpoint and scheme == "s3":
        options |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
    elif endpoint:
        account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
        options["GOOGLE_SERVICE_ACCOUNT_KEY"] = json.dumps({**account, "private_key_id": ""})
    return options


@contextlib.contextmanager
def errors_as(kind: type[StoreError] | type[CommitError], doing: str) -> Iterator[None]:
    """Turns what deltalake raises into ``kind``, one line that begins with ``doing``.

    A panic of deltalake (after a fork, for one) is no Exception but a BaseException of its own.
    """
    try:
        yield
    except (DeltaError, OSError, ValueError, OverflowError) as error:
        words = f"{doing}: {one_line(error)}"
        raise PlaceError.of(words) or kind(words) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise kind(f"{doing}: {one_line(error)}") from error


def open_delta(path: str, version: int | None = None) -> DeltaTable:
    """Opens the log at its newest version, or at ``version``."""
    return DeltaTable(path, version=version, storage_options=storage_options(path))


def data_files(table: DeltaTable, path: str) -> list[DataFile]:
    """Returns the live files of an open log, sorted by path; rows are -1 where the log does not know them."""
    actions = pa.table(table.get_add_actions())
    rows = actions.column("num_records").to_pylist() if "num_records" in actions.column_names else []
    rows = rows or [None] * actions.num_rows
    most = actions.column("max").to_pylist() if "max" in actions.column_names else [None] * actions.num_rows
    files = zip(actions.column("path").to_pylist(), rows, actions.column("size_bytes").to_pylist(), most, strict=True)
    return sorted(
        DataFile(
            uri=filesystem.join(path, name),
            path=name,
            rows=-1 if count is None else count,
            size=size,
            has_views=(greatest or {}).get("view_id") != 0,
        )
        for name, count, size, greatest in files
    )


def one_line(error: BaseException) -> str:
    """Returns an error's words as one line without terminal colours, at most 300 characters."""
    words = _DECORATION.sub("", str(error)).split()
    return " ".join(words)[:300] or type(error).__name__
