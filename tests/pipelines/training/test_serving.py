"""The served graph gives the very bytes that the batch path gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.training.serving import MAX_DECODED_PIXELS, preprocess_bytes
from tests import odd_images
from transforms.encoders.specification import Preprocessing
from transforms.errors import OptionError
from transforms.images.containers import exif_orientation, png_orientation, read_jpeg_header
from transforms.images.decode import decode_image, draft_ratio

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

SMALL = Preprocessing(height=20, width=16)
PNGS = odd_images.png_images()


@cache
def served(preprocessing: Preprocessing) -> Callable[[bytes], np.ndarray]:
    import tensorflow as tf

    signature = [tf.TensorSpec([], tf.string)]
    graph = tf.function(lambda data: preprocess_bytes(data, preprocessing), input_signature=signature)
    return lambda data: graph(tf.constant(data)).numpy()


def assert_same(data: bytes, preprocessing: Preprocessing) -> None:
    expected = decode_image(data, preprocessing).pixels
    found = served(preprocessing)(data)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


SIZES = [(1, 1), (2, 3), (7, 200), (16, 20), (17, 39), (33, 41), (65, 81), (129, 170), (301, 263), (500, 375)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_jpeg_of_every_kind(width: int, height: int) -> None:
    image = odd_images.picture(width, height)
    for subsampling in (0, 1, 2):
        for progressive in (False, True):
            assert_same(
                odd_images.encode(image, "JPEG", quality=85, subsampling=subsampling, progressive=progressive),
                SMALL,
            )
    assert_same(odd_images.encode(image.convert("L"), "JPEG"), SMALL)
    assert_same(odd_images.encode(image, "JPEG", restart_marker_blocks=3, optimize=True), SMALL)


def test_sizes_reach_every_draft_ratio() -> None:
    assert {draft_ratio(width, height, SMALL) for width, height in SIZES} == {1, 2, 4, 8}


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize("exact", [False, True])
def test_every_filter(resize: str, exact: bool) -> None:
    preprocessing = Preprocessing(height=48, width=37, resize=resize, exact_decode=exact)
    for seed, (width, height) in enumerate([(1, 1), (20, 30), (37, 48), (163, 150), (300, 256), (401, 97)]):
        image = odd_images.picture(width, height, seed)
        assert_same(odd_images.encode(image, "JPEG"), preprocessing)
        assert_same(odd_images.encode(image, "PNG"), preprocessing)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation(image_format: str, order: str) -> None:
    image = odd_images.picture(90, 41)
    upright = served(SMALL)(odd_images.encode(image, image_format))
    for orientation in range(1, 9):
        for kind in (3, 4):
            exif = odd_images.exif(orientation, order, kind)
            data = odd_images.encode(image, image_format, exif=exif)
            assert_same(data, SMALL)
            assert np.array_equal(served(SMALL)(data), upright) == (orientation == 1)


def test_broken_exif() -> None:
    plain = odd_images.encode(odd_images.picture(90, 41), "JPEG")
    whole = odd_images.exif(6)
    blocks = [whole[:cut] for cut in range(len(whole))]
    blocks += [odd_images.exif(value) for value in (0, 9, 65535)]
    blocks += [whole.replace(b"\x12\x01\x03", b"\x12\x01\x05"), whole[:10] + b"\xff\xff\xff\xff" + whole[14:]]
    blocks += [b"Exif\0\0" + whole, whole[:6] + b"XX" + whole[8:], whole[:14] + b"\xff\xff" + whole[16:]]
    for block in blocks:
        assert_same(odd_images.jpeg_with_segments(plain, block), SMALL)
        assert_same(odd_images.jpeg_with_segments(plain, b"http://ns.adobe.com/xap/1.0/\0", block, whole), SMALL)
    filled = odd_images.jpeg_with_segments(plain, whole)
    assert_same(filled[:2] + b"\xff\xff" + filled[2:], SMALL)


def test_orientation_of_random_bytes() -> None:
    """The two parsers agree on whatever stands there."""
    import tensorflow as tf

    from pipelines.training import serving

    random = np.random.default_rng(3)
    of_exif = tf.function(serving._exif_orientation, input_signature=[tf.TensorSpec([None], tf.uint8)])
    of_jpeg = tf.function(serving._jpeg_orientation, input_signature=[tf.TensorSpec([None], tf.uint8)])
    of_png = tf.function(serving._png_chunks, input_signature=[tf.TensorSpec([None], tf.uint8)])
    jpeg = odd_images.jpeg_with_segments(odd_images.encode(odd_images.picture(9, 9), "JPEG"), odd_images.exif(6))
    png = odd_images.encode(odd_images.picture(9, 9), "PNG", exif=odd_images.exif(6))
    for _ in range(200):
        for source, reach in ((jpeg, 80), (png, 100)):
            data = bytearray(source)
            for _ in range(random.integers(0, 4)):
                data[random.integers(0, reach)] = random.integers(0, 256)
            data = data[: random.integers(0, 2 * len(data))]
            tensor = tf.constant(list(data), tf.uint8)
            assert int(of_jpeg(tensor)) == read_jpeg_header(bytes(data)).orientation
            assert int(of_png(tensor)[0]) == png_orientation(bytes(data))
            at = data.find(b"Exif")
            assert int(of_exif(tensor[max(at, 0) :])) == exif_orientation(bytes(data[max(at, 0) :]))


@pytest.mark.parametrize("name", PNGS)
def test_png_of_every_kind(name: str) -> None:
    assert_same(PNGS[name].data, SMALL)
    plain = odd_images.encode(Image.fromarray(PNGS[name].pixels), "PNG")
    np.testing.assert_array_equal(served(SMALL)(PNGS[name].data), served(SMALL)(plain))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (odd_images.other_images()["gif"].data, "only JPEG and PNG"),
        (odd_images.other_images()["bmp"].data, "only JPEG and PNG"),
        (odd_images.other_images()["webp-lossless"].data, "only JPEG and PNG"),
        (b"", "only JPEG and PNG"),
        (b"<html>", "only JPEG and PNG"),
        (odd_images.lossy_images()["jpeg-cmyk-adobe"].data, "this one is CMYK"),
        (odd_images.png_refused()["png-rgb-16-key"].data, "16-bit colour PNGs with a transparent colour"),
        (odd_images.bad_images()["png-bomb"].data, f"more than {MAX_DECODED_PIXELS} pixels"),
        (odd_images.bad_images()["jpeg-280-megapixels"].data, f"more than {MAX_DECODED_PIXELS} pixels"),
        (odd_images.bad_images()["jpeg-half"].data, "jpeg"),
        (odd_images.bad_images()["png-half"].data, "PNG"),
        (odd_images.bad_images()["png-bad-crc"].data, "PNG"),
    ],
)
def test_refusals_say_why(data: bytes, message: str) -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served(SMALL)(data)


def test_unknown_filter() -> None:
    with pytest.raises(OptionError, match="resize must be one of"):
        preprocess_bytes(b"", Preprocessing(height=4, width=4, resize="area"))


def test_runs_in_a_saved_model_over_a_batch(tmp_path: Path) -> None:
    import tensorflow as tf

    files = [odd_images.encode(odd_images.picture(90, 41), "JPEG", exif=odd_images.exif(6))]
    files += [PNGS[name].data for name in ("png-rgba", "png-palette-4", "png-grey-16", "png-1x1")]

    def preprocess(batch: tf.Tensor) -> tf.Tensor:
        output = tf.TensorSpec([SMALL.height, SMALL.width, 3], tf.uint8)
        return tf.map_fn(lambda data: preprocess_bytes(data, SMALL), batch, fn_output_signature=output)

    module = tf.Module()
    module.preprocess = tf.function(preprocess, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    expected = np.stack([decode_image(data, SMALL).pixels for data in files])
    np.testing.assert_array_equal(loaded.preprocess(tf.constant(files)).numpy(), expected)
    functions = [module.preprocess.get_concrete_function().graph.as_graph_def()]
    kinds = {node.op for graph in functions for f in graph.library.function for node in f.node_def}
    assert not {kind for kind in kinds if "PyFunc" in kind}
    assert "DecodePng" in kinds


def test_runs_eagerly() -> None:
    data = odd_images.encode(odd_images.picture(90, 41), "JPEG")
    np.testing.assert_array_equal(preprocess_bytes(data, SMALL).numpy(), decode_image(data, SMALL).pixels)
