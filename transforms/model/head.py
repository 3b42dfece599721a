"""A head: vectors to probabilities, with numpy alone."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import ModelError
from transforms.model.decision import FIRST, Decision

Array = npt.NDArray[np.float32]

ACTIVATIONS = ("softmax", "sigmoid")
"""``softmax`` for one label an image, ``sigmoid`` for several."""

_ROWS = 8192  # rows at a time: bounds the memory of the products, not their speed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """Standardisation, dense layers with ReLU between them, temperature, softmax or sigmoid.

    Attributes:
      labels: names of the C outputs, in their order.
      mean: ``float32[D]``, subtracted from a vector.
      std: ``float32[D]``, positive; divides what is left.
      layers: (weights ``float32[inputs, outputs]``, bias ``float32[outputs]``), first to last.
      activation: one of ACTIVATIONS.
      temperature: positive; divides the logits.
      decision: from probabilities to the answer.

    Raises:
      ModelError: when the shapes do not fit together or a number is not finite.
    """

    labels: tuple[str, ...]
    mean: Array
    std: Array
    layers: tuple[tuple[Array, Array], ...]
    activation: str = "softmax"
    temperature: float = 1.0
    decision: Decision = FIRST

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"head: activation {self.activation!r} is unknown; use {' or '.join(ACTIVATIONS)}")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ModelError(f"head: temperature must be positive and finite, got {self.temperature}")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ModelError(f"head: labels must be there and differ from each other, got {list(self.labels)[:10]}")
        if len(self.decision.thresholds) not in (0, len(self.labels)):
            raise ModelError(f"head: {len(self.decision.thresholds)} thresholds for {len(self.labels)} labels")
        self._check_shapes()
        arrays = [self.mean, self.std, *(array for layer in self.layers for array in layer)]
        if not all(np.isfinite(array).all() for array in arrays) or not (self.std > 0).all():
            raise ModelError("head: its weights have NaN, infinity or a standard deviation that is not positive")

    def _check_shapes(self) -> None:
        if self.mean.ndim != 1 or self.std.shape != self.mean.shape or not self.layers:
            raise ModelError(f"head: mean {self.mean.shape}, std {self.std.shape}, {len(self.layers)} layers")
        inputs = self.dimension
        for index, (weights, bias) in enumerate(self.layers):
            if weights.ndim != 2 or weights.shape[0] != inputs or bias.shape != weights.shape[1:]:
                raise ModelError(f"head: layer {index} takes {inputs} inputs, has {weights.shape} and {bias.shape}")
            inputs = weights.shape[1]
        if inputs != len(self.labels):
            raise ModelError(f"head: {inputs} outputs for {len(self.labels)} labels")

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return int(self.mean.shape[0])

    @functools.cached_property
    def folded(self) -> tuple[tuple[Array, Array], ...]:
        """The layers with standardisation and temperature folded in: raw vectors to scaled logits.

        ``((x - mean) / std) W + b = x (W / std) + (b - (mean / std) W)``, computed in float64.
        """
        layers = [(weights.astype(np.float64), bias.astype(np.float64)) for weights, bias in self.layers]
        first = layers[0][0] / self.std.astype(np.float64)[:, None]
        layers[0] = (first, layers[0][1] - self.mean.astype(np.float64) @ first)
        layers[-1] = (layers[-1][0] / self.temperature, layers[-1][1] / self.temperature)
        return tuple((weights.astype(np.float32), bias.astype(np.float32)) for weights, bias in layers)

    def logits(self, vectors: Array) -> Array:
        """Maps ``float32[N, D]`` to logits ``float32[N, C]``, already divided by the temperature.

        Raises:
          ModelError: when the vectors are not of the head's dimension.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ModelError(f"the head takes vectors of {self.dimension} numbers, got an array {vectors.shape}")
        result = np.empty((len(vectors), len(self.labels)), np.float32)
        for start in range(0, len(vectors), _ROWS):
            result[start : start + _ROWS] = self._forward(vectors[start : start + _ROWS])
        return result

    def _forward(self, vectors: Array) -> Array:
        *hidden, (weights, bias) = self.folded
        values = np.asarray(vectors, np.float32)
        for hidden_weights, hidden_bias in hidden:
            values = np.maximum(values @ hidden_weights + hidden_bias, np.float32(0))
        return values @ weights + bias

    def probabilities(self, vectors: Array) -> Array:
        """Maps ``float32[N, D]`` to ``float32[N, C]`` in [0, 1]; rows of a softmax sum to 1."""
        return self.activate(self.logits(vectors))

    def activate(self, logits: Array) -> Array:
        """Maps scaled logits to probabilities."""
        return softmax(logits) if self.activation == "softmax" else sigmoid(logits)

    def decide(self, probabilities: Array, values: Sequence[str] | None = None) -> npt.NDArray[np.bool_]:
        """Returns which labels each row is said to have, ``bool[N, C]``: as the decision says.

        Without one, of a softmax the most probable label, among equals the first; of sigmoids those that are as
        likely as not.

        Args:
          probabilities: ``float32[N, C]``.
          values: of the attribute on which thresholds of slices depend, a row each; None when nobody knows any.
        """
        if self.activation == "sigmoid":
            return self.decision.decide_several(probabilities)
        return self.decision.decide_one(probabilities, values)

    def to_bytes(self) -> bytes:
        """The arrays as an ``.npz`` file, the same bytes for the same head."""
        arrays = {"mean": self.mean, "std": self.std}
        for index, (weights, bias) in enumerate(self.layers):
            arrays |= {f"weights_{index}": weights, f"bias_{index}": bias}
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                content = io.BytesIO()
                np.save(content, np.ascontiguousarray(array, np.float32), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())  # ZipInfo: no clock in it
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """What is not in the arrays, and the digest of both."""
        return {
            "labels": list(self.labels),
            "activation": self.activation,
            "temperature": self.temperature,
            "dimension": self.dimension,
            "layers": len(self.layers),
            **self._decision_fields(),
            "sha256": self.digest,
        }

    def _decision_fields(self) -> dict[str, Any]:
        return {} if self.decision.always_first else {"decision": self.decision.to_json()}

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the arrays, labels, activation, temperature and decision, in hexadecimal."""
        fields = json.dumps([self.labels, self.activation, self.temperature, *self._decision_fields().values()])
        return hashlib.sha256(fields.encode() + self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, fields: Mapping[str, Any]) -> Head:
        """The inverse of to_bytes and to_json.

        Raises:
          ModelError: when the file is damaged or is not the one that ``fields`` describes.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            head = cls(
                labels=tuple(fields["labels"]),
                mean=arrays["mean"],
                std=arrays["std"],
                layers=tuple((arrays[f"weights_{i}"], arrays[f"bias_{i}"]) for i in range(int(fields["layers"]))),
                activation=str(fields["activation"]),
                temperature=float(fields["temperature"]),
                decision=Decision.from_json(fields["decision"]) if "decision" in fields else FIRST,
            )
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, OSError, EOFError) as error:
            raise ModelError(f"head.npz cannot be read ({type(error).__name__}: {error})") from error
        if head.digest != fields.get("sha256"):
            raise ModelError("head.npz is not the one that model.json describes (its digest differs)")
        return head


def softmax(logits: Array) -> Array:
    """Maps ``float32[N, C]`` to rows that sum to 1; large logits do not overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def sigmoid(logits: Array) -> Array:
    """Maps each logit to (0, 1); large ones of either sign do not overflow."""
    result: Array = 0.5 * (1.0 + np.tanh(np.float32(0.5) * logits))
    return result.astype(np.float32)
