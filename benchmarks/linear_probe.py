"""The head of ``heliograph train`` beside a linear probe of scikit-learn, on the same vectors and splits.

    heliograph embed --input IMAGES --store STORE
    python benchmarks/linear_probe.py --store STORE --test 616 --label defective --slice cell_type

The probe is StandardScaler and LogisticRegression, its C by five folds of the training images. Both are fitted on five
random splits with as many test images of each label as their share, and the differences are paired split by split;
``--test 0`` takes the one split of the store.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.training.features import Splits, read_split_features, split_features
from pipelines.training.fit_head import fit_head
from pipelines.training.fit_settings import FitSettings
from transforms.model.head import Array
from transforms.store.catalog import open_table
from transforms.store.read import Features, read_features
from transforms.store.table import FeatureTable

SEEDS = 5
STUDENT = 2.78
"""Of a two-sided 95 % interval for the mean of five."""

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
COLUMNS = ("image_id", "image_uri", "sha256", "labels", "group", "view_id", "attributes")


def main() -> None:
    """Fits both on every split and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--test", type=int, required=True, help="images; 0 for the split of the store")
    parser.add_argument("--label", help="whose F1 and recall are shown; macro F1 without")
    parser.add_argument("--slice", help="attribute: recall of the label by its values")
    flags = parser.parse_args()
    rows: list[dict[str, tuple[float, float]]] = []
    for splits in divide(open_table(flags.store, None, None), flags.test):
        probabilities = fit_probe(splits), fit_own(splits)
        figures = [measure(splits, found, flags.label, flags.slice) for found in probabilities]
        rows.append({name: (figures[0][name], figures[1][name]) for name in figures[0]})
    print("| | probe | head | difference |\n|---|---|---|---|")
    for name in rows[0]:
        pairs = [row[name] for row in rows]
        columns = ([a for a, _ in pairs], [b for _, b in pairs], [b - a for a, b in pairs])
        print(f"| {name} | {' | '.join(map(span, columns))} |")


def divide(table: FeatureTable, test: int) -> Iterator[Splits]:
    """Yields the splits; without a validation split of their own, training images are taken for it as by train."""
    if not test:
        yield split_features(read_split_features(table), table.path)
        return
    features = read_features(table, views=[0], columns=COLUMNS)
    labels = np.array([names[0] for names in features.labels])
    for seed in range(SEEDS):
        shuffled = np.random.default_rng(seed).permutation(len(labels))
        held: list[int] = []
        for name in np.unique(labels):
            own = shuffled[labels[shuffled] == name]
            held += own[: round(test * len(own) / len(labels))].tolist()
        kept = np.setdiff1d(shuffled, held)
        none: Features = features.take(kept[:0])
        parts = {"train": features.take(kept), "validation": none, "test": features.take(np.array(held))}
        yield split_features(parts, table.path)


def fit_own(splits: Splits) -> Array:
    """Returns the probabilities that our head gives the test images."""
    fitted = fit_head(splits.train, splits.validation, splits.labels, FitSettings(), splits.folds)
    return fitted.head.probabilities(splits.test.vectors)


def fit_probe(splits: Splits) -> Array:
    """Returns the probabilities that the probe gives the test images."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": STRENGTHS}, cv=5)
    found: Array = search.fit(splits.train.vectors, splits.train.targets).predict_proba(splits.test.vectors)
    return found


def measure(splits: Splits, probabilities: Array, label: str | None, attribute: str | None) -> dict[str, float]:
    """Returns the figures of one fit by their names."""
    said, wanted = probabilities.argmax(axis=1), splits.test.targets
    figures = {"accuracy": float(accuracy_score(wanted, said))}
    if label is None:
        return {**figures, "macro F1": float(f1_score(wanted, said, average="macro"))}
    place = splits.labels.index(label)
    figures[f"F1 of {label}"] = float(f1_score(wanted == place, said == place))
    values = splits.test.values(attribute) if attribute else np.array([])
    for value in np.unique(values):
        own = (values == value) & (wanted == place)
        figures[f"recall of {label}, {value}"] = float((said[own] == place).mean())
    return figures


def span(values: list[float]) -> str:
    """Returns the mean, of five with the half-width of its 95 % interval."""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) < SEEDS else f"{mean} ± {STUDENT * statistics.stdev(values) / SEEDS**0.5:.3f}"


if __name__ == "__main__":
    main()
