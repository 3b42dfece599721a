"""A timed sample of somebody's own images: how fast this machine works through them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import NamedTuple

from transforms.encoders.golden import golden_images
from transforms.shards.embedder import EmbedOptions
from transforms.shards.outcome import DeadLetter
from transforms.shards.work import cores_of_process
from transforms.sources.dialects import Source
from transforms.sources.reference import ImageReference

SAMPLE_IMAGES = 64
LOOKED_AT = 10_000
"""References, the first, among which a sample is spread; a folder is listed label by label."""


class Sample(NamedTuple):
    """What was timed.

    Attributes:
      images: that were worked on.
      failed: of them.
      seconds: that they took.
      cores: of this machine.
      stage_seconds: of work, added up over threads.
      variation: of the images' sizes in bytes: standard deviation over mean.
      failure_example: one that failed, and why.
    """

    images: int
    failed: int
    seconds: float
    cores: int
    stage_seconds: dict[str, float]
    variation: float
    failure_example: str = ""

    @property
    def images_per_second(self) -> float:
        """Of this machine."""
        return self.images / self.seconds

    @property
    def images_per_core_second(self) -> float:
        """Of each of its cores."""
        return self.images_per_second / self.cores


def time_sample(sources: Sequence[Source], embed: EmbedOptions, number: int = SAMPLE_IMAGES) -> Sample:
    """Embeds some of the first images of the sources, and keeps nothing."""
    cores = cores_of_process(embed.processes)
    encoder = embed.load_encoder(cores)
    encoder.encode(golden_images(embed.specification))
    lane = embed.lane(encoder, cores)
    chosen = choose(chain.from_iterable(source.list_images() for source in sources), number)
    started = time.perf_counter()
    outcomes = list(lane.run(chosen))
    seconds = time.perf_counter() - started
    lane.close()
    letters = [outcome for outcome in outcomes if isinstance(outcome, DeadLetter)]
    sizes = [image.byte_size for batch in outcomes if not isinstance(batch, DeadLetter) for image in batch]
    return Sample(
        images=len(chosen),
        failed=len(letters),
        seconds=seconds,
        cores=cores,
        stage_seconds=dict(lane.clock.seconds),
        variation=statistics.pstdev(sizes) / statistics.fmean(sizes) if sizes else 0.0,
        failure_example=f"{letters[0].reference.uri}: {letters[0].error}" if letters else "",
    )


def choose(references: Iterable[ImageReference], number: int) -> list[ImageReference]:
    """Returns some of the first references, evenly spread; members of a container are neighbours, as in a shard."""
    first = list(islice(references, LOOKED_AT))
    if any(reference.place for reference in first):
        return first[:number]
    return [first[place * len(first) // number] for place in range(number)] if len(first) > number else first
