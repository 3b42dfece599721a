"""Local paths and object stores behind one interface, pyarrow's."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import uuid
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from transforms.errors import InputError, OptionError
from transforms.files import objects

SCHEMES = ("file", "gs", "s3")
"""The schemes that an address may have; a plain path has none."""

_LOCAL = fs.LocalFileSystem()
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def scheme_of(uri: str) -> str:
    """Returns the scheme of ``uri`` in lower case, empty for a plain path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", uri)
    return match.group(1).lower() if match else ""


def check_uri(uri: str) -> None:
    """Refuses an address that is empty, has control characters or a scheme outside SCHEMES.

    Raises:
      InputError: naming the address and the schemes there are.
    """
    if not uri or _CONTROL.search(uri):
        raise InputError(f"{uri!r} is no address: it is empty or has control characters")
    scheme = scheme_of(uri)
    if scheme and scheme not in SCHEMES:
        raise InputError(f"{uri!r}: scheme {scheme}:// is not read; use a local path, {', '.join(SCHEMES)}")


def is_local(uri: str) -> bool:
    """Returns whether ``uri`` lies on this machine."""
    return scheme_of(uri) in ("", "file")


def local_path(uri: str) -> str:
    """Returns the absolute path of a local address, links not resolved."""
    path = unquote(urlsplit(uri).path) if scheme_of(uri) == "file" else os.path.expanduser(uri)
    return os.path.abspath(path)


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """Opens the file system that ``uri`` lies on.

    ``AWS_ENDPOINT_URL`` and ``STORAGE_EMULATOR_HOST`` point at an emulator when they are set.

    Returns:
      The file system and the path within it.

    Raises:
      InputError: for an address that check_uri refuses.
      AccessError: the object store does not answer, or not without credentials.
    """
    check_uri(uri)
    if is_local(uri):
        return _LOCAL, local_path(uri)
    client, path = open_objects(uri)
    scheme = scheme_of(uri)
    return _remote(scheme, objects.endpoint(scheme), client.anonymous), path


def open_objects(uri: str) -> tuple[objects.ObjectClient, str]:
    """Opens the object store that ``uri`` lies on; returns it and ``bucket/name``.

    Raises:
      InputError, AccessError: as open_filesystem.
    """
    check_uri(uri)
    path = uri.split("://", 1)[1].rstrip("/")
    bucket = path.split("/", 1)[0]
    if not bucket:
        raise InputError(f"{uri!r} names no bucket; write {scheme_of(uri)}://BUCKET/NAME")
    return objects.connect(scheme_of(uri), bucket), path


@functools.lru_cache
def _remote(scheme: str, endpoint: str | None, anonymous: bool) -> fs.FileSystem:
    """Makes one file system a process, since each brings its own threads and connections."""
    if scheme == "s3":
        return fs.S3FileSystem(
            endpoint_override=endpoint,
            anonymous=anonymous,
            connect_timeout=objects.CONNECT_SECONDS,
            request_timeout=objects.READ_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=objects.ATTEMPTS),
        )
    from transforms.files.directories import with_directories

    address = urlsplit(endpoint or "")
    return with_directories(
        fs.GcsFileSystem(
            anonymous=anonymous,
            scheme=address.scheme or None,
            endpoint_override=address.netloc or None,
            retry_time_limit=datetime.timedelta(seconds=objects.READ_SECONDS),
        )
    )


def check_writable(flag: str, address: str) -> str:
    """Makes sure that files can be made below ``address``, as far as can be told without making one.

    Returns:
      The address, made absolute.

    Raises:
      OptionError: it is empty, a file, or lies where nothing may be written.
    """
    try:
        check_uri(address)
    except InputError as error:
        raise OptionError(f"{flag}: {error}") from error
    if not is_local(address):
        _check_bucket(flag, address)
        return address.rstrip("/")
    path = local_path(address)
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise OptionError(f"{flag} {path}: {existing} is a file; name a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OptionError(f"{flag} {path}: nothing may be written in {existing}; name another directory")
    return path


def _check_bucket(flag: str, address: str) -> None:
    filesystem, path = open_filesystem(address)
    bucket = path.split("/", 1)[0]
    try:
        found = filesystem.get_file_info(bucket).type
    except OSError:
        return  # one may be allowed to write objects and not to look at their bucket
    if found == fs.FileType.NotFound:
        raise OptionError(f"{flag} {address}: there is no bucket {bucket}; make it, or name another")


def absolute(address: str) -> str:
    """Returns an address that means the same in any directory."""
    return local_path(address) if is_local(address) else address


def join(root: str, *parts: str) -> str:
    """Appends path components to a path or address."""
    return "/".join([root.rstrip("/"), *parts])


def create(uri: str, data: bytes) -> bool:
    """Writes a small file unless there is one, whole or not at all; parents are made as needed.

    Of several that try at the same time, one succeeds.

    Returns:
      Whether the file was written.
    """
    if not is_local(uri):
        client, name = open_objects(uri)
        return client.create(name, data)
    path = local_path(uri)
    temporary = _write_temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except PermissionError:  # a file system without hard links
        if os.path.lexists(path):
            return False
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return True


def write_atomically(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Writes a small file that readers see whole or not at all; parents are made as needed."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:  # an object appears when it is complete
            stream.write(data)
        return
    temporary = _write_temporary(path, data)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_temporary(path: str, data: bytes) -> str:
    """Writes a file beside ``path`` and onto the disk; returns its path."""
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    temporary = f"{parent}/.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, error.strerror, path) from error
        raise
    return temporary


def remove_file(filesystem: fs.FileSystem, path: str) -> None:
    """Removes a file; one that is gone is as good, also when a repeated request finds what the first has done."""
    with contextlib.suppress(FileNotFoundError):
        filesystem.delete_file(path)


def read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    """Reads a whole small file."""
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read()
        return data
