"""Which engine computes an encoder's vectors, and how far they are from TensorFlow's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from transforms.encoders import openvino_engine
from transforms.encoders.conversion import converted_network
from transforms.encoders.encoder import Vectors
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import first_line
from transforms.errors import EncoderError

AUTO = "auto"
PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "litert": ("float32",),
    "openvino": ("float32", "bfloat16"),
    "tensorflow": ("float32",),
}
"""What each engine computes in; in the order in which ``auto`` prefers them."""

LEAST_COSINE = 0.99999
"""With TensorFlow's vector of the same golden image: what ``auto`` demands of each."""


class Difference(NamedTuple):
    """How alike the vectors of two engines are.

    Attributes:
      mean: of the cosines, image by image.
      least: of the cosines.
    """

    mean: float
    least: float


class Choice(NamedTuple):
    """An engine, and why.

    Attributes:
      specification: of the encoder on the engine that was chosen.
      why: one line for a person.
    """

    specification: EncoderSpecification
    why: str


def choose_engine(
    specification: EncoderSpecification,
    engine: str = AUTO,
    precision: str = "float32",
    *,
    has_table: Callable[[EncoderSpecification], bool] = lambda _: False,
    trust_model: bool = False,
) -> Choice:
    """Settles an encoder's engine and precision.

    A table that exists goes on with the engine that began it. Otherwise ``auto`` takes the first installed engine of
    PRECISIONS whose vectors of the golden images are TensorFlow's, within LEAST_COSINE. A network that cannot be
    converted is computed by TensorFlow.

    Args:
      specification: of the encoder; its own engine and precision do not count.
      engine: AUTO or a key of PRECISIONS.
      precision: one of the engine's.
      has_table: tells whether the store has a table of an encoder.
      trust_model: loads models that carry code as well.

    Raises:
      EncoderError: an engine that is not installed, or does not compute in the precision.
    """
    candidates = _candidates(specification, engine, precision)
    for candidate in candidates:
        if has_table(candidate):
            return Choice(candidate, "the engine of the table")
    reasons: list[str] = []
    for candidate in candidates:
        if candidate.engine == "tensorflow":
            return Choice(candidate, "; ".join(reasons) or "as asked")
        if candidate.engine == "openvino" and not openvino_engine.is_installed():
            if engine == AUTO and precision == "float32":
                continue
            raise EncoderError(
                f"{precision} needs the engine openvino, which is not installed; pip install 'heliograph[openvino]'"
            )
        try:
            least = golden_difference(candidate, trust_model).least
        except EncoderError as error:
            if first_line(error) not in reasons:
                reasons.append(first_line(error))
            continue
        if candidate.precision != "float32" or least >= LEAST_COSINE:
            return Choice(candidate, f"TensorFlow's vectors of the golden images within cosine {least:.7f}")
        reasons.append(f"{candidate.engine} gives other vectors than TensorFlow (cosine {least:.5f})")
    fallback = dataclasses.replace(specification, engine="tensorflow", precision="float32")
    return Choice(fallback, "; ".join(reasons))


def _candidates(specification: EncoderSpecification, engine: str, precision: str) -> list[EncoderSpecification]:
    engines = [name for name, precisions in PRECISIONS.items() if engine in (AUTO, name) and precision in precisions]
    if not engines:
        able = " or ".join(name for name, precisions in PRECISIONS.items() if precision in precisions)
        raise EncoderError(f"--engine {engine} does not compute in {precision}; {able} does")
    return [dataclasses.replace(specification, engine=name, precision=precision) for name in engines]


def golden_difference(specification: EncoderSpecification, trust_model: bool = False) -> Difference:
    """Compares an engine's vectors of the golden images with TensorFlow's, kept since the network was converted.

    TensorFlow itself is not imported.

    Raises:
      EncoderError: the network cannot be converted or run.
    """
    if specification.engine == "tensorflow":
        return Difference(1.0, 1.0)
    expected = converted_network(specification, trust_model).golden
    found = load_encoder(specification, trust_model=trust_model).encode(golden_images(specification))
    return difference(found, expected)


def difference(found: Vectors, expected: Vectors) -> Difference:
    """Returns the cosines of vectors ``float32[B, D]``, row by row; two vectors of zeros are alike."""
    left, right = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1) / np.where(norms > 0, norms, 1)
    cosines = np.where(norms > 0, products, (left == right).all(axis=1))
    return Difference(float(cosines.mean()), float(cosines.min()))
