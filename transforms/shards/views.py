"""An image looked at several times: itself and augmented views of it."""

from __future__ import annotations

import hashlib

import numpy as np

from transforms.encoders.encoder import Pixels, Vectors
from transforms.images.augment import augment, find_policy
from transforms.shards.lanes import Encodes


class ViewsEncoder:
    """Encodes each image and its views, which follow from its pixels alone.

    Args:
      encoder: the network.
      views: augmented views of each image, besides itself.
      policy: name of one of transforms.images.augment.POLICIES.

    Raises:
      OptionError: there is no such policy.
    """

    def __init__(self, encoder: Encodes, views: int, policy: str) -> None:
        find_policy(policy)
        self._encoder, self._views, self._policy = encoder, views, policy

    def encode(self, pixels: Pixels) -> Vectors:
        """uint8[B, H, W, 3] to float32[B, 1 + views, D], the image itself first."""
        digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
        looks = [self._encoder.encode(pixels)]
        for view in range(1, self._views + 1):
            seen = [
                augment(image, self._policy, f"{digest}/{view}") for image, digest in zip(pixels, digests, strict=True)
            ]
            looks.append(self._encoder.encode(np.stack(seen)))
        return np.stack(looks, axis=1)
