from __future__ import annotations

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest

from tests.transforms.model.builders import array, linear_head
from transforms.errors import ModelError
from transforms.model.head import Head, sigmoid, softmax


def by_hand(head: Head, vectors: np.ndarray) -> np.ndarray:
    """Logits in float64, as the docstring of Head says, one step after the other."""
    values = (vectors.astype(np.float64) - head.mean) / head.std
    for index, (weights, bias) in enumerate(head.layers):
        values = (np.maximum(values, 0) if index else values) @ weights + bias
    return values / head.temperature


def test_logits_of_a_linear_head_are_those_computed_by_hand() -> None:
    # x - mean = (2, 4, 8), divided by std = (1, 1, 1); W and b give (1.75, 0.75), halved by the temperature.
    assert linear_head().logits(array([3, 6, 11])).tolist() == [[0.875, 0.375]]


def test_a_deeper_head_agrees_with_the_definition() -> None:
    generator = np.random.default_rng(0)
    sizes = (20, 16, 8, 4)
    layers = tuple(
        (generator.normal(size=(a, b)).astype(np.float32), generator.normal(size=b).astype(np.float32))
        for a, b in itertools.pairwise(sizes)
    )
    head = Head(
        labels=tuple("abcd"),
        mean=generator.normal(size=20).astype(np.float32),
        std=generator.uniform(0.1, 3, 20).astype(np.float32),
        layers=layers,
        temperature=1.7,
    )
    vectors = generator.normal(size=(9000, 20)).astype(np.float32)  # more than one block of rows
    np.testing.assert_allclose(head.logits(vectors), by_hand(head, vectors), rtol=1e-4, atol=1e-4)
    assert head.logits(vectors).dtype == np.float32


def test_probabilities_sum_to_one_and_do_not_overflow() -> None:
    probabilities = linear_head().probabilities(array([1e6, 0, 0], [-1e6, 0, 0], [0, 0, 0]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert probabilities[0].tolist() == [1, 0]
    assert probabilities[1].tolist() == [0, 1]


def test_a_sigmoid_head_gives_each_label_its_own_probability() -> None:
    head = linear_head(activation="sigmoid", temperature=1.0)
    np.testing.assert_allclose(head.probabilities(array([3, 6, 11])), 1 / (1 + np.exp([[-1.75, -0.75]])), rtol=1e-6)


def test_softmax_and_sigmoid_of_known_logits() -> None:
    np.testing.assert_allclose(softmax(array([0, np.log(3)])), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(sigmoid(array(0, np.log(3), -1000, 1000)), [0.5, 0.75, 0, 1], atol=1e-7)


def test_bytes_and_fields_give_the_same_head_again() -> None:
    head = linear_head()
    again = Head.from_bytes(head.to_bytes(), head.to_json())
    assert again.to_json() == head.to_json()
    assert again.to_bytes() == head.to_bytes()
    assert head.to_json() == {
        "labels": ["cat", "dog"],
        "activation": "softmax",
        "temperature": 2.0,
        "dimension": 3,
        "layers": 1,
        "sha256": head.digest,
    }


def test_the_file_is_plain_arrays() -> None:
    with np.load(io.BytesIO(linear_head().to_bytes()), allow_pickle=False) as file:
        assert sorted(file.files) == ["bias_0", "mean", "std", "weights_0"]
        assert file["std"].tolist() == [2, 4, 8]


@pytest.mark.parametrize(
    "change", [{"temperature": 3.0}, {"labels": ("dog", "cat")}, {"activation": "sigmoid"}, {"mean": array(1, 2, 4)}]
)
def test_the_digest_changes_with_everything_that_changes_the_result(change: dict[str, object]) -> None:
    assert linear_head(**change).digest != linear_head().digest


def test_a_damaged_file_is_a_model_error() -> None:
    head = linear_head()
    with pytest.raises(ModelError, match=r"head\.npz cannot be read"):
        Head.from_bytes(head.to_bytes()[:200], head.to_json())
    with pytest.raises(ModelError, match=r"head\.npz cannot be read"):
        Head.from_bytes(b"", head.to_json())


def test_a_pickle_is_not_loaded() -> None:
    stream = io.BytesIO()
    np.savez(stream, mean=np.array([print], object))
    with pytest.raises(ModelError, match="cannot be read"):
        Head.from_bytes(stream.getvalue(), linear_head().to_json())


def test_a_head_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="its digest differs"):
        Head.from_bytes(linear_head(mean=array(0, 0, 0)).to_bytes(), linear_head().to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "activation 'relu' is unknown; use softmax or sigmoid"),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
        ({"labels": ("cat", "cat")}, "labels must be there and differ"),
        ({"labels": ("cat", "dog", "cow")}, "2 outputs for 3 labels"),
        ({"std": array(1, 0, 1)}, "standard deviation that is not positive"),
        ({"mean": array(1, np.nan, 1)}, "NaN"),
        ({"mean": array(1, 2)}, r"mean \(2,\), std \(3,\)"),
        ({"layers": ((array([1, 2]), array(0, 0)),)}, "layer 0 takes 3 inputs"),
        ({"layers": ()}, "0 layers"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        linear_head(**change)


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(ModelError, match=r"vectors of 3 numbers, got an array \(2, 4\)"):
        linear_head().logits(np.zeros((2, 4), np.float32))


def test_a_worker_needs_no_tensorflow_to_score() -> None:
    code = "import sys, transforms.model.directory; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
