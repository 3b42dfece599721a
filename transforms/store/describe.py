"""Describes a table for people: what it holds, and what its versions did."""

from __future__ import annotations

import dataclasses
from typing import Any

from transforms.store.files import list_data_files
from transforms.store.log import last_change, read_versions
from transforms.store.read import count_images
from transforms.store.table import FeatureTable


def describe_table(table: FeatureTable) -> dict[str, Any]:
    """Returns encoder, dimension, rows, images, views, files, bytes, version, last change of a table, as JSON types."""
    files, changed = table.data_files(), last_change(table.path, table.version)
    rows, images = sum(max(file.rows, 0) for file in files), sum(map(count_images, files))
    return {
        "name": table.path.rsplit("/", 1)[-1],
        "path": table.path,
        "encoder": table.specification.name,
        "encoder_fingerprint": table.specification.fingerprint,
        "source": table.specification.source,
        "engine": table.specification.engine,
        "precision": table.specification.precision,
        "dimension": table.specification.dimension,
        "rows": rows,
        "images": images,
        "views": {"rows": rows - images, **dataclasses.asdict(table.views)},
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "version": table.version,
        "changed": changed.isoformat(timespec="seconds") if changed else None,
    }


def describe_versions(table: FeatureTable) -> list[dict[str, Any]]:
    """Returns the versions of a table, oldest first, as JSON types; ``missing`` counts files that were vacuumed."""
    existing = {file.name for file in list_data_files(table.path)}
    return [entry.to_json() for entry in read_versions(table.path, existing)]
