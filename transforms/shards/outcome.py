"""What becomes of an image in a shard: its content and vector, or a dead letter."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import ImageError
from transforms.sources.reference import ImageReference

Vectors = npt.NDArray[np.float32]
MAX_MESSAGE = 500


@dataclasses.dataclass(kw_only=True)
class EncodedImage:
    """An image on its way through the lane; ``pixels`` is let go once ``vector`` and those of its views are there.

    ``seconds`` is what the network took, where it was called for this image alone.
    """

    reference: ImageReference
    sha256: str
    width: int
    height: int
    format: str
    byte_size: int
    brightness: float | None = None  # mean of the pixels that enter the network, 0 to 1
    pixels: npt.NDArray[np.uint8] | None = None
    vector: Vectors | None = None
    seconds: float = 0.0
    views: list[Vectors] = dataclasses.field(default_factory=list)
    copied: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One image that has no row, and why."""

    reference: ImageReference
    sha256: str
    stage: str
    error: ImageError

    def to_row(self, run_id: str, attempt: int = 1) -> dict[str, Any]:
        """The row of transforms.store.schema.DEAD_LETTER_SCHEMA."""
        reference = self.reference
        return {
            "image_id": reference.image_id,
            "image_uri": reference.uri,
            "sha256": self.sha256,
            "stage": self.stage,
            "error_class": self.error.error_class.value,
            "error_type": self.error.error_type,
            "error_message": str(self.error).encode("utf-8", "backslashreplace").decode()[:MAX_MESSAGE],
            "attempt": attempt,
            "run_id": run_id,
            "created": datetime.datetime.now(datetime.UTC),
            "labels": list(reference.labels),
            "split": reference.split,
            "group": reference.group,
            "attributes": list(reference.attributes),
            "source_fingerprint": reference.fingerprint,
        }


def stack_vectors(batch: Sequence[EncodedImage]) -> Vectors:
    """Returns ``float32[N, D]``: each image, its views behind it."""
    vectors = [vector for image in batch for vector in (image.vector, *image.views) if vector is not None]
    return np.stack(vectors).astype(np.float32, copy=False)
