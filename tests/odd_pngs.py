"""PNGs of every colour type, written chunk by chunk, with the pixels they stand for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tests.drawing import GoodImage, encode, exif, grey_to_rgb, over_white, picture, rows

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Returns one chunk with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    width: int,
    height: int,
    kind: int,
    depth: int,
    packed: Iterable[bytes],
    extra: Iterable[tuple[bytes, bytes]] = (),
    late: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Writes a PNG from its packed rows; ``extra`` chunks stand before the pixels, ``late`` ones after."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in packed))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", body), *late, (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(png_chunk(name, content) for name, content in chunks)


def png_images() -> dict[str, GoodImage]:
    """Returns PNGs of every colour type, which the served graph must read too; the others are png_refused."""
    random = np.random.default_rng(7)
    rgb = np.asarray(picture(23, 17))
    alpha = random.integers(0, 256, (17, 23), dtype=np.uint8)
    grey, wide = rgb[..., 0], random.integers(0, 65536, (17, 23)).astype(">u2")
    rgba, la = np.dstack([rgb, alpha]), np.dstack([grey, alpha])
    wide_rgba = random.integers(0, 65536, (17, 23, 4)).astype(">u2")
    high = (wide_rgba >> 8).astype(np.uint8)
    clear_red = np.zeros((5, 4, 4), np.uint8)
    clear_red[..., 0] = 255
    images = {
        "png-rgb": GoodImage(encode(Image.fromarray(rgb), "PNG"), rgb),
        "png-1x1": GoodImage(png(1, 1, COLOUR, 8, [b"\x01\x02\x03"]), np.array([[[1, 2, 3]]], np.uint8)),
        "png-grey": GoodImage(encode(Image.fromarray(grey), "PNG"), grey_to_rgb(grey)),
        "png-rgba": GoodImage(encode(Image.fromarray(rgba), "PNG"), over_white(rgb, alpha)),
        "png-grey-alpha": GoodImage(encode(Image.fromarray(la, "LA"), "PNG"), over_white(grey_to_rgb(grey), alpha)),
        "png-clear-red": GoodImage(encode(Image.fromarray(clear_red), "PNG"), np.full((5, 4, 3), 255, np.uint8)),
        "png-grey-16": GoodImage(png(23, 17, GREY, 16, rows(wide)), grey_to_rgb(wide >> 8)),
        "png-rgb-16": GoodImage(png(23, 17, COLOUR, 16, rows(wide_rgba[..., :3])), high[..., :3]),
        "png-rgba-16": GoodImage(
            png(23, 17, COLOUR_ALPHA, 16, rows(wide_rgba)), over_white(high[..., :3], high[..., 3])
        ),
        "png-grey-alpha-16": GoodImage(
            png(23, 17, GREY_ALPHA, 16, rows(wide_rgba[..., 2:])),
            over_white(grey_to_rgb(high[..., 2]), high[..., 3]),
        ),
        "png-interlaced": GoodImage(_INTERLACED, _INTERLACED_PIXELS),
        "png-gamma": GoodImage(png(23, 17, COLOUR, 8, rows(rgb), [(b"gAMA", struct.pack(">I", 100000))]), rgb),
        "png-apng": GoodImage(
            encode(Image.fromarray(rgb), "PNG", save_all=True, append_images=[picture(23, 17, 5)]), rgb
        ),
        "png-late-exif": GoodImage(png(23, 17, COLOUR, 8, rows(rgb), late=[(b"eXIf", exif(6)[6:])]), np.rot90(rgb, -1)),
    }
    return images | _png_low_depths() | _png_keys() | _png_palettes()


def png_refused() -> dict[str, GoodImage]:
    """Returns PNGs that the batch path reads and the served graph refuses."""
    wide = np.random.default_rng(8).integers(0, 65536, (5, 6, 3)).astype(">u2")
    wide[2, 3] = (0x1234, 0x5678, 0x9ABC)
    pixels = (wide >> 8).astype(np.uint8)
    pixels[2, 3] = 255
    key = (b"tRNS", struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC))
    return {"png-rgb-16-key": GoodImage(png(6, 5, COLOUR, 16, rows(wide), [key]), pixels)}


def _packed(samples: np.ndarray, depth: int) -> list[bytes]:
    bits = (samples[..., np.newaxis] >> np.arange(depth - 1, -1, -1)) & 1
    return [row.tobytes() for row in np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)]


def _png_low_depths() -> dict[str, GoodImage]:
    images = {}
    for depth in (1, 2, 4):
        top = 2**depth - 1
        samples = np.random.default_rng(depth).integers(0, top + 1, (9, 11))
        scaled = samples * 255 // top
        images[f"png-grey-{depth}"] = GoodImage(png(11, 9, GREY, depth, _packed(samples, depth)), grey_to_rgb(scaled))
        key = [(b"tRNS", struct.pack(">H", 1))]
        images[f"png-grey-{depth}-key"] = GoodImage(
            png(11, 9, GREY, depth, _packed(samples, depth), key),
            grey_to_rgb(np.where(samples == 1, 255, scaled)),
        )
    return images


def _png_keys() -> dict[str, GoodImage]:
    """Returns grey and colour with one transparent value; a near miss of it stays."""
    grey, wide = np.full((4, 5), 7, np.uint8), np.full((4, 5), 0x1234, ">u2")
    rgb = np.full((4, 5, 3), (10, 20, 30), np.uint8)
    grey[1, 1], wide[1, 1], rgb[1, 1] = 8, 0x1235, (10, 20, 31)
    seen, wide_seen, rgb_seen = np.full((4, 5), 255), np.full((4, 5), 255), np.full((4, 5, 3), 255, np.uint8)
    seen[1, 1], wide_seen[1, 1], rgb_seen[1, 1] = 8, 0x12, (10, 20, 31)
    grey_key, wide_key = [(b"tRNS", struct.pack(">H", 7))], [(b"tRNS", struct.pack(">H", 0x1234))]
    rgb_key = [(b"tRNS", struct.pack(">HHH", 10, 20, 30))]
    return {
        "png-grey-8-key": GoodImage(png(5, 4, GREY, 8, rows(grey), grey_key), grey_to_rgb(seen)),
        "png-grey-16-key": GoodImage(png(5, 4, GREY, 16, rows(wide), wide_key), grey_to_rgb(wide_seen)),
        "png-rgb-8-key": GoodImage(png(5, 4, COLOUR, 8, rows(rgb), rgb_key), rgb_seen),
    }


def _png_palettes() -> dict[str, GoodImage]:
    images = {}
    for depth in (1, 2, 4, 8):
        colours = 2**depth
        random = np.random.default_rng(20 + depth)
        palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
        alphas = random.integers(0, 256, colours // 2, dtype=np.uint8)
        samples = random.integers(0, colours, (9, 11))
        plte = (b"PLTE", palette.tobytes())
        images[f"png-palette-{depth}"] = GoodImage(
            png(11, 9, PALETTE, depth, _packed(samples, depth), [plte]), palette[samples]
        )
        every = np.concatenate([alphas, np.full(colours - len(alphas), 255, np.uint8)])
        images[f"png-palette-{depth}-alpha"] = GoodImage(
            png(11, 9, PALETTE, depth, _packed(samples, depth), [plte, (b"tRNS", alphas.tobytes())]),
            over_white(palette[samples], every[samples]),
        )
        clear = bytes([0]) + b"\xff" * (colours - 1)
        images[f"png-palette-{depth}-clear"] = GoodImage(
            png(11, 9, PALETTE, depth, _packed(samples, depth), [plte, (b"tRNS", clear)]),
            np.where((samples == 0)[..., np.newaxis], 255, palette[samples]).astype(np.uint8),
        )
    return images


def _interlaced(pixels: np.ndarray) -> bytes:
    """Writes Adam7 by its definition: seven pictures, each of every nth column and row."""
    height, width = pixels.shape[:2]
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    parts = [pixels[y::down, x::across] for x, y, across, down in passes]
    body = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(png_chunk(name, content) for name, content in chunks)


_INTERLACED_PIXELS = np.asarray(picture(21, 13, 3))
_INTERLACED = _interlaced(_INTERLACED_PIXELS)
