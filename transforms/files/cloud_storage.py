"""Cloud Storage by google-cloud-storage; see objects.ObjectClient."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import google.auth
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
    RetryError,
    Unauthorized,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

from transforms.files.objects import (
    ATTEMPTS,
    CONNECT_SECONDS,
    READ_SECONDS,
    Entry,
    ObjectClient,
    credentials_refused,
    directory_prefix,
    no_credentials,
    split_path,
    unreachable,
)


class CloudStorageClient(ObjectClient):
    """Cloud Storage by google-cloud-storage."""

    _FIELDS = "items(name,size,updated,generation),prefixes,nextPageToken"

    def __init__(self, address: str | None) -> None:
        os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")  # else the search for credentials takes 12 seconds
        credentials: Any = AnonymousCredentials()
        if address is None:
            with contextlib.suppress(DefaultCredentialsError):
                credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_write"])
        self.anonymous = isinstance(credentials, AnonymousCredentials)
        options = {"api_endpoint": address} if address else None
        self._gcs = storage.Client(project="heliograph", credentials=credentials, client_options=options)
        retry = DEFAULT_RETRY.with_timeout(CONNECT_SECONDS * ATTEMPTS)
        self._call: dict[str, Any] = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "retry": retry}

    def probe(self, bucket: str) -> None:
        """Asks for one object."""
        try:
            quickly = self._call | {"retry": DEFAULT_RETRY.with_timeout(CONNECT_SECONDS)}
            list(self._gcs.list_blobs(bucket, max_results=1, fields=self._FIELDS, **quickly))
        except (Unauthorized, Forbidden) as error:
            if self.anonymous:
                raise no_credentials("gs", bucket) from error
            if isinstance(error, Unauthorized):
                raise credentials_refused("gs", bucket, error) from error
        except RefreshError as error:
            raise credentials_refused("gs", bucket, error) from error
        except (RetryError, TransportError, RequestException) as error:
            raise unreachable("gs", bucket, error) from error
        except GoogleAPICallError:
            return  # a bucket that is not there, or not to be listed, is told by what is done to it

    def walk(self, root: str) -> Iterator[Entry]:
        """Pages through the listing."""
        bucket, name = split_path(root)
        with _gcs_errors(root):
            blobs = self._gcs.list_blobs(bucket, prefix=directory_prefix(name), fields=self._FIELDS, **self._call)
            yield from self._entries(bucket, blobs)

    def children(self, root: str) -> tuple[list[Entry], list[str]]:
        """Lists one level."""
        bucket, name = split_path(root)
        with _gcs_errors(root):
            blobs = self._gcs.list_blobs(
                bucket, prefix=directory_prefix(name), delimiter="/", fields=self._FIELDS, **self._call
            )
            entries = list(self._entries(bucket, blobs))
            return entries, [f"{bucket}/{prefix.rstrip('/')}" for prefix in sorted(blobs.prefixes)]

    def fingerprint(self, path: str) -> str:
        """Asks for the object's metadata."""
        bucket, name = split_path(path)
        with _gcs_errors(path):
            blob = self._gcs.bucket(bucket).get_blob(name, **self._call)
        return _generation(blob) if blob else ""

    def create(self, path: str, data: bytes) -> bool:
        """Writes on the condition that there is no object."""
        bucket, name = split_path(path)
        with _gcs_errors(path):
            try:
                self._gcs.bucket(bucket).blob(name).upload_from_string(data, if_generation_match=0, **self._call)
            except PreconditionFailed:
                return False
        return True

    def _entries(self, bucket: str, blobs: Iterable[Any]) -> Iterator[Entry]:
        for blob in blobs:
            if not blob.name.endswith("/"):
                yield Entry(f"{bucket}/{blob.name}", blob.size, blob.updated, _generation(blob))


def _generation(blob: Any) -> str:
    return f"generation-{blob.generation}"


@contextlib.contextmanager
def _gcs_errors(path: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(f"gs://{path}: {error.message}") from error
    except Forbidden as error:
        raise PermissionError(f"gs://{path}: {error.message}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise OSError(f"gs://{path}: {error}") from error
