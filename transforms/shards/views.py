"""An image looked at several times: itself and augmented views of it."""

from __future__ import annotations

import numpy as np

from transforms.encoders.encoder import Pixels, Vectors
from transforms.images.augment import Views
from transforms.shards.lanes import Encodes


class ViewsEncoder:
    """Encodes each image and its views, which follow from its pixels alone.

    Args:
      encoder: the network.
      views: augmented views of each image, besides itself.
      policy: as transforms.images.augment.find_policy takes it.

    Raises:
      OptionError: there is no such policy.
    """

    def __init__(self, encoder: Encodes, views: int, policy: str) -> None:
        self._encoder, self._views = encoder, Views(count=views, policy=policy)

    def encode(self, pixels: Pixels) -> Vectors:
        """uint8[B, H, W, 3] to float32[B, 1 + views, D], the image itself first."""
        looks = [self._encoder.encode(pixels)]
        for number in range(1, self._views.count + 1):
            looks.append(self._encoder.encode(np.stack([self._views.make(image, number) for image in pixels])))
        return np.stack(looks, axis=1)
