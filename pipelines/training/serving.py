"""The batch path's preprocessing as a TensorFlow graph: image bytes to the very same uint8 pixels.

For JPEG and PNG every byte equals what transforms.images.decode gives, so a served model sees what it was
trained on. What TensorFlow cannot decode to the same bytes is refused by an assertion that names it.
TensorFlow is imported when a graph is built, not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from transforms.encoders.specification import Preprocessing
from transforms.errors import OptionError
from transforms.images.colour import BACKGROUND
from transforms.images.containers import EXIF, ORIENTATION, START_OF_SCAN
from transforms.images.decode import DRAFT_FACTOR, FILTERS
from transforms.images.limits import DEFAULT_LIMITS

Tensor = Any
"""A tf.Tensor; TensorFlow has no types to check against."""

MAX_DECODED_PIXELS = 32_000_000
"""Decoded pixels that one served image may have; resizing takes 24 bytes for each."""

WEIGHT_BITS = 22
"""Pillow rounds the weights of a resize to this many fractional bits (Resample.c)."""

_JPEG, _PNG, _OTHER = 0, 1, 2
_COLOUR, _GREY_ALPHA = 2, 4
_REFUSED = "only JPEG and PNG images are served; this one is neither"


def preprocess_bytes(image_bytes: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turns the bytes of one JPEG or PNG into the pixels that enter the network.

    Runs eagerly, in a ``tf.function``, in ``tf.map_fn`` and in a SavedModel.

    Args:
      image_bytes: ``tf.string`` scalar.
      preprocessing: as in decode_image.

    Returns:
      ``tf.uint8[height, width, 3]``.

    Raises:
      OptionError: when ``preprocessing.resize`` is unknown.
      tf.errors.InvalidArgumentError: as the graph runs, for an image that is refused or broken.
    """
    import tensorflow as tf

    if preprocessing.resize not in FILTERS:
        raise OptionError(f"resize must be one of {', '.join(FILTERS)}, got {preprocessing.resize!r}")
    # plain graph code, which AutoGraph need not rewrite
    preprocess = tf.autograph.experimental.do_not_convert(_preprocess)
    return preprocess(tf.reshape(tf.convert_to_tensor(image_bytes), []), preprocessing)


def _preprocess(image_bytes: Tensor, preprocessing: Preprocessing) -> Tensor:
    import tensorflow as tf

    data = tf.io.decode_raw(image_bytes, tf.uint8)
    is_jpeg = _starts_with(data, 0, b"\xff\xd8\xff")
    is_png = _starts_with(data, 0, b"\x89PNG\r\n\x1a\n")
    kind = tf.where(is_jpeg, _JPEG, tf.where(is_png, _PNG, _OTHER))
    pixels = tf.switch_case(
        kind,
        [
            lambda: _decode_jpeg(image_bytes, data, preprocessing),
            lambda: _decode_png(image_bytes, data),
            _refuse,
        ],
    )
    return _resize(pixels, preprocessing)


def _refuse() -> Tensor:
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(False, [_REFUSED])]):
        return tf.zeros([1, 1, 3], tf.uint8)


def _require(condition: Tensor, message: str, value: Tensor) -> Tensor:
    """Returns ``value`` once ``condition`` holds; fails with ``message`` otherwise."""
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)


def _check_size(width: Tensor, height: Tensor, ratio: Tensor, value: Tensor) -> Tensor:
    import tensorflow as tf

    area = tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
    scaled = area // tf.cast(ratio * ratio, tf.int64)
    fits = (area <= DEFAULT_LIMITS.max_pixels) & (scaled <= MAX_DECODED_PIXELS)
    message = f"the image decodes to more than {MAX_DECODED_PIXELS} pixels"
    return _require(fits, message, value)


def _decode_jpeg(image_bytes: Tensor, data: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns the upright JPEG, scaled down as Pillow's draft mode does it."""
    import tensorflow as tf

    shape = tf.io.extract_jpeg_shape(image_bytes)
    stored_height, stored_width = shape[0], shape[1]
    orientation = _jpeg_orientation(data)
    turned = orientation >= 5
    width = tf.where(turned, stored_height, stored_width)
    height = tf.where(turned, stored_width, stored_height)
    ratios = tf.constant([1, 2, 4, 8])
    index = _draft_index(width, height, preprocessing)
    grey_or_rgb = (shape[2] == 1) | (shape[2] == 3)
    image_bytes = _require(grey_or_rgb, "only grey and RGB JPEGs are served; this one is CMYK", image_bytes)
    image_bytes = _check_size(width, height, ratios[index], image_bytes)

    def branch(ratio: int) -> Callable[[], Tensor]:
        return lambda: tf.io.decode_jpeg(
            image_bytes, channels=3, ratio=ratio, fancy_upscaling=True, dct_method="INTEGER_ACCURATE"
        )

    return _turn(tf.switch_case(index, [branch(ratio) for ratio in (1, 2, 4, 8)]), orientation)


def _draft_index(width: Tensor, height: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns the base-2 logarithm of transforms.images.decode.draft_ratio."""
    import tensorflow as tf

    if preprocessing.exact_decode:
        return tf.constant(0)
    across = width // (DRAFT_FACTOR * preprocessing.width)
    down = height // (DRAFT_FACTOR * preprocessing.height)
    scale = tf.minimum(across, down)
    return tf.add_n([tf.cast(scale >= ratio, tf.int32) for ratio in (2, 4, 8)])


def _decode_png(image_bytes: Tensor, data: Tensor) -> Tensor:
    """Returns the upright PNG over the background, as transforms.images.colour.flatten does it."""
    import tensorflow as tf

    width, height = _number(data, 16, 4), _number(data, 20, 4)
    orientation, has_key = _png_chunks(data)
    kind, depth = _number(data, 25, 1), _number(data, 24, 1)
    message = "16-bit colour PNGs with a transparent colour are not served"
    image_bytes = _require(~((kind == _COLOUR) & (depth == 16) & has_key), message, image_bytes)
    image_bytes = _check_size(width, height, tf.constant(1), image_bytes)
    pixels = tf.cast(tf.io.decode_png(image_bytes, channels=4), tf.int32)
    # without alpha of its own, a PNG of 1, 2 or 4 bits gets 1, 3 or 15 from TensorFlow, not 255
    alpha = tf.where(has_key | (kind >= _GREY_ALPHA), pixels[:, :, 3:], 255)
    total = pixels[:, :, :3] * alpha + BACKGROUND * (255 - alpha) + 128
    # round(total / 255) in integers
    blended = tf.bitwise.right_shift(tf.bitwise.right_shift(total, 8) + total, 8)
    return _turn(tf.cast(blended, tf.uint8), orientation)


def _turn(pixels: Tensor, orientation: Tensor) -> Tensor:
    """Turns ``uint8[H, W, 3]`` upright: transposes, then mirrors."""
    import tensorflow as tf

    def either(condition: Tensor, change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        return tf.cond(condition, lambda: change(image), lambda: tf.identity(image))

    def among(*values: int) -> Tensor:
        return tf.reduce_any(tf.equal(orientation, values))

    pixels = either(orientation >= 5, lambda image: tf.transpose(image, [1, 0, 2]), pixels)
    pixels = either(among(2, 3, 6, 7), lambda image: tf.reverse(image, [1]), pixels)
    return either(among(3, 4, 7, 8), lambda image: tf.reverse(image, [0]), pixels)


def _jpeg_orientation(data: Tensor) -> Tensor:
    """Returns what transforms.images.containers.read_jpeg_header finds."""
    import tensorflow as tf

    size = tf.size(data, out_type=tf.int64)
    standalone = (0x01, *range(0xD0, 0xD8))

    def going_on(at: Tensor, _start: Tensor, _end: Tensor, done: Tensor) -> Tensor:
        return ~done & (at + 4 <= size)

    def next_segment(at: Tensor, start: Tensor, end: Tensor, done: Tensor) -> tuple[Tensor, ...]:
        marker, length = _number(data, at + 1, 1), _number(data, at + 2, 2)
        fill = marker == 0xFF
        alone = tf.reduce_any(tf.equal(marker, standalone))
        segment = ~fill & ~alone
        step = 1 + tf.cast(~fill, tf.int64) + tf.cast(segment, tf.int64) * length
        broken = (_number(data, at, 1) != 0xFF) | (segment & (length < 2))
        holds_exif = segment & (marker == 0xE1) & (length >= 2 + len(EXIF)) & _starts_with(data, at + 4, EXIF)
        found = ~broken & holds_exif
        done = broken | found | (marker == START_OF_SCAN)
        return at + step, tf.where(found, at + 4, start), tf.where(found, at + 2 + length, end), done

    zero = tf.constant(0, tf.int64)
    state = (tf.constant(2, tf.int64), zero, zero, tf.constant(False))
    _, start, end, _ = tf.while_loop(going_on, next_segment, state)
    return _exif_orientation(data[start:end])


def _png_chunks(data: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what transforms.images.containers.png_orientation finds, and whether there is a tRNS chunk."""
    import tensorflow as tf

    size = tf.size(data, out_type=tf.int64)

    def going_on(at: Tensor, _start: Tensor, _end: Tensor, _has_key: Tensor) -> Tensor:
        return at + 12 <= size

    def next_chunk(at: Tensor, start: Tensor, end: Tensor, has_key: Tensor) -> tuple[Tensor, ...]:
        stop = at + 8 + _number(data, at, 4)
        whole = stop + 4 <= size
        found = whole & (start == 0) & _starts_with(data, at + 4, b"eXIf")
        has_key |= _starts_with(data, at + 4, b"tRNS")
        start, end = tf.where(found, at + 8, start), tf.where(found, stop, end)
        return tf.where(whole, stop + 4, size), start, end, has_key

    zero = tf.constant(0, tf.int64)
    state = (tf.constant(8, tf.int64), zero, zero, tf.constant(False))
    _, start, end, has_key = tf.while_loop(going_on, next_chunk, state)
    return _exif_orientation(data[start:end]), has_key


def _exif_orientation(exif: Tensor) -> Tensor:
    """Returns what transforms.images.containers.exif_orientation finds, as int64."""
    import tensorflow as tf

    tiff = exif[tf.where(_starts_with(exif, 0, EXIF), len(EXIF), 0) :]
    size = tf.size(tiff, out_type=tf.int64)
    little = _starts_with(tiff, 0, b"II")
    known = (little | _starts_with(tiff, 0, b"MM")) & (size >= 8)
    first = _number(tiff, 4, 4, little) + 2
    count = _number(tiff, first - 2, 2, little) * tf.cast(known & (first <= size), tf.int64)
    fitting = tf.maximum(tf.minimum(count, (size - first) // 12), tf.constant(0, tf.int64))
    # an entry that always matches stands at the end, so that there is a first match
    entries = tf.concat([tiff[first : first + 12 * fitting], tf.zeros([12], tf.uint8)], 0)
    rows = tf.cast(tf.reshape(entries, [-1, 12]), tf.int64)
    tags = tf.where(little, rows[:, 0] + 256 * rows[:, 1], 256 * rows[:, 0] + rows[:, 1])
    found = tf.concat([tags[:-1] == ORIENTATION, [True]], 0)
    at = 12 * tf.argmax(tf.cast(found, tf.int32), output_type=tf.int64)
    kind = _number(entries, at + 2, 2, little)
    short, long = _number(entries, at + 8, 2, little), _number(entries, at + 8, 4, little)
    upright = tf.constant(1, tf.int64)
    value = tf.where(kind == 3, short, tf.where(kind == 4, long, upright))
    return tf.where((value >= 1) & (value <= 8), value, upright)


def _number(data: Tensor, at: Any, length: int, little: Tensor | bool = False) -> Tensor:
    """Returns an unsigned number of ``length`` bytes as int64; bytes beyond the end are 0."""
    import tensorflow as tf

    taken = tf.cast(tf.concat([data[at : at + length], tf.zeros([length], tf.uint8)], 0)[:length], tf.int64)
    places = tf.constant([256**place for place in range(length)], tf.int64)
    return tf.reduce_sum(taken * tf.where(little, places, places[::-1]))


def _starts_with(data: Tensor, at: Any, prefix: bytes) -> Tensor:
    """Returns whether ``prefix`` stands at an offset."""
    import tensorflow as tf

    taken = tf.concat([data[at : at + len(prefix)], tf.zeros([len(prefix)], tf.uint8)], 0)
    return tf.reduce_all(taken[: len(prefix)] == tf.constant(list(prefix), tf.uint8))


def _resize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Resizes ``uint8[H, W, 3]`` as Pillow does: across, rounded to 8 bits, then down, rounded again.

    Both passes are products of matrices of whole numbers below 2**53, which float64 holds exactly.
    """
    import tensorflow as tf

    shape = tf.shape(pixels)
    across = _weights(shape[1], preprocessing.width, preprocessing.resize)
    down = _weights(shape[0], preprocessing.height, preprocessing.resize)
    columns = tf.reshape(tf.transpose(pixels, [1, 0, 2]), [shape[1], shape[0] * 3])
    narrow = tf.reshape(_round(across, columns), [preprocessing.width, shape[0], 3])
    rows = tf.reshape(tf.transpose(narrow, [1, 0, 2]), [shape[0], preprocessing.width * 3])
    return tf.reshape(_round(down, rows), [preprocessing.height, preprocessing.width, 3])


def _round(weights: Tensor, values: Tensor) -> Tensor:
    import tensorflow as tf

    total = tf.matmul(weights, tf.cast(values, tf.float64))
    rounded = tf.floor((total + 2.0 ** (WEIGHT_BITS - 1)) / 2.0**WEIGHT_BITS)
    return tf.cast(tf.clip_by_value(rounded, 0.0, 255.0), tf.uint8)


def _weights(length: Tensor, new_length: int, resize: str) -> Tensor:
    """Returns Pillow's resampling weights, ``float64[new_length, length]`` of whole numbers.

    Resample.c, precompute_coeffs and normalize_coeffs_8bpc: the kernel is stretched by the scale when the
    image shrinks, cut at the borders, normalised, and rounded half away from zero.
    """
    import tensorflow as tf

    support, kernel = _KERNELS[resize]
    # 1, unknown to the graph's optimiser: it would turn a division by a constant into a product with the
    # rounded inverse, and add constants in another order than Pillow does
    one = tf.cast(tf.minimum(length, 1), tf.float64)
    size, half = tf.cast(length, tf.float64), one / 2
    scale = size / (one * new_length)
    stretch = tf.maximum(scale, one)
    centre = ((tf.range(new_length, dtype=tf.float64) + half) * scale)[:, tf.newaxis]
    first = tf.maximum(tf.floor(centre - support * stretch + half), 0.0)
    last = tf.minimum(tf.floor(centre + support * stretch + half), size)
    tap = tf.range(size, dtype=tf.float64)[tf.newaxis]
    values = kernel((tap - centre + half) * (one / stretch))
    values = tf.where((tap >= first) & (tap < last), values, 0.0)
    shares = values / tf.reduce_sum(values, axis=1, keepdims=True)
    scaled = shares * 2.0**WEIGHT_BITS
    return tf.where(scaled < 0, tf.math.ceil(scaled - 0.5), tf.floor(scaled + 0.5))


def _box(x: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.cast((x > -0.5) & (x <= 0.5), tf.float64)


def _bilinear(x: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.maximum(1.0 - tf.abs(x), 0.0)


def _bicubic(x: Tensor) -> Tensor:
    """Computes Keys' kernel with a = -0.5."""
    import tensorflow as tf

    a, x = -0.5, tf.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    import tensorflow as tf

    def sinc(y: Tensor) -> Tensor:
        angle = y * math.pi
        return tf.where(angle == 0.0, tf.ones_like(angle), tf.sin(angle) / angle)

    return tf.where((x >= -3.0) & (x < 3.0), sinc(x) * sinc(x / 3.0), 0.0)


_KERNELS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
    "box": (0.5, _box),
}
"""Half the width of each filter, in pixels of the larger scale, and the filter."""
