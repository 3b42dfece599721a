"""Near duplicates: pairs of images that are almost the same for the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.report.page import Section
from pipelines.training.leaks import DEFAULT_THRESHOLD, LEAST_DIMENSION
from pipelines.training.near_duplicates import Space, nearest_above

SHOWN = 12


class Pair(NamedTuple):
    """Two rows and their cosine, in the space around the mean of all."""

    first: int
    second: int
    cosine: float


def find_pairs(vectors: npt.NDArray[np.float32], threshold: float = DEFAULT_THRESHOLD) -> list[Pair]:
    """Returns pairs of ``float32[N, D]`` that are at least so alike, the most alike first; of a crowd not all.

    Vectors shorter than LEAST_DIMENSION have none: they are alike by chance.
    """
    if len(vectors) < 2 or vectors.shape[1] < LEAST_DIMENSION:
        return []
    space, numbers = Space.of(vectors), np.arange(len(vectors))
    found: dict[tuple[int, int], float] = {}
    for bit in range(int(numbers[-1]).bit_length()):  # the numbers of every pair differ in one
        queries, pool = (numbers[(numbers >> bit & 1) == side] for side in (0, 1))
        nearest, cosines = nearest_above(space, vectors[queries], vectors[pool], threshold)
        for row in np.flatnonzero(nearest >= 0).tolist():
            first, second = sorted((int(queries[row]), int(pool[nearest[row]])))
            found[first, second] = float(cosines[row])
    pairs = (Pair(first, second, cosine) for (first, second), cosine in found.items())
    return sorted(pairs, key=lambda pair: (-pair.cosine, pair))


def near_duplicates(
    pairs: Sequence[Pair], uris: Sequence[str], labels: Sequence[str], splits: Sequence[str], total: int
) -> Section | None:
    """Returns the section; None without pairs.

    Args:
      pairs: of find_pairs.
      uris: of the images that were compared.
      labels: of those.
      splits: of those.
      total: images that the run embedded.
    """
    if not pairs:
        return None
    entries = []
    for first, second, cosine in pairs[:SHOWN]:
        lines = [f"cosine {cosine:.4f}"]
        doubts = []
        for name, values in (("labelled", labels), ("in", splits)):
            if values[first] == values[second]:
                lines.append(f"both {name} {values[first] or 'nothing'}")
            else:
                doubts.append(f"{name} {values[first] or 'nothing'} and {values[second] or 'nothing'}")
        entries.append({"uris": [uris[first], uris[second]], "lines": lines, "doubt": "; ".join(doubts)})
    return Section(
        id="duplicates",
        title="Near duplicates",
        short="Near duplicates",
        template="near_duplicates",
        data={
            "entries": entries,
            "pairs": len(pairs),
            "compared": len(uris),
            "total": total,
            "threshold": DEFAULT_THRESHOLD,
        },
        images=[uri for entry in entries for uri in entry["uris"]],
    )
