"""Good images come out pixel for pixel; the options and limits do what they say."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests import odd_images
from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError, OptionError
from transforms.images.decode import DecodedImage, decode_image, draft_ratio
from transforms.images.limits import ImageLimits

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

GOOD = odd_images.good_images() | odd_images.png_refused()


def decode_whole(data: bytes, width: int, height: int) -> DecodedImage:
    return decode_image(data, Preprocessing(height=height, width=width, exact_decode=True))


@pytest.mark.parametrize("name", GOOD)
def test_pixels_are_those_that_were_drawn(name: str) -> None:
    image = GOOD[name]
    height, width = image.pixels.shape[:2]
    decoded = decode_whole(image.data, width, height)
    assert (decoded.width, decoded.height) == (width, height)
    assert decoded.pixels.dtype == np.uint8
    difference = np.abs(decoded.pixels.astype(int) - image.pixels.astype(int))
    assert difference.max() <= image.tolerance


def test_format_is_what_the_bytes_say() -> None:
    names = {
        "jpeg": "JPEG",
        "mpo": "JPEG",
        "png-rgb": "PNG",
        "webp-alpha": "WEBP",
        "gif": "GIF",
        "bmp": "BMP",
    }
    names |= {"tiff": "TIFF", "avif": "AVIF"}
    preprocessing = Preprocessing(height=4, width=4)
    assert {name: decode_image(GOOD[name].data, preprocessing).format for name in names} == names


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_pillow(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    data = odd_images.encode(odd_images.picture(24, 16), image_format, exif=exif, **lossless)
    expected = ImageOps.exif_transpose(Image.open(_file(data)))
    decoded = decode_whole(data, *expected.size)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(expected))
    assert (decoded.width, decoded.height) == expected.size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = odd_images.encode(odd_images.picture(24, 16), "AVIF", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(_file(data)))
    np.testing.assert_array_equal(decode_whole(data, *expected.size).pixels, np.asarray(expected))


BROKEN_EXIF = {
    "nothing": b"Exif\0\0",
    "no order": b"Exif\0\0XX*\0" + bytes(20),
    "directory far away": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "entry cut": odd_images.exif(6)[:20],
    "value 9": odd_images.exif(9),
    "value 0": odd_images.exif(0),
    "kind 7": odd_images.exif(6, kind=3).replace(b"\x12\x01\x03\x00", b"\x12\x01\x07\x00"),
}


@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_broken_exif_is_ignored(name: str) -> None:
    plain = odd_images.encode(odd_images.picture(24, 16), "JPEG")
    data = odd_images.jpeg_with_segments(plain, BROKEN_EXIF[name])
    np.testing.assert_array_equal(decode_whole(data, 24, 16).pixels, decode_whole(plain, 24, 16).pixels)


def test_first_exif_segment_counts() -> None:
    plain = odd_images.encode(odd_images.picture(24, 16), "JPEG")
    data = odd_images.jpeg_with_segments(plain, b"http://ns.adobe.com/xap/1.0/\0<x/>", odd_images.exif(3, ">"))
    expected = decode_whole(plain, 24, 16).pixels[::-1, ::-1]
    np.testing.assert_array_equal(decode_whole(data, 24, 16).pixels, expected)


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [(63, 900, 1), (64, 64, 2), (127, 500, 2), (128, 128, 4), (300, 256, 8)],
)
def test_draft_keeps_twice_the_size(width: int, height: int, ratio: int) -> None:
    preprocessing = Preprocessing(height=16, width=16)
    assert draft_ratio(width, height, preprocessing) == ratio
    data = odd_images.encode(odd_images.picture(width, height), "JPEG")
    image = Image.open(_file(data))
    image.draft("RGB", (32, 32))
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    decoded = decode_image(data, preprocessing)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.width, decoded.height) == (width, height)


def test_exact_decode_uses_every_pixel() -> None:
    image = odd_images.picture(300, 256)
    data = odd_images.encode(image, "JPEG")
    exact = decode_image(data, Preprocessing(height=16, width=16, exact_decode=True)).pixels
    expected = np.asarray(Image.open(_file(data)).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(exact, expected)
    assert not np.array_equal(exact, decode_image(data, Preprocessing(height=16, width=16)).pixels)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_ratio_follows_the_upright_size(orientation: int) -> None:
    """Stored 40 × 160 pixels, upright 160 × 40: a ratio of 4 for 20 × 5, which stored it would not reach."""
    plain = odd_images.encode(odd_images.picture(40, 160), "JPEG")
    data = odd_images.jpeg_with_segments(plain, odd_images.exif(orientation))
    image = Image.open(_file(data))
    image.draft("RGB", (10, 40))
    expected = ImageOps.exif_transpose(image).resize((20, 5), Image.Resampling.BILINEAR)
    decoded = decode_image(data, Preprocessing(height=5, width=20))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(expected))


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "box"])
def test_resize_uses_the_filter(resize: str) -> None:
    image = odd_images.picture(50, 30)
    pixels = decode_image(odd_images.encode(image, "PNG"), Preprocessing(height=13, width=70, resize=resize)).pixels
    expected = image.resize((70, 13), Image.Resampling[resize.upper()])
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_unknown_filter_is_a_mistake_of_the_call() -> None:
    with pytest.raises(OptionError, match="resize must be one of bilinear, bicubic, lanczos, box, got 'area'"):
        decode_image(GOOD["bmp"].data, Preprocessing(height=4, width=4, resize="area"))


@pytest.mark.parametrize(
    ("limit", "error_class"),
    [
        ({"max_bytes": 1000}, ErrorClass.TOO_LARGE_BYTES),
        ({"max_pixels": 64 * 48 - 1}, ErrorClass.TOO_MANY_PIXELS),
        ({"max_side": 63}, ErrorClass.BAD_DIMENSIONS),
        ({"max_aspect_ratio": 1.3}, ErrorClass.BAD_DIMENSIONS),
        ({"max_memory": 9000}, ErrorClass.TOO_MANY_PIXELS),
    ],
)
def test_limits(limit: dict[str, Any], error_class: ErrorClass) -> None:
    data = odd_images.encode(odd_images.picture(64, 48), "PNG")
    with pytest.raises(ImageError) as caught:
        decode_image(data, Preprocessing(height=8, width=8), ImageLimits(**limit))
    assert caught.value.error_class == error_class


def test_limits_must_be_positive() -> None:
    with pytest.raises(OptionError, match="max_pixels must be positive, got 0"):
        ImageLimits(max_pixels=0)


def test_profile_is_ignored() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = odd_images.picture(24, 16)
    tagged = decode_whole(odd_images.encode(image, "JPEG", icc_profile=profile), 24, 16)
    np.testing.assert_array_equal(tagged.pixels, decode_whole(odd_images.encode(image, "JPEG"), 24, 16).pixels)


def test_threads_get_the_same_pixels() -> None:
    names = [name for name in GOOD if GOOD[name].tolerance == 0]
    failures: list[str] = []

    def work() -> None:
        for name in names:
            image = GOOD[name]
            height, width = image.pixels.shape[:2]
            if not np.array_equal(decode_whole(image.data, width, height).pixels, image.pixels):
                failures.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


QUIET_PROGRAM = """
from tests import odd_images
from transforms.encoders.specification import Preprocessing
from transforms.errors import ImageError
from transforms.images.decode import decode_image
files = [image.data for image in odd_images.bad_images().values()]
small = odd_images.picture(8, 8)
files.append(odd_images.jpeg_resized(odd_images.encode(small, "JPEG"), 11000, 9000))
animated = odd_images.encode(small, "PNG", save_all=True, append_images=[odd_images.picture(8, 8, 1)])
files.append(animated.replace(b"acTL\\0\\0\\0\\2", b"acTL\\0\\0\\0\\0"))
for data in files:
    try:
        decode_image(data, Preprocessing(height=8, width=8))
    except ImageError:
        pass
"""


def test_nothing_is_printed_even_for_warnings() -> None:
    options = [sys.executable, "-W", "always", "-c", QUIET_PROGRAM]
    result = subprocess.run(options, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def _file(data: bytes) -> Any:
    return io.BytesIO(data)
