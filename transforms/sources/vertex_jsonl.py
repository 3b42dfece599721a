"""Vertex AI's JSONL: what its data sets import, and what its batch prediction takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transforms.sources.manifest import reference_of
from transforms.sources.reference import ImageReference
from transforms.sources.rows import Row, json_rows

IMPORT_URI = "imageGcsUri"
BATCH_URI = "content"
ML_USE = "aiplatform.googleapis.com/ml_use"


def list_vertex_jsonl(uri: str, root: str) -> Iterator[ImageReference]:
    """Lists the items of an import file; their resource labels are attributes, but for the split.

    Raises:
      InputError: the first object has no ``imageGcsUri``.
    """
    for number, row in json_rows(uri, (IMPORT_URI,)):
        yield reference_of(row if isinstance(row, str) else _import_row(row), f"{uri}#row={number}", root)


def list_vertex_batch(uri: str, root: str) -> Iterator[ImageReference]:
    """Lists the instances of a batch prediction; ``mimeType`` is passed over, since the content tells it.

    Raises:
      InputError: the first object has no ``content``.
    """
    for number, row in json_rows(uri, (BATCH_URI,)):
        if not isinstance(row, str):
            row = {"uri": row.get(BATCH_URI)} | {k: v for k, v in row.items() if k not in (BATCH_URI, "mimeType")}
        yield reference_of(row, f"{uri}#row={number}", root)


def _import_row(item: Mapping[str, Any]) -> Row:
    annotations = item.get("classificationAnnotations") or item.get("classificationAnnotation") or []
    if isinstance(annotations, dict):
        annotations = [annotations]
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        return "classificationAnnotation is no object with a displayName"
    resource_labels = item.get("dataItemResourceLabels") or {}
    if not isinstance(resource_labels, dict):
        return "dataItemResourceLabels is no object"
    attributes = {name: value for name, value in resource_labels.items() if name != ML_USE}
    row: dict[str, Any] = {"labels": [one.get("displayName") for one in annotations]}
    return attributes | row | {"uri": item.get(IMPORT_URI), "split": resource_labels.get(ML_USE)}
