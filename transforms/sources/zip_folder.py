"""A zip file as a folder: a directory per label, optionally below a directory per split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from transforms.errors import ErrorClass, ImageError
from transforms.sources.container import DEFAULT_CONTAINER_LIMITS, ContainerLimits, MemberList, open_binary
from transforms.sources.folder_layout import FolderLayout, is_image_name
from transforms.sources.reference import ImageReference
from transforms.sources.zip_format import ZipEntry, zip_entries


def list_zip(uri: str, limits: ContainerLimits = DEFAULT_CONTAINER_LIMITS) -> Iterator[ImageReference]:
    """Lists the images of a zip file from its directory; no member is inflated."""
    members = MemberList(uri, "zip")
    stream, size = open_binary(uri)
    with stream:
        layout = FolderLayout.of(_names_until_fault(zip_entries(stream, size, limits)))
        try:
            for entry in zip_entries(stream, size, limits):
                if is_image_name(entry.name):
                    yield members.reference(entry.name, entry.offset, entry.compressed, **layout.fields(entry.name))
        except ImageError as error:
            yield members.rest(error)
        except OSError as error:
            yield members.rest(ImageError(ErrorClass.READ_ERROR, str(error), type(error).__name__))


def _names_until_fault(entries: Iterable[ZipEntry]) -> Iterator[str]:
    try:
        yield from (entry.name for entry in entries)
    except (ImageError, OSError):
        return
