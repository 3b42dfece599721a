"""Any mode of Pillow's to 8-bit grey or RGB without transparency.

ICC profiles are ignored: the served graph cannot apply them, and the network must see the same pixels there.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from transforms.errors import ErrorClass, ImageError

BACKGROUND = 255
"""What shows through transparent pixels: white, in every channel."""

Key = int | tuple[int, int, int]
"""A colour that stands for full transparency (PNG's tRNS), in the samples' own depth."""


def flatten(image: Image.Image, bit_depth: int = 8) -> Image.Image:
    """Returns the picture in mode ``L`` or ``RGB``, transparent parts laid over BACKGROUND.

    Grey of 9 to 16 bits keeps its high 8 bits, as a PNG's 16-bit colours do. 32-bit and float samples have
    no range of their own: within [0, 1] floats are multiplied by 255, within [0, 255] samples stay, within
    [0, 65535] they are divided by 256, else the least becomes 0 and the greatest 255. Values that are not
    finite count as the least. CMYK turns to ``(255 - ink) * (255 - black) / 255``.

    Args:
      image: loaded.
      bit_depth: of one sample as stored.

    Raises:
      ImageError: UNSUPPORTED_FORMAT for a mode that has no rule.
    """
    mode = image.mode
    if mode == "1":
        return _lay_key(image.convert("L"), _key(image), bit_depth)
    if mode in ("L", "RGB"):
        return _lay_key(image, _key(image), bit_depth)
    if mode == "P":
        return _lay(image.convert("RGBA")) if image.has_transparency_data else image.convert("RGB")
    if mode in ("RGBA", "LA"):
        return _lay(image)
    if mode in ("PA", "RGBa"):
        return _lay(image.convert("RGBA"))
    if mode == "La":
        return _lay(image.convert("LA"))
    if mode in ("CMYK", "YCbCr", "RGBX"):
        return image.convert("RGB")
    if mode.startswith("I;16"):
        return _reduce(image, bit_depth)
    if mode in ("I", "F"):
        return Image.fromarray(stretch(np.asarray(image)))
    raise ImageError(ErrorClass.UNSUPPORTED_FORMAT, f"no rule turns the colour mode {mode} into RGB")


def stretch(samples: np.ndarray) -> np.ndarray:
    """Returns ``uint8[height, width]`` of 32-bit or float samples, by the rule that flatten states."""
    finite = np.isfinite(samples)
    if not finite.any():
        raise ImageError(ErrorClass.CORRUPT, "no sample of the picture is a finite number")
    low, high = float(samples[finite].min()), float(samples[finite].max())
    values = samples.astype(np.float64)
    values[~finite] = low
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        return (values / 256).astype(np.uint8)
    values -= low
    values *= 255
    values /= high - low
    values += 0.5
    return values.astype(np.uint8)


def _key(image: Image.Image) -> Key | None:
    key = image.info.get("transparency")
    if image.mode == "RGB":
        return key if isinstance(key, tuple) and len(key) == 3 else None
    return key if isinstance(key, int) else None


def _lay(image: Image.Image) -> Image.Image:
    """Lays RGBA or LA over the background: ``round((c * a + 255 * (255 - a)) / 255)`` a channel."""
    if image.mode == "RGBA":
        under = Image.new("RGB", image.size, (BACKGROUND,) * 3)
        under.paste(image, mask=image)
    else:
        under = Image.new("L", image.size, BACKGROUND)
        under.paste(image.getchannel("L"), mask=image.getchannel("A"))
    return under


def _lay_key(image: Image.Image, key: Key | None, bit_depth: int) -> Image.Image:
    """Turns the pixels of the key's colour to the background."""
    if key is None:
        return image
    if isinstance(key, int):
        keys: tuple[int, ...] = (key * 255 // (2**bit_depth - 1) if bit_depth < 8 else key,)
    else:
        keys = tuple(part >> 8 for part in key) if bit_depth == 16 else key
    pixels = np.array(image)
    same = pixels == keys[0] if image.mode == "L" else (pixels == keys).all(axis=-1)
    pixels[same] = BACKGROUND
    return Image.fromarray(pixels)


def _reduce(image: Image.Image, bit_depth: int) -> Image.Image:
    samples = np.asarray(image)
    pixels = (samples >> max(min(bit_depth, 16) - 8, 1)).astype(np.uint8)
    key = _key(image)
    if key is not None:
        pixels[samples == key] = BACKGROUND
    return Image.fromarray(pixels)
