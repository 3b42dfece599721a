"""The worst errors: wrong predictions that were most certain."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from transforms.measures.batch import PredictionBatch


class Mistake(NamedTuple):
    """A wrong prediction; its fields stand in the order of badness, which settles ties."""

    negative_confidence: float
    image_uri: str
    image_id: str
    label: str
    prediction: str


class WorstErrors:
    """The ``limit`` most confident mistakes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.mistakes: list[Mistake] = []

    def add(self, batch: PredictionBatch, table: pa.RecordBatch) -> None:
        """Looks through the rows of ``batch``; ``table`` has image_id and image_uri of the same rows."""
        wrong = np.flatnonzero(~batch.correct)
        if len(wrong) > self.limit > 0:
            confidence = batch.confidence[wrong]
            least = np.partition(confidence, -self.limit)[-self.limit]
            wrong = wrong[confidence >= least]
        uris, ids = (table.column(name).take(pa.array(wrong)).to_pylist() for name in ("image_uri", "image_id"))
        fresh = [
            Mistake(
                -float(batch.confidence[row]),
                uri or "",
                image_id or "",
                batch.classes[batch.actual[row]],
                batch.classes[batch.predicted[row]],
            )
            for row, uri, image_id in zip(wrong.tolist(), uris, ids, strict=True)
        ]
        self._keep(fresh)

    def merge(self, other: WorstErrors) -> None:
        """Adds what ``other`` has found."""
        self._keep(other.mistakes)

    def _keep(self, fresh: list[Mistake]) -> None:
        self.mistakes = heapq.nsmallest(self.limit, [*self.mistakes, *fresh])

    def compute(self) -> list[dict[str, Any]]:
        """Returns the mistakes, most confident first."""
        return [
            {
                "image_id": mistake.image_id,
                "image_uri": mistake.image_uri,
                "label": mistake.label,
                "prediction": mistake.prediction,
                "confidence": -mistake.negative_confidence,
            }
            for mistake in self.mistakes
        ]
