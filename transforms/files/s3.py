"""S3, and what speaks its language, by boto3; see objects.ObjectClient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from transforms.errors import AccessError
from transforms.files.objects import (
    ATTEMPTS,
    CONNECT_SECONDS,
    CREDENTIALS,
    READ_SECONDS,
    THREADS,
    Entry,
    ObjectClient,
    credentials_refused,
    directory_prefix,
    no_credentials,
    split_path,
    unreachable,
)


class S3Client(ObjectClient):
    """S3, and what speaks its language, by boto3."""

    _BAD_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")

    def __init__(self, address: str | None) -> None:
        try:
            session = boto3.Session()
            self.anonymous = session.get_credentials() is None
            config = Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=THREADS,
                signature_version=UNSIGNED if self.anonymous else None,
            )
            self._s3 = session.client("s3", endpoint_url=address, config=config)
        except (BotoCoreError, ValueError) as error:
            raise AccessError(f"s3:// cannot be set up ({error}); {CREDENTIALS['s3']}") from error

    def probe(self, bucket: str) -> None:
        """Asks for one object."""
        try:
            self._s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as error:  # a bucket that is not there, or not to be listed, is told by what is done to it
            if self.anonymous and _status(error) in (401, 403):
                raise no_credentials("s3", bucket) from error
            if error.response["Error"].get("Code") in self._BAD_CREDENTIALS:
                raise credentials_refused("s3", bucket, error) from error
        except BotoCoreError as error:
            raise unreachable("s3", bucket, error) from error

    def walk(self, root: str) -> Iterator[Entry]:
        """Pages through the listing."""
        bucket, name = split_path(root)
        for page in self._pages(bucket, directory_prefix(name)):
            yield from self._entries(bucket, page)

    def children(self, root: str) -> tuple[list[Entry], list[str]]:
        """Lists one level."""
        bucket, name = split_path(root)
        entries: list[Entry] = []
        directories: list[str] = []
        for page in self._pages(bucket, directory_prefix(name), Delimiter="/"):
            entries += self._entries(bucket, page)
            directories += [f"{bucket}/{one['Prefix'].rstrip('/')}" for one in page.get("CommonPrefixes", ())]
        return entries, directories

    def fingerprint(self, path: str) -> str:
        """Asks for the object's metadata."""
        bucket, name = split_path(path)
        try:
            with _s3_errors(path):
                return _etag(self._s3.head_object(Bucket=bucket, Key=name))
        except (FileNotFoundError, PermissionError):  # S3 refuses what is not there when one may not list
            return ""

    def create(self, path: str, data: bytes) -> bool:
        """Writes on the condition that there is no object."""
        bucket, name = split_path(path)
        with _s3_errors(path):
            try:
                self._s3.put_object(Bucket=bucket, Key=name, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _status(error) not in (409, 412):  # 409: another is about to
                    raise
                return False
        return True

    def _pages(self, bucket: str, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        with _s3_errors(f"{bucket}/{prefix}"):
            yield from self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **options)

    def _entries(self, bucket: str, page: dict[str, Any]) -> Iterator[Entry]:
        for one in page.get("Contents", ()):
            if not one["Key"].endswith("/"):
                yield Entry(f"{bucket}/{one['Key']}", one["Size"], one["LastModified"], _etag(one))


def _etag(fields: dict[str, Any]) -> str:
    return f"etag-{fields['ETag'].strip(chr(34))}"


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextlib.contextmanager
def _s3_errors(path: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        kinds = {403: PermissionError, 404: FileNotFoundError}
        raise kinds.get(_status(error), OSError)(f"s3://{path}: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"s3://{path}: {error}") from error
