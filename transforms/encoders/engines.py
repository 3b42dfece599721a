"""Which engine computes an encoder's vectors, and how far they are from TensorFlow's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from transforms.encoders import openvino_engine
from transforms.encoders.calibration import calibrate, calibration_facts
from transforms.encoders.conversion import INT8, converted_network, reference
from transforms.encoders.devices import DEVICES, has_gpu
from transforms.encoders.difference import Difference, difference
from transforms.encoders.encoder import Pixels
from transforms.encoders.golden import golden_images
from transforms.encoders.resolve import load_encoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import first_line
from transforms.encoders.timing import fastest
from transforms.errors import EncoderError

AUTO = "auto"
PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "litert": ("float32", INT8),
    "openvino": ("float32", "bfloat16"),
    "tensorflow": ("float32",),
}
"""What each engine computes in; in the order in which ``auto`` prefers those that are about as fast."""

LEAST_COSINE = 0.99999
"""With TensorFlow's vector of the same golden image: what ``auto`` demands of each."""


ALWAYS_INSTALLED = "litert"
"""What ``auto`` takes in float32 for workers elsewhere, and what scores where a model's own engine is missing."""

FindTable = Callable[[EncoderSpecification], EncoderSpecification | None]


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
    find_table: FindTable = lambda _: None,
    draw_sample: Callable[[], Pixels] | None = None,
    trust_model: bool = False,
    device: str = DEVICES[0],
    works_here: bool = True,
) -> Choice:
    """Settles an encoder's engine and precision.

    A table that exists goes on with the engine that began it. Otherwise ``auto`` takes the fastest installed engine
    whose vectors of the golden images are TensorFlow's, within LEAST_COSINE. A network that cannot be
    converted is computed by TensorFlow, and one that cannot be quantised by the engine of ``auto`` in float32.

    Args:
      specification: of the encoder; its own engine and precision do not count.
      engine: AUTO or a key of PRECISIONS.
      precision: one of the engine's.
      find_table: gives the specification of the store's table for an encoder, which in int8 knows its calibration.
      draw_sample: gives ``uint8[N, height, width, 3]``, images of the collection, for a first calibration.
      trust_model: loads models that carry code as well.
      device: one of DEVICES; on a GPU it is TensorFlow that computes.
      works_here: the engine runs on this machine; of others it is not known which extras and processors they have.

    Raises:
      EncoderError: an engine that is not installed, or does not compute in the precision or on the device.
    """
    if device == "gpu" and engine == AUTO:
        engine = "tensorflow"
    candidates = _candidates(specification, engine, precision)
    if device == "gpu" and candidates[0].engine != "tensorflow":
        raise EncoderError(f"--encoder-device gpu: {engine} computes on processors; leave out --engine")
    for candidate in candidates:
        for known in dict.fromkeys((candidate, dataclasses.replace(candidate, bias_correction=False))):
            found = find_table(known)
            if found is not None:
                _require_installed(found)
                return Choice(found, "the engine of the table")
    if precision == INT8:
        try:
            return _calibrated(candidates[0], draw_sample, trust_model)
        except EncoderError as error:
            chosen, why = choose_engine(
                specification, find_table=find_table, trust_model=trust_model, works_here=works_here
            )
            return Choice(chosen, f"{first_line(error)}; {why}")
    if engine == AUTO and device == "auto" and precision == "float32" and has_gpu():
        return Choice(reference(specification), "TensorFlow finds a GPU")
    if engine == AUTO and precision == "float32":
        engines = (ALWAYS_INSTALLED, "tensorflow")
        candidates = [one for one in candidates if (_is_installed(one) if works_here else one.engine in engines)]
        return _first_that_agrees(*_by_speed(candidates, trust_model), trust_model)
    return _first_that_agrees(candidates, "", trust_model)


def _by_speed(candidates: list[EncoderSpecification], trust_model: bool) -> tuple[Sequence[EncoderSpecification], str]:
    """Returns the candidates with the fastest first, TensorFlow last, and a word on the choice."""
    *converted, last = candidates
    if len(converted) < 2:
        return candidates, ""
    try:
        first, word = fastest(converted, trust_model)
    except EncoderError:  # which is told by whoever takes them up one by one
        return candidates, ""
    return [first, *(other for other in converted if other != first), last], f"; {word}"


def _first_that_agrees(candidates: Sequence[EncoderSpecification], word: str, trust_model: bool) -> Choice:
    reasons: list[str] = []
    for candidate in candidates:
        if candidate.engine == "tensorflow":
            return Choice(candidate, "; ".join(reasons) or "as asked")
        _require_installed(candidate)
        try:
            least = golden_difference(candidate, trust_model).least
        except EncoderError as error:
            if first_line(error) not in reasons:
                reasons.append(first_line(error))
            continue
        if candidate.precision != "float32" or least >= LEAST_COSINE:
            return Choice(candidate, f"TensorFlow's vectors of the golden images within cosine {least:.7f}{word}")
        reasons.append(f"{candidate.engine} gives other vectors than TensorFlow (cosine {least:.5f})")
    return Choice(reference(candidates[0]), "; ".join(reasons))


def _calibrated(candidate: EncoderSpecification, draw_sample: Callable[[], Pixels] | None, trust_model: bool) -> Choice:
    if draw_sample is None:
        raise EncoderError("int8 is calibrated on images of the collection, and there are none here")
    chosen = calibrate(candidate, draw_sample(), trust_model)
    facts = calibration_facts(chosen)
    why = f"calibrated on {facts['images']:,} images of the input"
    if facts["held_back"]:
        cosines = f"mean {facts['mean']:.4f} and least {facts['least']:.4f}"
        why += f"; cosine to TensorFlow's vectors of {facts['held_back']} others {cosines}"
    return Choice(chosen, why)


def _is_installed(specification: EncoderSpecification) -> bool:
    return specification.engine != "openvino" or openvino_engine.is_installed()


def _require_installed(specification: EncoderSpecification) -> None:
    if not _is_installed(specification):
        raise EncoderError(
            f"the engine openvino, in {specification.precision}, is not installed; pip install 'heliograph[openvino]'"
        )


def _candidates(specification: EncoderSpecification, engine: str, precision: str) -> list[EncoderSpecification]:
    engines = [name for name, precisions in PRECISIONS.items() if engine in (AUTO, name) and precision in precisions]
    if not engines:
        able = " or ".join(name for name, precisions in PRECISIONS.items() if precision in precisions)
        raise EncoderError(f"--engine {engine} does not compute in {precision}; {able} does")
    return [on_engine(specification, name, precision) for name in engines]


def on_engine(specification: EncoderSpecification, engine: str, precision: str = "float32") -> EncoderSpecification:
    """Returns the same encoder on an engine, as it is computed in new tables."""
    corrected = precision == "bfloat16"
    return dataclasses.replace(specification, engine=engine, precision=precision, bias_correction=corrected)


def settled_elsewhere(engine: str, precision: str) -> str:
    """Returns the engine that ``auto`` means in float32 where workers are not on this machine; any other as it is."""
    return ALWAYS_INSTALLED if (engine, precision) == (AUTO, "float32") else engine


def where_installed(specification: EncoderSpecification) -> EncoderSpecification:
    """Returns a float32 encoder whose engine is not installed here on LiteRT, which sees alike; any other as it is."""
    if specification.precision != "float32" or _is_installed(specification):
        return specification
    return on_engine(specification, ALWAYS_INSTALLED)


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
