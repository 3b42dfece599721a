"""What is fixed about how a network is called, measured: images a call, threads, and BatchNorm folded or not.

    python -m benchmarks.calls tensorflow|litert|lanes|turns [--encoder HANDLE] [--sizes 1 8 32]
    python -m benchmarks.calls folding --encoder keras-applications:MobileNetV2

Rounds are interleaved. Prints, as medians over them, images a second, milliseconds of processor time an image, and the
largest difference of a vector to the first row's. Docs: docs/engines.md.
"""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.photographs import SMALL, write
from transforms.encoders.conversion import converted_network, reference
from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.folding import fold_batch_norms
from transforms.encoders.frozen import freeze, load_frozen
from transforms.encoders.litert import load_litert
from transforms.encoders.networks import open_again
from transforms.encoders.resolve import resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import import_tensorflow
from transforms.images.augment import Views
from transforms.machine.cores import usable_cores
from transforms.shards.lanes import Lane
from transforms.shards.outcome import DeadLetter, stack_vectors
from transforms.shards.tuning import IMAGES_IN_TURN, Way
from transforms.sources.reference import ImageReference

IMAGES = 32
PHOTOGRAPHS = 96
DRAWN = 12

Work = Mapping[str, Callable[[], Vectors]]
"""By name: computes the vectors of the same images each time."""


def noise(specification: EncoderSpecification) -> Pixels:
    """Draws IMAGES images of noise at the encoder's size."""
    size = specification.preprocessing
    return np.random.default_rng(0).integers(0, 256, (IMAGES, size.height, size.width, 3), np.uint8)


def in_calls_of(size: int, call: Callable[[Pixels], Vectors], pixels: Pixels) -> Callable[[], Vectors]:
    """Returns what encodes the images, some a call."""
    return lambda: np.concatenate([call(pixels[start : start + size]) for start in range(0, len(pixels), size)])


def tensorflow_calls(specification: EncoderSpecification, sizes: list[int]) -> Work:
    """TensorFlow's engine, which gives each call all cores."""
    encoder, pixels = load_frozen(specification, threads=usable_cores()), noise(specification)
    return {f"{size} images a call": in_calls_of(size, encoder.encode, pixels) for size in sizes}


def litert_calls(specification: EncoderSpecification, sizes: list[int]) -> Work:
    """One interpreter of one thread for each size."""
    from ai_edge_litert.interpreter import Interpreter

    path = str(converted_network(specification).path)

    def call(size: int) -> Callable[[Pixels], Vectors]:
        interpreter = Interpreter(path, num_threads=1)
        source, target = (
            part[0]["index"] for part in (interpreter.get_input_details(), interpreter.get_output_details())
        )
        interpreter.resize_tensor_input(source, (size, *interpreter.get_input_details()[0]["shape"][1:]))
        interpreter.allocate_tensors()

        def encode(pixels: Pixels) -> Vectors:
            interpreter.set_tensor(source, pixels)
            interpreter.invoke()
            vectors: Vectors = interpreter.get_tensor(target)
            return vectors

        return encode

    pixels = noise(specification)
    return {f"{size} images a call": in_calls_of(size, call(size), pixels) for size in sizes}


class NothingKnown:
    """An index that may know any content, so that an image waits for its batch, and finds none."""

    def knows(self, _sha256: str) -> bool:
        """Says that it may know it."""
        return True

    def find(self, _sha256: Sequence[str]) -> dict[str, Vectors]:
        """Finds none."""
        return {}

    def find_views(self, _sha256: Sequence[str], _views: Views) -> dict[str, list[Vectors]]:
        """Finds none."""
        return {}


def lanes(specification: EncoderSpecification, sizes: list[int]) -> Work:
    """Photographs by so many threads that decode and encode; by some that decode, and others encode."""
    work, cores = photograph_work(specification, PHOTOGRAPHS), usable_cores()
    ways = {f"{size} decode and encode": work(Way(size, IMAGES_IN_TURN[0]), None) for size in sizes}
    return ways | {f"{cores} decode, {cores} encode": work(Way(cores, IMAGES_IN_TURN[0]), NothingKnown())}


def turns(specification: EncoderSpecification, sizes: list[int]) -> Work:
    """Photographs by a thread a core, each of which takes so many in turn."""
    work = photograph_work(specification, 4 * PHOTOGRAPHS)
    return {f"{size} in turn": work(Way(usable_cores(), size), None) for size in sizes}


def photograph_work(
    specification: EncoderSpecification, count: int
) -> Callable[[Way, NothingKnown | None], Callable[[], Vectors]]:
    """Draws photographs; returns what makes a lane that embeds them in some way."""
    directory = write(Path(tempfile.mkdtemp(prefix="heliograph-calls-")), SMALL, count, DRAWN)
    atexit.register(shutil.rmtree, directory)
    references = [ImageReference(str(path)) for path in sorted(directory.glob("*.jpg"))]
    encoder = load_litert(dataclasses.replace(specification, engine="litert"))

    def work(way: Way, known: NothingKnown | None) -> Callable[[], Vectors]:
        lane = Lane(
            encoder=encoder,
            preprocessing=specification.preprocessing,
            roots=[str(directory)],
            ways=[way],
            known=known,
        )
        return lambda: np.concatenate(
            [stack_vectors(batch) for batch in lane.run(references) if not isinstance(batch, DeadLetter)]
        )

    return work


def folding_calls(specification: EncoderSpecification, sizes: list[int]) -> Work:
    """A frozen network, and the same with its BatchNorm folded."""
    constant, pixels = import_tensorflow(usable_cores()).constant, noise(specification)
    frozen = freeze(specification, open_again(specification))
    started = time.perf_counter()
    folded = fold_batch_norms(frozen)
    print(f"folding took {time.perf_counter() - started:.1f} s")

    def calls(function: Callable[..., list[Vectors]]) -> Callable[[], Vectors]:
        return in_calls_of(sizes[-1], lambda images: np.asarray(function(constant(images))[0]), pixels)

    return {"frozen": calls(frozen), "folded": calls(folded)}


def measure(work: Work, rounds: int) -> None:
    """Prints a row for each of the ways."""
    expected: Vectors | None = None
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, encode in work.items():
            wall, processor = time.perf_counter(), time.process_time()
            vectors = encode()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            expected = vectors if expected is None else expected
            difference = float(np.abs(vectors - expected).max())
            if turn:  # the first warms up
                figures[name].append((len(vectors) / wall, 1000 * processor / len(vectors), difference))
    print("| | images/s | ms of processor an image | largest difference |\n|---|---|---|---|")
    for name, rows in figures.items():
        rate, processor, difference = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {rate:.0f} | {processor:.2f} | {difference:.1e} |")


KINDS = {
    "tensorflow": tensorflow_calls,
    "litert": litert_calls,
    "lanes": lanes,
    "turns": turns,
    "folding": folding_calls,
}


def main() -> None:
    """Measures one kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4], help="of calls or turns, or threads")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    specification = reference(resolve_encoder(flags.encoder))
    measure(KINDS[flags.kind](specification, flags.sizes), flags.rounds)


if __name__ == "__main__":
    main()
