"""What augmented views bring when labels are few: ELPV, a linear head, five draws of the labelled images.

Usage: python benchmarks/views.py [--views 4] [--tests 500]     (needs elpv-dataset and scikit-learn)
"""

from __future__ import annotations

import argparse

import numpy as np
from elpv_dataset.utils import load_dataset
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transforms.encoders.engines import choose_engine
from transforms.encoders.resolve import load_encoder, resolve_encoder
from transforms.shards.views import ViewsEncoder

LABELLED = (20, 50, 150)
DRAWS = 5


def main() -> None:
    """Prints a table: accuracy by labelled images, without views, with views in training, in testing, in both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--tests", type=int, default=500)
    flags = parser.parse_args()
    vectors, labels = encode(flags.tests + 2 * max(LABELLED), flags.views)
    tests, pool = np.arange(flags.tests), np.arange(flags.tests, len(labels))
    print("| labelled images | head | with views in training | with `--tta` | with both |\n|---|---|---|---|---|")
    for count in LABELLED:
        scores = np.array([draw(vectors, labels, tests, pool, count, seed) for seed in range(DRAWS)]) * 100
        cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(scores.mean(0), scores.std(0), strict=True)]
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


def encode(count: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``float32[count, 1 + views, D]`` and whether each cell is defective."""
    images, probability, _ = load_dataset()
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    specification = choose_engine(resolve_encoder()).specification
    encoder = ViewsEncoder(load_encoder(specification), views, "texture")
    side = specification.preprocessing.height
    pixels = [np.asarray(Image.fromarray(images[i]).convert("RGB").resize((side, side), 2)) for i in chosen]
    vectors = [encoder.encode(np.stack(pixels[start : start + 64])) for start in range(0, count, 64)]
    return np.concatenate(vectors), probability[chosen] >= 0.5


def draw(vectors: np.ndarray, labels: np.ndarray, tests: np.ndarray, pool: np.ndarray, count: int, seed: int) -> list:
    """Returns four accuracies on the same labelled images."""
    train = np.random.default_rng(seed).permutation(pool)[:count]
    looks, dimension = vectors.shape[1:]
    plain = head().fit(vectors[train, 0], labels[train])
    viewed = head().fit(vectors[train].reshape(-1, dimension), np.repeat(labels[train], looks))
    accuracies = []
    for seen in (1, looks):
        for fitted in (plain, viewed):
            answers = fitted.predict_proba(vectors[tests, :seen].reshape(-1, dimension))[:, 1].reshape(-1, seen)
            accuracies.append(float(((answers.mean(axis=1) >= 0.5) == labels[tests]).mean()))
    return accuracies


def head() -> object:
    """A linear head with a fixed penalty."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


if __name__ == "__main__":
    main()
