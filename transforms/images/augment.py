"""Views of an image as a photographer might have taken it otherwise: seeded, the same bytes on every machine.

A view is one affine map (mirror, quarter turn, rotation, crop and stretch in one interpolation), one linear map of the
colours, and perhaps an erased rectangle. Which of these a picture can bear without becoming something else depends on
what it shows, so there is a policy for each kind of picture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from transforms.errors import OptionError

Pixels = npt.NDArray[np.uint8]

AUGMENT_VERSION = 1
"""Raised whenever the bytes of any view change."""

# Coefficients are rounded to these binary fractions, so that every product and sum below is exact in the type that it
# is computed in (Pillow's doubles, our float32): no order of operations and no fused instruction can change a byte.
_MAP_UNIT = 2**16
_COLOUR_UNIT = 2**10
_LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What may happen to a picture of one kind; ranges are drawn from uniformly.

    Attributes:
      mirror: left and right are exchanged in every other view.
      turn: all eight symmetries of the square are drawn from, with mirroring.
      rotation: at most, in degrees, either way.
      area: least share of the picture that a crop keeps.
      stretch: at most, the sides of the crop against each other.
      brightness: at most, as a share of white, either way.
      contrast: at most, as a share, either way.
      saturation: at most, as a share, either way.
      hue: at most, in degrees of the colour wheel, either way.
      erase: share of the views in which a rectangle is blotted out by the picture's mean colour.
      erase_area: at most, the rectangle's share of the picture.
    """

    mirror: bool = False
    turn: bool = False
    rotation: float = 0.0
    area: float = 1.0
    stretch: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase: float = 0.0
    erase_area: float = 0.0

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when a view of this policy does."""
        text = repr((AUGMENT_VERSION, sorted(dataclasses.asdict(self).items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def weakened(self, strength: float) -> Policy:
        """Returns the policy with all that it does by degrees done less, ``strength`` in (0, 1) of it.

        Symmetries stay as they are; so does the size of an erased rectangle, but fewer views have one.
        """
        ranges = ("rotation", "brightness", "contrast", "saturation", "hue", "erase")
        return dataclasses.replace(
            self,
            area=1 - (1 - self.area) * strength,
            stretch=self.stretch**strength,
            **{name: getattr(self, name) * strength for name in ranges},
        )


POLICIES: Mapping[str, Policy] = {
    # Things and scenes: a mirrored cat is a cat, upside down it hardly occurs; light and camera vary; parts are hidden.
    "natural": Policy(
        mirror=True,
        rotation=10,
        area=0.6,
        stretch=4 / 3,
        brightness=0.15,
        contrast=0.25,
        saturation=0.3,
        hue=8,
        erase=0.25,
        erase_area=0.12,
    ),
    # Pages, forms, screens: mirrored or turned text is no text, a cut line is another; scanners tilt, paper yellows.
    "document": Policy(rotation=2.5, area=0.9, stretch=1.05, brightness=0.1, contrast=0.25, saturation=0.3),
    # Radiographs, scans of bodies: left is not right, tint and small spots are findings; position and exposure vary.
    # Microscopy, which has no upright, is a texture.
    "medical": Policy(rotation=8, area=0.85, stretch=1.05, brightness=0.06, contrast=0.15),
    # Surfaces, materials, fabrics, solar cells, microscopy, views from above: no side is up; colour says what it is.
    "texture": Policy(
        mirror=True,
        turn=True,
        rotation=15,
        area=0.6,
        stretch=1.15,
        brightness=0.1,
        contrast=0.2,
        erase=0.2,
        erase_area=0.08,
    ),
}
"""Policies by name; find_policy also takes ``name:strength``."""


def find_policy(name: str) -> Policy:
    """Returns the policy of a name, or of a name and a strength: ``texture:0.25`` is a quarter of texture.

    Raises:
      OptionError: there is none of that name, or the strength is not between 0 and 1.
    """
    base, weaker, strength = name.partition(":")
    if base not in POLICIES:
        raise OptionError(f"there is no augmentation policy {base!r}, only {', '.join(POLICIES)}")
    if not weaker:
        return POLICIES[base]
    if not re.fullmatch(r"0?\.\d+", strength) or not float(strength):
        raise OptionError(f"the strength of --augment {name} must be between 0 and 1, such as {base}:0.25")
    return POLICIES[base].weakened(float(strength))


def augment(pixels: Pixels, policy: str, seed: str | int) -> Pixels:
    """Makes one view of an image.

    The same pixels, policy and seed give the same bytes on every machine. Safe to call from several threads.

    Args:
      pixels: ``uint8[H, W, 3]``, RGB, of any size.
      policy: as find_policy takes it.
      seed: which view; a digest of the image's content with the view's number, say.

    Returns:
      ``uint8[H, W, 3]``.

    Raises:
      OptionError: there is no such policy.
    """
    chosen = find_policy(policy)
    draws = _Draws(seed)
    view = _move(pixels, _draw_map(chosen, draws, *pixels.shape[:2]))
    view = _recolour(view, *_draw_colours(chosen, draws, view))
    return _erase(view, chosen, draws)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """Which views are made of an image; they follow from its pixels, the policy and their number alone.

    Attributes:
      count: how many; they are numbered from 1, the image itself is 0.
      policy: as find_policy takes it.

    Raises:
      OptionError: there is no such policy.
    """

    count: int = 0
    policy: str = "natural"

    SEED_RULE: ClassVar[str] = "SHA-256 of the pixels that enter the network / view_id"

    def __post_init__(self) -> None:
        find_policy(self.policy)

    @property
    def key(self) -> str:
        """The policy by name and fingerprint, such as ``texture/0123456789abcdef``; the latter tells the strength."""
        return f"{self.policy.partition(':')[0]}/{find_policy(self.policy).fingerprint}"

    def make(self, pixels: Pixels, number: int) -> Pixels:
        """Makes the view of that number of ``uint8[H, W, 3]``."""
        return augment(pixels, self.policy, f"{hashlib.sha256(pixels.tobytes()).hexdigest()}/{number}")


NO_VIEWS = Views()


class _Draws:
    """Numbers that follow from a seed alone; no library's generator, whose stream may change with its version."""

    def __init__(self, seed: str | int) -> None:
        self._seed, self._count = f"{AUGMENT_VERSION}/{seed}", 0

    def unit(self) -> float:
        """A multiple of 2^-32 from 0 to below 1."""
        self._count += 1
        digest = hashlib.blake2b(f"{self._seed}/{self._count}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") / 2**32

    def within(self, bound: float) -> float:
        """From ``-bound`` to ``bound``."""
        return (2 * self.unit() - 1) * bound


def _draw_map(policy: Policy, draws: _Draws, height: int, width: int) -> npt.NDArray[np.float64]:
    """Draws where each pixel of the view comes from: ``[2, 3]``, x and y from (x, y, 1), at the pixels' centres."""
    mirrored = policy.mirror and draws.unit() < 0.5
    quarters = int(draws.unit() * 4) if policy.turn else 0
    angle = math.radians(draws.within(policy.rotation))
    area = 1 - draws.unit() * (1 - policy.area)
    stretch = math.sqrt(policy.stretch) ** draws.within(1.0)
    crop = np.minimum(1.0, np.sqrt(area) * np.array([stretch, 1 / stretch]))
    centre = 0.5 + (1 - crop) * np.array([draws.within(0.5), draws.within(0.5)])
    size = np.array([width, height], np.float64)
    symmetry = np.diag([-1.0 if mirrored else 1.0, 1.0])
    for _ in range(quarters):
        symmetry = np.array([[0.0, -1.0], [1.0, 0.0]]) @ symmetry
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turned @ np.diag(crop * size) @ symmetry @ np.diag(1 / size)
    offset = centre * size - linear @ (size / 2)
    return np.round(np.column_stack([linear, offset]) * _MAP_UNIT) / _MAP_UNIT


def _move(pixels: Pixels, source: npt.NDArray[np.float64]) -> Pixels:
    """Interpolates linearly; what lies outside is the picture mirrored at its border."""
    height, width = pixels.shape[:2]
    corners = source @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    beyond = np.maximum(-corners, corners - np.array([[width], [height]])).max(axis=1)
    right, down = (max(0, math.ceil(excess)) + 1 for excess in beyond)
    padded = Image.fromarray(np.pad(pixels, ((down, down), (right, right), (0, 0)), "symmetric"))
    moved = source + np.array([[0, 0, right], [0, 0, down]])
    view = padded.transform(
        (width, height), Image.Transform.AFFINE, tuple(moved.ravel()), resample=Image.Resampling.BILINEAR
    )
    return np.asarray(view)


def _draw_colours(
    policy: Policy, draws: _Draws, view: Pixels
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draws a map of the colours: ``float32[3, 3]`` and an offset ``float32[3]``, whole numbers of 1 / _COLOUR_UNIT.

    Contrast changes around the view's mean grey; what is grey stays grey.
    """
    contrast = 1 + draws.within(policy.contrast)
    brightness = draws.within(policy.brightness) * 255
    saturation = 1 + draws.within(policy.saturation)
    turn = math.radians(draws.within(policy.hue))
    # The colour wheel is turned around the grey axis (Rodrigues), then drawn towards the grey of the same luma.
    axis = 1 / math.sqrt(3)
    cross = axis * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    wheel = math.cos(turn) * np.eye(3) + math.sin(turn) * cross + (1 - math.cos(turn)) / 3
    luma = np.tile(_LUMA, (3, 1))
    matrix = np.round(contrast * (luma + saturation * (wheel - luma @ wheel)) * _COLOUR_UNIT)
    gain = round(contrast * _COLOUR_UNIT)
    matrix[np.diag_indices(3)] += gain - matrix.sum(axis=1)
    mean = round(int(view.sum(dtype=np.int64)) / max(view.size, 1))
    offset = mean * (_COLOUR_UNIT - gain) + round(brightness * _COLOUR_UNIT)
    return matrix.astype(np.float32), np.full(3, offset, np.float32)


def _recolour(view: Pixels, matrix: npt.NDArray[np.float32], offset: npt.NDArray[np.float32]) -> Pixels:
    """Applies the map, rounds and clips. All numbers are whole and below 2^24, which float32 holds exactly."""
    planes = np.moveaxis(view, 2, 0).astype(np.float32)
    recoloured = np.empty_like(view, order="C")
    for channel, weights in enumerate(matrix):  # no matrix product: a library's threads cost more than they bring
        plane = planes[0] * weights[0]
        plane += planes[1] * weights[1]
        plane += planes[2] * weights[2]
        plane += offset[channel] + _COLOUR_UNIT // 2
        plane *= 1 / _COLOUR_UNIT
        np.floor(plane, out=plane)
        recoloured[..., channel] = np.clip(plane, 0, 255, out=plane)
    return recoloured


def _erase(view: Pixels, policy: Policy, draws: _Draws) -> Pixels:
    """Blots out a rectangle, or nothing."""
    if draws.unit() >= policy.erase:
        return view
    height, width = view.shape[:2]
    area = (0.2 + 0.8 * draws.unit()) * policy.erase_area
    shape = 2.0 ** draws.within(1.0)
    tall, wide = round(height * math.sqrt(area * shape)), round(width * math.sqrt(area / shape))
    top, left = int(draws.unit() * (height - tall + 1)), int(draws.unit() * (width - wide + 1))
    colour: Any = np.round(view.reshape(-1, 3).sum(axis=0, dtype=np.int64) / max(height * width, 1))
    view[top : top + tall, left : left + wide] = colour.astype(np.uint8)
    return view
