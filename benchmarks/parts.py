"""The parts of the job alone, each in a process of its own: decoding, the network, and both in a loop without Beam.

    python -m benchmarks.parts decode --images DIR [--exact]
    python -m benchmarks.parts encode --images DIR --engine litert --precision float32 --cores 1
    python -m benchmarks.parts loop --images DIR --engine litert --precision float32 --output FILE

Prints one line of JSON. With one core the process is bound to it, so that no library takes another.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.encoders.encoder import Encoder
from transforms.encoders.engines import on_engine
from transforms.encoders.resolve import DEFAULT, load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.images.decode import decode_image
from transforms.store.catalog import find_encoder, table_path

SECONDS = 2.0
BATCH = 32


def main() -> None:
    """Measures one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("decode", "encode", "loop"))
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--engine", default="litert")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--store", help="with a table of the encoder")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--output", type=Path)
    flags = parser.parse_args()
    if flags.part != "loop":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.cores])
    specification = specify(flags.engine, flags.precision, flags.store)
    if flags.exact:
        exact = dataclasses.replace(specification.preprocessing, exact_decode=True)
        specification = dataclasses.replace(specification, preprocessing=exact)
    parts: dict[str, Callable[[argparse.Namespace, EncoderSpecification], dict[str, Any]]]
    parts = {"decode": decode, "encode": encode, "loop": loop}
    print(json.dumps(parts[flags.part](flags, specification)))


def specify(engine: str, precision: str, store: str | None) -> EncoderSpecification:
    """Returns the default encoder on an engine; in int8 with the calibration of a store's table."""
    specification = on_engine(resolve_encoder(DEFAULT), engine, precision)
    return (find_encoder(store, specification) if store else None) or specification


def load(flags: argparse.Namespace, specification: EncoderSpecification) -> Encoder:
    """Returns the encoder, whose calibrated network lies in the store."""
    return load_encoder(specification, beside=table_path(flags.store, specification) if flags.store else "")


def decode(flags: argparse.Namespace, specification: EncoderSpecification) -> dict[str, Any]:
    """Bytes in memory to pixels, in one thread."""
    files = [path.read_bytes() for path in sorted(flags.images.glob("*.jpg"))[:64]]
    return _rate(lambda data: decode_image(data, specification.preprocessing), files, 1, flags.seconds)


def encode(flags: argparse.Namespace, specification: EncoderSpecification) -> dict[str, Any]:
    """Pixels in memory to vectors, in the batches of the job; also the seconds until the network is there."""
    pixels = _pixels(flags.images, specification)
    started = time.perf_counter()
    encoder = load(flags, specification)
    encoder.encode(pixels)
    loaded = time.perf_counter() - started
    return {**_rate(encoder.encode, [pixels], len(pixels), flags.seconds), "load_seconds": round(loaded, 3)}


def loop(flags: argparse.Namespace, specification: EncoderSpecification) -> dict[str, Any]:
    """Files to a Parquet file by one thread a core and nothing else: no engine, no store, no safeguards."""
    files = sorted(flags.images.glob("*.jpg"))
    encoder = load(flags, specification)
    encoder.encode(_pixels(flags.images, specification))
    batch = BATCH if specification.engine == "tensorflow" else 1

    def work(paths: list[Path]) -> np.ndarray:
        return encoder.encode(
            np.stack([decode_image(path.read_bytes(), specification.preprocessing).pixels for path in paths])
        )

    parts = [files[start : start + batch] for start in range(0, len(files), batch)]
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        vectors = np.concatenate(list(pool.map(work, parts)))
    rows = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
    pq.write_table(pa.table({"path": list(map(str, files)), "embedding": rows}), flags.output, compression="none")
    seconds = time.perf_counter() - started
    return {"images": len(files), "images_per_second": round(len(files) / seconds, 1)}


def _pixels(images: Path, specification: EncoderSpecification) -> np.ndarray:
    files = itertools.islice(itertools.cycle(sorted(images.glob("*.jpg"))), BATCH)
    return np.stack([decode_image(path.read_bytes(), specification.preprocessing).pixels for path in files])


def _rate(call: Callable[[Any], object], arguments: list[Any], images: int, seconds: float) -> dict[str, Any]:
    call(arguments[0])
    done, started = 0, time.perf_counter()
    for argument in itertools.cycle(arguments):
        call(argument)
        done += images
        if time.perf_counter() - started > seconds:
            break
    return {"images_per_second": round(done / (time.perf_counter() - started), 1)}


if __name__ == "__main__":
    main()
