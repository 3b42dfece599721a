"""The images of a collection that an int8 network is calibrated on."""

from __future__ import annotations

import hashlib
import heapq
import sys
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from transforms.encoders.calibration import SAMPLE_IMAGES
from transforms.encoders.specification import Preprocessing
from transforms.machine.cores import usable_cores
from transforms.shards.decoder import Decoder
from transforms.shards.outcome import DeadLetter
from transforms.shards.work import ways_to_work
from transforms.sources.dialects import Source, roots_of
from transforms.sources.reference import ImageReference

LISTED = 1_000_000
"""Images of each source among which the sample is drawn: the first ones."""

_SPARE = 2
"""So many times the sample is drawn, since some images cannot be decoded."""
_SEED = b"calibration 1 "


def draw_pixels(
    sources: Sequence[Source], preprocessing: Preprocessing, count: int = SAMPLE_IMAGES
) -> npt.NDArray[np.uint8]:
    """Draws images by a hash of their ids: the same listing gives the same images, in whatever order it comes.

    Returns:
      ``uint8[N, height, width, 3]``, N = ``count`` unless there are fewer images that can be decoded.
    """
    print(
        f"int8: calibrating on {count} of the images, or as many as there are: some twenty seconds, once a store",
        file=sys.stderr,
    )
    listed = enumerate(reference for source in sources for reference in islice(source.list_images(), LISTED))
    drawn = heapq.nsmallest(_SPARE * count, listed, key=lambda pair: _draw(pair[1]))
    ways = ways_to_work(0, 0, usable_cores(), preprocessing)
    decoder = Decoder(preprocessing=preprocessing, roots=roots_of(sources), ways=ways)
    found: dict[str, npt.NDArray[np.uint8]] = {}
    # Containers are read forward, so images are decoded in the order in which they were listed.
    for outcome in decoder.decode([reference for _, reference in sorted(drawn, key=lambda pair: pair[0])]):
        if not isinstance(outcome, DeadLetter) and outcome.pixels is not None:
            found[outcome.reference.image_id] = outcome.pixels
    decoder.close()
    pixels = [found[reference.image_id] for _, reference in drawn if reference.image_id in found][:count]
    size = preprocessing
    return np.stack(pixels) if pixels else np.zeros((0, size.height, size.width, 3), np.uint8)


def _draw(reference: ImageReference) -> bytes:
    return hashlib.sha256(_SEED + reference.image_id.encode()).digest()
