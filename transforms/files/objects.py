"""What pyarrow does not do on S3 and Cloud Storage: fingerprints in a listing, objects that are created once."""

from __future__ import annotations

import datetime
import functools
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from transforms.errors import AccessError

CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0
ATTEMPTS = 3
THREADS = 10
"""Objects that are asked for at the same time."""

_FAILURE_SECONDS = 60.0
"""For so long a bucket that does not answer is not asked again: each attempt costs seconds."""

_PACKAGES = {"s3": ("boto3", "aws"), "gs": ("google-cloud-storage", "gcp")}
_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}
CREDENTIALS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file",
}


class Entry(NamedTuple):
    """One object of a listing.

    Attributes:
      path: ``bucket/name``.
      size: bytes.
      modified: when it was written, UTC.
      fingerprint: another content has another one: the etag (S3) or the generation (Cloud Storage).
    """

    path: str
    size: int
    modified: datetime.datetime
    fingerprint: str


class ObjectClient(Protocol):
    """An object store; paths are ``bucket/name``. What cannot be done is an OSError."""

    anonymous: bool
    """No credentials were found, so that only what is public can be read."""

    def probe(self, bucket: str) -> None:
        """Raises AccessError when nothing answers, or when credentials are needed."""
        ...

    def walk(self, root: str) -> Iterator[Entry]:
        """Yields all objects below a directory, in the order of their names, a page at a time."""
        ...

    def children(self, root: str) -> tuple[list[Entry], list[str]]:
        """Returns the objects, and the paths of the directories, directly in a directory."""
        ...

    def fingerprint(self, path: str) -> str:
        """Returns that of one object, empty when it is not there."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Writes an object unless there is one; returns whether it did."""
        ...


def endpoint(scheme: str) -> str | None:
    """Returns the address that the environment names instead of the provider's own: an emulator, another S3."""
    found = next((os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)), None)
    return f"http://{found}" if found and "://" not in found else found


def connect(scheme: str, bucket: str) -> ObjectClient:
    """Returns the client of ``s3`` or ``gs``, once it is known that the bucket's store answers.

    Raises:
      AccessError: one line that names the remedy, within seconds; the same one for a minute.
    """
    client = _client(scheme, endpoint(scheme))
    _probes.check(client, bucket)
    return client


def fingerprints(client: ObjectClient, paths: Iterable[str]) -> list[str]:
    """Returns the fingerprints of single objects, asked for by several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(client.fingerprint, paths))


class _Probes:
    """Remembers which buckets have answered, and which have not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[int, str], tuple[float, str]] = {}

    def check(self, client: ObjectClient, bucket: str) -> None:
        key = (id(client), bucket)
        with self._lock:
            asked_at, failure = self._answers.get(key, (0.0, "never asked"))
            if failure and time.monotonic() - asked_at > _FAILURE_SECONDS:
                failure = self._ask(client, bucket)
                self._answers[key] = (time.monotonic(), failure)
        if failure:
            raise AccessError(failure)

    def _ask(self, client: ObjectClient, bucket: str) -> str:
        try:
            client.probe(bucket)
        except AccessError as error:
            return str(error)
        return ""


_probes = _Probes()


@functools.lru_cache
def _client(scheme: str, address: str | None) -> ObjectClient:
    try:
        if scheme == "s3":
            from transforms.files.s3 import S3Client

            return S3Client(address)
        from transforms.files.cloud_storage import CloudStorageClient

        return CloudStorageClient(address)
    except ImportError as error:
        package, extra = _PACKAGES[scheme]
        raise AccessError(f"{scheme}:// needs {package}: pip install 'heliograph[{extra}]' ({error})") from error


def no_credentials(scheme: str, bucket: str) -> AccessError:
    """Returns the error of a private bucket that is asked anonymously."""
    return AccessError(f"{scheme}://{bucket} is not public and there are no credentials: {CREDENTIALS[scheme]}")


def credentials_refused(scheme: str, bucket: str, error: Exception) -> AccessError:
    """Returns the error of credentials that are wrong or over."""
    return AccessError(f"{scheme}://{bucket}: the credentials are refused ({error}); {CREDENTIALS[scheme]}")


def unreachable(scheme: str, bucket: str, error: BaseException) -> AccessError:
    """Returns the error of a store that does not answer."""
    names = " or ".join(_ENDPOINTS[scheme])
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    reason = " ".join(str(cause).split())[:200]
    return AccessError(f"{scheme}://{bucket} cannot be reached ({reason}); check the network, and {names} if it is set")


def split_path(path: str) -> tuple[str, str]:
    """Returns bucket and name of ``bucket/name``."""
    bucket, _, name = path.partition("/")
    return bucket, name


def directory_prefix(name: str) -> str:
    """Returns what the names below a directory begin with; nothing for the bucket itself."""
    return f"{name.rstrip('/')}/" if name else ""
