"""Local paths and object stores behind one interface, pyarrow's."""

from __future__ import annotations

import functools
import os
import re
import uuid
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from transforms.errors import InputError, OptionError

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
    """
    check_uri(uri)
    if is_local(uri):
        return _LOCAL, local_path(uri)
    endpoints = (os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("STORAGE_EMULATOR_HOST"))
    return _client(scheme_of(uri), *endpoints), uri.split("://", 1)[1].rstrip("/")


@functools.lru_cache
def _client(scheme: str, s3_endpoint: str | None, gcs_endpoint: str | None) -> fs.FileSystem:
    """Makes one client a process, since each brings its own threads and connections."""
    if scheme == "s3":
        return fs.S3FileSystem(endpoint_override=s3_endpoint)
    if not gcs_endpoint:
        return fs.GcsFileSystem()
    host = urlsplit(gcs_endpoint if "://" in gcs_endpoint else f"http://{gcs_endpoint}")
    return fs.GcsFileSystem(anonymous=True, scheme=host.scheme, endpoint_override=host.netloc)


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


def absolute(address: str) -> str:
    """Returns an address that means the same in any directory."""
    return local_path(address) if is_local(address) else address


def join(root: str, *parts: str) -> str:
    """Appends path components to a path or address."""
    return "/".join([root.rstrip("/"), *parts])


def write_atomically(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Writes a small file that readers see whole or not at all; parents are made as needed."""
    parent = path.rsplit("/", 1)[0]
    filesystem.create_dir(parent, recursive=True)
    if not isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_output_stream(path) as stream:  # an object appears when it is complete
            stream.write(data)
        return
    temporary = f"{parent}/.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def read_bytes(filesystem: fs.FileSystem, path: str) -> bytes:
    """Reads a whole small file."""
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read()
        return data
