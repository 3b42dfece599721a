"""What each engine and precision costs in accuracy: cosine to TensorFlow float32, and a linear probe on its vectors.

    python -m benchmarks.precisions [--images N]

ELPV (2,008 cells to fit, 616 to test) and Fashion-MNIST (3,000 and 1,000, balanced), EfficientNet-Lite0 at 224 px:
StandardScaler and LogisticRegression, C picked by cross-validation inside the training part. Prints the table of
docs/engines.md. Needs elpv-dataset (`make data`) and Debian's dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.compare_training import read_fashion
from pipelines.demo import data_directory, read_cells
from transforms.encoders.calibration import SAMPLE_IMAGES, calibrate
from transforms.encoders.difference import difference
from transforms.encoders.engines import PRECISIONS, on_engine
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.images.decode import decode_image

BATCH = 32


class Task(NamedTuple):
    """Pixels ``uint8[N, 224, 224, 3]``, classes, and how many of the first are for fitting."""

    name: str
    pixels: np.ndarray
    classes: np.ndarray
    fitted: int


def elpv(specification: EncoderSpecification, few: int | None) -> Task:
    """Defective (probability 0.5 and more) against functional, divided by the hash of the names."""
    cells = sorted(
        read_cells(data_directory()), key=lambda cell: hashlib.sha256(Path(cell.path).name.encode()).digest()
    )
    cells = cells[:few]
    pixels = [decode_image(Path(cell.path).read_bytes(), specification.preprocessing).pixels for cell in cells]
    classes = np.array([cell.probability >= 0.5 for cell in cells])
    return Task("ELPV", np.stack(pixels), classes, len(cells) * 2008 // 2624)


def fashion(specification: EncoderSpecification, few: int | None) -> Task:
    """Ten kinds of clothes, balanced."""
    parts = []
    for archive, count in (("train", 3000), ("t10k", 1000)):
        images, classes = read_fashion(archive)
        each = (count if few is None else few * count // 4000) // 10
        chosen = np.concatenate([np.flatnonzero(classes == kind)[:each] for kind in range(10)])
        parts.append((images[chosen], classes[chosen]))
    pixels = []
    for image in np.concatenate([images for images, _ in parts]):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        pixels.append(decode_image(stream.getvalue(), specification.preprocessing).pixels)
    return Task("Fashion-MNIST", np.stack(pixels), np.concatenate([classes for _, classes in parts]), len(parts[0][0]))


def probe(vectors: np.ndarray, task: Task) -> float:
    """Returns the accuracy on what was not fitted."""
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]},
        cv=3,
    )
    search.fit(vectors[: task.fitted], task.classes[: task.fitted])
    return float(search.score(vectors[task.fitted :], task.classes[task.fitted :]))


def encode(specification: EncoderSpecification, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns vectors and images a second, the network alone."""
    encoder = load_encoder(specification)
    encoder.encode(pixels[:BATCH])
    started = time.perf_counter()
    vectors = np.concatenate([encoder.encode(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)])
    return vectors, len(pixels) / (time.perf_counter() - started)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, help="of each task, for a quick look")
    few = parser.parse_args().images
    plain = resolve_encoder()
    print("| images | engine | precision | img/s, network alone | cosine mean | least | probe |\n" + "|---" * 7 + "|")
    for task in (elpv(plain, few), fashion(plain, few)):
        expected, rate = encode(plain, task.pixels)
        print(f"| {task.name} | tensorflow | float32 | {rate:.0f} | 1 | 1 | {probe(expected, task):.3f} |", flush=True)
        generator = np.random.default_rng(0)
        for engine, precision in [(e, p) for e, known in PRECISIONS.items() for p in known if e != "tensorflow"]:
            specification = on_engine(plain, engine, precision)
            if precision == "int8":
                sample = generator.choice(task.fitted, min(SAMPLE_IMAGES, task.fitted), replace=False)
                specification = calibrate(specification, task.pixels[np.sort(sample)])
            vectors, rate = encode(specification, task.pixels)
            mean, least = difference(vectors, expected)
            accuracy = probe(vectors, task)
            row = (task.name, engine, precision, f"{rate:.0f}", f"{mean:.5f}", f"{least:.4f}", f"{accuracy:.3f}")
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
