from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pipelines.training import export
from tests.pipelines.training.builders import DIMENSION
from transforms.encoders.golden import golden_images
from transforms.model.decision import NEVER, NONE_OF_THESE, Decision
from transforms.model.head import Head

DECISIONS = [
    Decision(none_below=0.5),
    Decision(thresholds=(0.2, None, None), none_below=0.4),
    Decision(thresholds=(0.3, 0.6, NEVER)),
]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("decision", DECISIONS)
def test_the_graph_decides_as_the_batch_path_does(decision: Decision, activation: str) -> None:
    ones = np.ones(3, np.float32)
    layers = ((np.eye(3, dtype=np.float32), 0 * ones),)
    head = Head(
        labels=("a", "b", "c"), mean=0 * ones, std=ones, layers=layers, activation=activation, decision=decision
    )
    scores = head.probabilities(np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32))
    predicted, answers = export._decide(scores, head)
    expected = head.decide(scores)
    assert np.array_equal(predicted.numpy(), expected)
    names = [text.decode() for text in answers.numpy()]
    assert [name == NONE_OF_THESE for name in names] == (~expected.any(axis=1)).tolist()
    assert all(expected[row, head.labels.index(name)] for row, name in enumerate(names) if name in head.labels)
    assert 0 < names.count(NONE_OF_THESE) < 500


def test_the_exported_model_answers_none_of_these(loaded_encoder: Any) -> None:
    golden = loaded_encoder.encode(golden_images(loaded_encoder.specification))
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(DIMENSION, 3)).astype(np.float32)
    head = Head(
        labels=("a", "b", "c"),
        mean=golden.mean(axis=0),
        std=golden.std(axis=0),
        layers=((weights, np.zeros(3, np.float32)),),
    )
    probabilities = head.probabilities(golden)
    limit = float(np.median(probabilities.max(axis=1)))  # about half of the golden images are none of these
    head = dataclasses.replace(head, decision=Decision(thresholds=(None, 0.3, None), none_below=limit * 1.001))
    served = export.build_served_model(head, loaded_encoder.specification)
    files = [export._png(image) for image in golden_images(loaded_encoder.specification)]
    found = served.serve(key=[""] * len(files), image_bytes=files)
    names = (*head.labels, NONE_OF_THESE)
    expected = [names[int(row.argmax()) if row.any() else 3] for row in head.decide(probabilities)]
    assert [text.decode() for text in found["prediction"].numpy()] == expected
    assert NONE_OF_THESE in expected
    assert len(set(expected)) > 1
