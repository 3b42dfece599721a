"""What augmented views bring when labels are few: ELPV, a linear head, five draws of the labelled images.

    python benchmarks/views.py --directory /tmp/views [--views 4] [--tests 500]     (needs elpv-dataset, scikit-learn)

The vectors are those that ``heliograph embed --views`` writes, and what ``--tta`` averages: every cell is of the
training split there, and the draws decide who is learned from. A second run embeds nothing again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from elpv_dataset.utils import load_dataset
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines import embed
from transforms.store.catalog import open_table
from transforms.store.read import read_features

LABELLED = (20, 50, 150)
DRAWS = 5


def main() -> None:
    """Prints a table: accuracy by labelled images, without views, with views in training, in testing, in both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, required=True, help="for the images and the store")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--tests", type=int, default=500)
    flags = parser.parse_args()
    vectors, labels = encode(flags.directory, flags.tests + 2 * max(LABELLED), flags.views)
    tests, pool = np.arange(flags.tests), np.arange(flags.tests, len(labels))
    print("| labelled images | head | with views in training | with `--tta` | with both |\n|---|---|---|---|---|")
    for count in LABELLED:
        scores = np.array([draw(vectors, labels, tests, pool, count, seed) for seed in range(DRAWS)]) * 100
        cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(scores.mean(0), scores.std(0), strict=True)]
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


def encode(directory: Path, count: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeds some cells; returns ``float32[count, 1 + views, D]`` and whether each cell is defective."""
    images, probability, _ = load_dataset()
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    directory.mkdir(parents=True, exist_ok=True)
    for index in chosen:
        if not (place := directory / f"{index}.png").exists():
            Image.fromarray(images[index]).save(place)
    manifest, store = directory / "cells.csv", directory / "store"
    manifest.write_text("\n".join(["uri,split", *(f"{index}.png,train" for index in chosen), ""]))
    given = ["--input", manifest, "--store", store, "--views", views, "--augment", "texture"]
    if embed.main(list(map(str, given))):
        raise SystemExit(1)
    found = read_features(open_table(str(store)), columns=["image_uri", "view_id"])
    keys = zip((int(Path(uri).stem) for uri in found.image_uris), found.view_ids.tolist(), strict=True)
    rows = {key: row for row, key in enumerate(keys)}
    order = [[rows[index, view] for view in range(1 + views)] for index in chosen.tolist()]
    return found.embeddings[order], probability[chosen] >= 0.5


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
