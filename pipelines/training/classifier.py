"""A classifier that is trained on pixels: a trainable encoder, and a head on its vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.training.networks import TrainableEncoder
from transforms.encoders.tensorflow_runtime import import_keras, import_tensorflow
from transforms.model.decision import FIRST
from transforms.model.head import Array, Head


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
    """Pixels to logits.

    Attributes:
      encoder: pixels to vectors.
      start: the head as it was before training, of temperature 1, without thresholds.
      layers: (weights, bias) of the head's layers, as variables.
      unfrozen: variables of the encoder that are trained.
      dropout_rate: before each layer of the head.
      seed: of the dropout.
    """

    encoder: TrainableEncoder
    start: Head
    layers: tuple[tuple[Any, Any], ...]
    unfrozen: tuple[Any, ...]
    dropout_rate: float
    seed: int

    @property
    def trained(self) -> list[Any]:
        """The variables that a step changes."""
        return [*self.unfrozen, *(variable for layer in self.layers for variable in layer)]

    @property
    def state(self) -> list[Any]:
        """The variables that training may change, counters of random numbers among them."""
        return [*self.encoder.state, *(variable for layer in self.layers for variable in layer)]

    def logits(self, images: Any, training: bool, step: Any = 0) -> Any:
        """Maps ``uint8[B, height, width, 3]`` to ``float32[B, C]``; ``step`` seeds the dropout."""
        return self.classify(self.encoder.call(images, training), training, step)

    def classify(self, vectors: Any, training: bool = False, step: Any = 0) -> Any:
        """Maps ``float32[B, D]`` to ``float32[B, C]``: the head alone."""
        tf = import_tensorflow()
        vectors = (vectors - self.start.mean) / self.start.std
        for place, (weights, bias) in enumerate(self.layers):
            if place:
                vectors = tf.nn.relu(vectors)
            if training and self.dropout_rate:
                seed = [self.seed + place, step]
                vectors = tf.nn.experimental.stateless_dropout(vectors, self.dropout_rate, seed=seed)
            vectors = vectors @ weights + bias
        return vectors

    def head(self) -> Head:
        """Returns the head as it is now."""
        layers = tuple((weights.numpy(), bias.numpy()) for weights, bias in self.layers)
        return dataclasses.replace(self.start, layers=layers)


def with_head(
    encoder: TrainableEncoder, head: Head, unfreeze: int | None, dropout_rate: float, seed: int
) -> Classifier:
    """Puts a head that was fitted before on an encoder, of which the last ``unfreeze`` blocks will be trained."""
    tf = import_tensorflow()
    return Classifier(
        encoder=encoder,
        start=dataclasses.replace(head, temperature=1.0, decision=FIRST),
        layers=tuple((tf.Variable(weights), tf.Variable(bias)) for weights, bias in head.layers),
        unfrozen=tuple(encoder.top(unfreeze)),
        dropout_rate=dropout_rate,
        seed=seed,
    )


def with_new_head(
    encoder: TrainableEncoder, labels: Sequence[str], activation: str, dropout_rate: float, seed: int
) -> Classifier:
    """Puts one dense layer with small random weights on an encoder that will be trained as a whole."""
    keras = import_keras()
    dimension = encoder.dimension
    start = keras.initializers.GlorotUniform(seed=seed)((dimension, len(labels)))
    weights: Array = np.asarray(start, np.float32)
    head = Head(
        labels=tuple(labels),
        mean=np.zeros(dimension, np.float32),
        std=np.ones(dimension, np.float32),
        layers=((weights, np.zeros(len(labels), np.float32)),),
        activation=activation,
    )
    return with_head(encoder, head, None, dropout_rate, seed)
