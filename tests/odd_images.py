"""Images that are hard to read, drawn here: bytes with the pixels they stand for, or their error class."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.drawing import GoodImage, encode, exif, grey_to_rgb, over_white, picture
from tests.odd_pngs import COLOUR, PNG_SIGNATURE, png, png_chunk, png_images, png_refused
from transforms.errors import ErrorClass

__all__ = ["encode", "exif", "picture", "png_images", "png_refused"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


class BadImage(NamedTuple):
    """A file that is no image, and why."""

    data: bytes
    error_class: ErrorClass


def jpeg_with_segments(data: bytes, *segments: bytes) -> bytes:
    """Puts APP1 segments first in a JPEG."""
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments) + data[2:]


def jpeg_resized(data: bytes, width: int, height: int) -> bytes:
    """Overwrites the size in a JPEG's frame header, leaving its few pixels."""
    at = next(at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def good_images() -> dict[str, GoodImage]:
    """Returns every odd but valid image by name."""
    return {**png_images(), **other_images(), **lossy_images()}


def other_images() -> dict[str, GoodImage]:
    """Returns lossless images of the other formats."""
    rgb, second = np.asarray(picture(23, 17)), picture(23, 17, 5)
    image = Image.fromarray(rgb)
    grey = rgb[..., 0]
    alpha = np.random.default_rng(9).integers(0, 256, (17, 23), dtype=np.uint8)
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    wide = np.random.default_rng(10).integers(0, 65536, (17, 23), dtype=np.uint16)
    few = image.quantize(16)
    few_rgb = np.asarray(few.convert("RGB"))
    cmyk = np.random.default_rng(11).integers(0, 256, (17, 23, 4), dtype=np.uint8)
    ink, black = cmyk[..., :3].astype(float), cmyk[..., 3:].astype(float)
    inked = np.clip(255 - black - np.floor(ink * (255 - black) / 255 + 0.5), 0, 255).astype(np.uint8)
    unit = np.linspace(0, 1, 17 * 23, dtype=np.float32).reshape(17, 23)
    spread = np.linspace(-3e38, 3e38, 256, dtype=np.float32).reshape(16, 16)
    holes = np.array([[np.nan, -2.0], [np.inf, 300.0]], np.float32)
    clear = few.copy()
    clear.info["transparency"] = 3
    seen = np.where((np.asarray(few) == 3)[..., np.newaxis], 255, few_rgb).astype(np.uint8)
    return {
        "webp-lossless": GoodImage(encode(image, "WEBP", lossless=True), rgb),
        "webp-alpha": GoodImage(encode(rgba, "WEBP", lossless=True, exact=True), over_white(rgb, alpha)),
        "webp-animated": GoodImage(encode(image, "WEBP", save_all=True, append_images=[second], lossless=True), rgb),
        "gif": GoodImage(encode(few, "GIF"), few_rgb),
        "gif-clear": GoodImage(encode(clear, "GIF", transparency=3), seen),
        "gif-animated": GoodImage(encode(few, "GIF", save_all=True, append_images=[second.quantize(16)]), few_rgb),
        "bmp": GoodImage(encode(image, "BMP"), rgb),
        "bmp-grey": GoodImage(encode(Image.fromarray(grey), "BMP"), grey_to_rgb(grey)),
        "bmp-palette": GoodImage(encode(few, "BMP"), few_rgb),
        "tiff": GoodImage(encode(image, "TIFF"), rgb),
        "tiff-deflate": GoodImage(encode(image, "TIFF", compression="tiff_adobe_deflate"), rgb),
        "tiff-lzw": GoodImage(encode(image, "TIFF", compression="tiff_lzw"), rgb),
        "tiff-pages": GoodImage(encode(image, "TIFF", save_all=True, append_images=[second]), rgb),
        "tiff-rgba": GoodImage(encode(rgba, "TIFF"), over_white(rgb, alpha)),
        "tiff-cmyk": GoodImage(encode(Image.fromarray(cmyk, "CMYK"), "TIFF"), inked),
        "tiff-grey-16": GoodImage(encode(Image.fromarray(wide), "TIFF"), grey_to_rgb(wide >> 8)),
        "tiff-bit": GoodImage(encode(Image.fromarray(grey > 99), "TIFF"), grey_to_rgb(np.where(grey > 99, 255, 0))),
        "tiff-float-unit": GoodImage(
            encode(Image.fromarray(unit), "TIFF"), grey_to_rgb(np.floor(unit.astype(float) * 255 + 0.5))
        ),
        "tiff-float-range": GoodImage(
            encode(Image.fromarray(spread), "TIFF"), grey_to_rgb(np.arange(256).reshape(16, 16))
        ),
        "tiff-float-holes": GoodImage(
            encode(Image.fromarray(holes), "TIFF"), grey_to_rgb(np.array([[0, 0], [0, 255]]))
        ),
        "tiff-int-16": GoodImage(encode(Image.fromarray(wide.astype(np.int32)), "TIFF"), grey_to_rgb(wide >> 8)),
        "tiff-int-8": GoodImage(encode(Image.fromarray(grey.astype(np.int32)), "TIFF"), grey_to_rgb(grey)),
        "tiff-turned": GoodImage(encode(image, "TIFF", tiffinfo={0x0112: 6}), np.rot90(rgb, -1)),
    }


def lossy_images() -> dict[str, GoodImage]:
    """Returns images of lossy codecs, smooth enough to come back within their tolerance."""
    y, x = np.mgrid[0:48, 0:64]
    rgb = np.dstack([x * 3, y * 4, 200 - x - y]).astype(np.uint8)
    image = Image.fromarray(rgb)
    cmyk = Image.fromarray(np.dstack([x * 3, y * 4, 200 - x - y, x + y]).astype(np.uint8), "CMYK")
    ink, black = np.asarray(cmyk)[..., :3].astype(float), np.asarray(cmyk)[..., 3:].astype(float)
    return {
        "jpeg": GoodImage(encode(image, "JPEG", quality=98, subsampling=0), rgb, 4),
        "jpeg-grey": GoodImage(encode(Image.fromarray(rgb[..., 0]), "JPEG", quality=98), grey_to_rgb(rgb[..., 0]), 4),
        "jpeg-progressive": GoodImage(encode(image, "JPEG", quality=98, subsampling=0, progressive=True), rgb, 4),
        "jpeg-cmyk-adobe": GoodImage(
            encode(cmyk, "JPEG", quality=98, subsampling=0), (255 - ink) * (255 - black) // 255, 6
        ),
        "mpo": GoodImage(
            encode(image, "MPO", quality=98, subsampling=0, save_all=True, append_images=[picture(64, 48)]),
            rgb,
            4,
        ),
        "avif": GoodImage(encode(image, "AVIF", quality=95, subsampling="4:4:4"), rgb, 6),
        "webp-lossy": GoodImage(encode(image, "WEBP", quality=98), rgb, 16),
    }


def bad_images() -> dict[str, BadImage]:
    """Returns a file of every kind of damage that one image can have."""
    jpeg, whole = encode(picture(64, 48), "JPEG", quality=90), encode(picture(64, 48), "PNG")
    gif, avif = encode(picture(64, 48).quantize(64), "GIF"), encode(picture(64, 48), "AVIF")
    progressive = encode(picture(64, 48), "JPEG", quality=90, progressive=True)
    tiny = [b"\0\0\0"]
    megabytes = zlib.compress(bytes(40 * 2**20), 9)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x55
    unsupported, truncated, corrupt = (
        ErrorClass.UNSUPPORTED_FORMAT,
        ErrorClass.TRUNCATED,
        ErrorClass.CORRUPT,
    )
    return {
        "empty": BadImage(b"", ErrorClass.EMPTY),
        "one-byte": BadImage(b"\xff", unsupported),
        "html": BadImage(b"<!DOCTYPE html><html><body>404</body></html>", unsupported),
        "eps": BadImage(encode(picture(9, 9), "EPS"), unsupported),
        "ppm": BadImage(encode(picture(9, 9), "PPM"), unsupported),
        "ico": BadImage(encode(picture(32, 32), "ICO"), unsupported),
        "heic": BadImage(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), unsupported),
        "zeros": BadImage(bytes(500), unsupported),
        "jpeg-half": BadImage(jpeg[: len(jpeg) // 2], truncated),
        "jpeg-half-with-end": BadImage(jpeg[: len(jpeg) // 2] + b"\xff\xd9", truncated),
        "jpeg-progressive-half": BadImage(progressive[: len(progressive) // 2], truncated),
        "jpeg-progressive-half-with-end": BadImage(progressive[: len(progressive) // 2] + b"\xff\xd9", truncated),
        "jpeg-header-only": BadImage(jpeg[:30], truncated),
        "png-half": BadImage(whole[: len(whole) // 2], truncated),
        "png-no-idat": BadImage(whole[: whole.index(b"IDAT") - 4] + png_chunk(b"IEND", b""), corrupt),
        "png-bad-crc": BadImage(bytes(flipped), corrupt),
        "png-bad-stream": BadImage(
            PNG_SIGNATURE
            + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
            + png_chunk(b"IDAT", b"no zlib stream at all")
            + png_chunk(b"IEND", b""),
            corrupt,
        ),
        "gif-half": BadImage(gif[: len(gif) // 2], truncated),
        "avif-half": BadImage(avif[: len(avif) // 2], truncated),
        "png-bomb": BadImage(png(60_000, 60_000, COLOUR, 8, tiny), ErrorClass.TOO_MANY_PIXELS),
        "png-between": BadImage(png(13_000, 13_000, COLOUR, 8, tiny), ErrorClass.TOO_MANY_PIXELS),
        "png-long": BadImage(png(40_000, 300, COLOUR, 8, tiny), ErrorClass.BAD_DIMENSIONS),
        "png-thin": BadImage(png(3_000, 2, COLOUR, 8, tiny), ErrorClass.BAD_DIMENSIONS),
        "jpeg-280-megapixels": BadImage(jpeg_resized(jpeg, 20_000, 14_000), ErrorClass.TOO_MANY_PIXELS),
        "jpeg-progressive-bomb": BadImage(jpeg_resized(progressive, 13_000, 13_000), ErrorClass.TOO_MANY_PIXELS),
        "jpeg-many-scans": BadImage(
            progressive[:-2] + _last_scan(progressive) * 150 + b"\xff\xd9", ErrorClass.TOO_MANY_PIXELS
        ),
        "gif-bomb": BadImage(gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:], ErrorClass.TOO_MANY_PIXELS),
        "webp-bomb": BadImage(webp_canvas(16_000, 16_000), ErrorClass.TOO_MANY_PIXELS),
        "tiff-bomb": BadImage(tiff_resized(60_000, 60_000), ErrorClass.TOO_MANY_PIXELS),
        "ztxt-bomb": BadImage(
            png(1, 1, COLOUR, 8, tiny, [(b"zTXt", b"Comment\0\0" + megabytes)]), ErrorClass.METADATA_BOMB
        ),
        "itxt-bomb": BadImage(
            png(1, 1, COLOUR, 8, tiny, [(b"iTXt", b"Comment\0\x01\0\0\0" + megabytes)]),
            ErrorClass.METADATA_BOMB,
        ),
        "iccp-bomb": BadImage(
            png(1, 1, COLOUR, 8, tiny, [(b"iCCP", b"icc\0\0" + megabytes)]), ErrorClass.METADATA_BOMB
        ),
    }


def tiff_resized(width: int, height: int) -> bytes:
    """Returns a compressed TIFF of a few pixels that claims to be of another size."""
    data = bytearray(encode(picture(8, 8), "TIFF", compression="tiff_adobe_deflate"))
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


def webp_canvas(width: int, height: int) -> bytes:
    """Returns an animated WebP file of a few pixels on a canvas of the given size."""
    small = picture(8, 8)
    data = encode(small, "WEBP", save_all=True, append_images=[picture(8, 8, 1)], lossless=True)
    at = data.index(b"VP8X") + 12
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:at] + size + data[at + 6 :]


def _last_scan(data: bytes) -> bytes:
    return data[data.rindex(b"\xff\xda") : -2]


def tiff_with_tiles(side: int) -> bytes:
    """Returns a TIFF of a few pixels whose one tile claims to be ``side`` pixels wide and high."""
    body = zlib.compress(bytes(10_000))
    entries = [
        (256, 4, 8),
        (257, 4, 8),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, side),
        (323, 4, side),
        (324, 4, 200),
        (325, 4, len(body)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + body
