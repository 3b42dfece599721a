"""Whatever is wrong with a file, an ImageError with the right class leaves, and nothing else."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from tests import odd_images
from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass, ImageError
from transforms.images.decode import decode_image
from transforms.images.failures import to_image_error

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

BAD = odd_images.bad_images()
PREPROCESSING = Preprocessing(height=48, width=64, exact_decode=True)


@pytest.mark.parametrize("name", BAD)
def test_class_of_bad_image(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(BAD[name].data, PREPROCESSING)
    assert caught.value.error_class == BAD[name].error_class, str(caught.value)
    assert 0 < len(str(caught.value)) <= 500
    assert "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.error_class, again.error_type) == (caught.value.error_class, caught.value.error_type)


def test_error_type_is_that_of_the_decoder() -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(BAD["ztxt-bomb"].data, PREPROCESSING)
    assert caught.value.error_type == "ValueError"


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (MemoryError(), ErrorClass.OUT_OF_MEMORY),
        (OSError("image file is truncated (3 bytes not processed)"), ErrorClass.TRUNCATED),
        (NotImplementedError("unsupported BMP compression"), ErrorClass.UNSUPPORTED_FORMAT),
        (ValueError("Decompressed data too large for X"), ErrorClass.METADATA_BOMB),
        (IndexError(), ErrorClass.CORRUPT),
    ],
)
def test_meaning_of_exceptions(error: Exception, error_class: ErrorClass) -> None:
    found = to_image_error(error, odd_images.encode(odd_images.picture(8, 8), "PNG"), "PNG")
    assert (found.error_class, found.error_type) == (error_class, type(error).__name__)


def _samples() -> dict[str, bytes]:
    image = odd_images.picture(64, 48)
    several = {"save_all": True, "append_images": [odd_images.picture(64, 48, 1)]}
    return {
        "JPEG": odd_images.encode(image, "JPEG", exif=odd_images.exif(6)),
        "progressive": odd_images.encode(image, "JPEG", progressive=True),
        "CMYK": odd_images.encode(image.convert("CMYK"), "JPEG"),
        "MPO": odd_images.encode(image, "MPO", **several),
        "PNG": odd_images.encode(image, "PNG", exif=odd_images.exif(3)),
        "palette": odd_images.encode(image.quantize(16), "PNG", transparency=3),
        "APNG": odd_images.encode(image, "PNG", **several),
        "WEBP": odd_images.encode(image, "WEBP", **several),
        "lossless": odd_images.encode(image, "WEBP", lossless=True),
        "GIF": odd_images.encode(image.quantize(16), "GIF", **several),
        "BMP": odd_images.encode(image, "BMP"),
        "TIFF": odd_images.encode(image, "TIFF"),
        "deflate": odd_images.encode(image, "TIFF", compression="tiff_adobe_deflate"),
        "LZW": odd_images.encode(image, "TIFF", compression="tiff_lzw"),
        "in-TIFF": odd_images.encode(image, "TIFF", compression="jpeg"),
        "AVIF": odd_images.encode(image, "AVIF"),
    }


SAMPLES = _samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_short_gives_the_whole_picture_or_an_error(name: str) -> None:
    data = SAMPLES[name]
    whole = decode_image(data, PREPROCESSING).pixels
    for cut in sorted({*range(0, len(data), max(len(data) // 40, 1)), len(data) - 1, len(data) - 2}):
        try:
            pixels = decode_image(data[:cut], PREPROCESSING).pixels
        except ImageError:
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {cut} of {len(data)}")


@pytest.mark.parametrize("name", SAMPLES)
def test_half_a_file_is_truncated(name: str) -> None:
    if name in ("MPO", "APNG", "GIF", "WEBP"):
        pytest.skip("the first of several pictures is whole")
    with pytest.raises(ImageError) as caught:
        decode_image(SAMPLES[name][: len(SAMPLES[name]) // 2], PREPROCESSING)
    assert caught.value.error_class == ErrorClass.TRUNCATED, str(caught.value)


@pytest.mark.parametrize("name", ["JPEG", "progressive", "CMYK"])
def test_a_jpeg_cut_short_but_marked_as_ended(name: str) -> None:
    """All but the last scan's own bytes are missed."""
    data = SAMPLES[name]
    start, last_scan = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    stop = last_scan if last_scan > start else len(data) - 30
    for cut in range(start, stop, max((stop - start) // 40, 1)):
        with pytest.raises(ImageError) as caught:
            decode_image(data[:cut] + b"\xff\xd9", PREPROCESSING)
        assert caught.value.error_class in (ErrorClass.TRUNCATED, ErrorClass.CORRUPT)


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bits_raise_nothing_but_image_errors(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of the flips hit the first bytes, where the structure is."""
    dice = random.Random(name)
    for _ in range(60):
        data = bytearray(SAMPLES[name])
        for _ in range(dice.choice((1, 3, 20))):
            reach = dice.choice((len(data), min(len(data), 200)))
            data[dice.randrange(reach)] ^= 1 << dice.randrange(8)
        try:
            decoded = decode_image(bytes(data), PREPROCESSING)
        except ImageError:
            continue
        assert decoded.pixels.shape == (48, 64, 3)
    assert capfd.readouterr() == ("", "")


def test_garbage_after_any_signature_raises_nothing_but_image_errors() -> None:
    dice = random.Random(1)
    for data in SAMPLES.values():
        for kept in (4, 12, 30, 100):
            with pytest.raises(ImageError):
                decode_image(data[:kept] + dice.randbytes(400), PREPROCESSING)


BOMB_PROGRAM = """
import resource
from PIL import Image
from tests import odd_images
from transforms.encoders.specification import Preprocessing
from transforms.errors import ImageError
from transforms.images.decode import decode_image
bad = odd_images.bad_images()
bombs = {name: bad[name].data for name in bad if "bomb" in name or "mega" in name}
bombs["tiles"] = odd_images.tiff_with_tiles(13_000)
small, coarse = odd_images.picture(8, 8), odd_images.picture(64, 64)
bombs["progressive"] = odd_images.jpeg_resized(odd_images.encode(small, "JPEG", progressive=True), 8000, 8000)
bombs["photograph"] = odd_images.encode(coarse.resize((12000, 9000)), "JPEG", quality=20)
square = coarse.resize((5600, 5600), Image.Resampling.NEAREST).convert("RGBA")
bombs["rgba"] = odd_images.encode(square, "PNG", compress_level=1)
bombs["webp"] = odd_images.encode(coarse.resize((3300, 3300)), "WEBP", lossless=True, method=0, quality=0)
del square
start = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
for name, data in bombs.items():
    try:
        decode_image(data, Preprocessing(height=224, width=224))
        outcome = "decoded"
    except ImageError as error:
        outcome = str(error.error_class)
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
    print(name, outcome, (peak - start) >> 20, sep=",")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_peak_memory_of_bombs_and_large_images() -> None:
    result = subprocess.run([sys.executable, "-c", BOMB_PROGRAM], capture_output=True, text=True, check=True)
    rows = [line.split(",") for line in result.stdout.splitlines()]
    outcomes = {name: outcome for name, outcome, _ in rows}
    assert outcomes["photograph"] == outcomes["rgba"] == outcomes["webp"] == "decoded"
    assert outcomes["tiles"] == "TOO_MANY_PIXELS"
    assert [name for name in outcomes if "bomb" in name and outcomes[name] == "decoded"] == []
    assert max(int(peak) for _, _, peak in rows) < 300, result.stdout
