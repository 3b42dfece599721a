from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from pipelines.training import export
from tests.pipelines.training.builders import DIMENSION
from transforms.encoders.golden import golden_images
from transforms.errors import OptionError, SelfTestError
from transforms.images.decode import decode_image
from transforms.model.head import Head

LABELS = ("café", "dog", "line\nbreak")


@pytest.fixture(scope="module")
def head(golden: np.ndarray) -> Head:
    generator = np.random.default_rng(0)
    sizes = ((DIMENSION, 5), (5, 3))
    layers = tuple(
        (generator.normal(size=size).astype(np.float32), generator.normal(size=size[1]).astype(np.float32))
        for size in sizes
    )
    mean, std = golden.mean(axis=0), golden.std(axis=0) / 4
    return Head(labels=LABELS, layers=layers, temperature=1.5, mean=mean, std=std)


@pytest.fixture(scope="module")
def golden(loaded_encoder: Any) -> np.ndarray:
    return loaded_encoder.encode(golden_images(loaded_encoder.specification))


@pytest.fixture(scope="module")
def saved(head: Head, golden: np.ndarray, loaded_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        traced = Mock(side_effect=export._decode)
        patch.setattr(export, "_decode", traced)
        model = export.build_served_model(head, loaded_encoder.specification)
        assert export.check_served_model(model, head, loaded_encoder.specification, golden) < 1e-5
        export.save_served_model(model, str(directory), head.labels)
    traced.assert_called_once()
    return directory


@pytest.fixture(scope="module")
def loaded(saved: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(saved))


def picture(number: int, kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3)).astype(np.uint8))
    stream = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(stream, kind)
    return stream.getvalue()


def serve(loaded: Any, files: list[bytes], keys: list[str] | None = None) -> dict[str, np.ndarray]:
    import tensorflow as tf

    names = tf.constant(keys if keys is not None else [f"k{number}" for number in range(len(files))], tf.string)
    signature = loaded.signatures["serving_default"]
    found = signature(key=names, image_bytes=tf.constant(files, tf.string))
    return {name: value.numpy() for name, value in found.items()}


def test_image_bytes_give_what_the_batch_path_gives(head: Head, loaded: Any, loaded_encoder: Any) -> None:
    files = [
        *(picture(number, "JPEG", (20 + 9 * number, 90 - 7 * number)) for number in range(8)),
        picture(8, "JPEG", (900, 700)),
        picture(9, "PNG"),
        picture(10, "JPEG", mode="L"),
        picture(11, "PNG", mode="P"),
        picture(12, "PNG", mode="RGBA"),
    ]
    preprocessing = loaded_encoder.specification.preprocessing
    pixels = np.stack([decode_image(data, preprocessing).pixels for data in files])
    expected = head.probabilities(loaded_encoder.encode(pixels))
    found = serve(loaded, files)
    assert found["scores"].dtype == np.float32
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
    assert [name.decode() for name in found["key"]] == [f"k{number}" for number in range(len(files))]
    best = [LABELS[index] for index in expected.argmax(axis=1)]
    assert [label.decode() for label in found["prediction"]] == best
    assert len(set(best)) > 1, "the pictures tell the labels apart"


def test_the_signature_is_the_documented_one(loaded: Any) -> None:
    signature = loaded.signatures["serving_default"]
    inputs = {
        name: (spec.dtype.name, spec.shape.as_list()) for name, spec in signature.structured_input_signature[1].items()
    }
    outputs = {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in signature.structured_outputs.items()}
    assert inputs == {"key": ("string", [None]), "image_bytes": ("string", [None])}
    assert outputs == {"key": ("string", [None]), "prediction": ("string", [None]), "scores": ("float32", [None, 3])}
    assert sorted(loaded.signatures) == ["labels", "serving_default"]


def test_the_labels_travel_inside(loaded: Any, saved: Path) -> None:
    found = loaded.signatures["labels"]()["labels"].numpy()
    assert tuple(label.decode() for label in found) == LABELS
    assert (saved / "assets" / "labels.txt").read_text(encoding="utf-8") == "café\ndog\nline break\n"
    assert Path(loaded.labels_file.asset_path.numpy().decode()).read_text(encoding="utf-8").startswith("café\n")


def test_the_weights_are_stored_once(saved: Path, loaded_encoder: Any) -> None:
    import tensorflow as tf

    encoder = 3 * 3 * 3 * 8 + 8 + 6 * 6 * 8 * DIMENSION + DIMENSION
    head = DIMENSION * 5 + 5 + 5 * 3 + 3
    reader = tf.train.load_checkpoint(str(saved / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    numbers = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE"))
    assert numbers == encoder + head
    assert (saved / "saved_model.pb").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a not served", "only JPEG and PNG images are served"),
        (b"", "only JPEG and PNG images are served"),
        (picture(1, "JPEG")[:60], "(?s)."),
    ],
)
def test_a_bad_image_fails_the_call_with_its_reason(loaded: Any, data: bytes, message: str) -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(loaded, [picture(0, "PNG"), data])


def test_keys_and_images_must_be_of_a_number_and_there(loaded: Any) -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="a key for each image is needed"):
        serve(loaded, [picture(0, "PNG")], ["a", "b"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="one image at least is needed"):
        serve(loaded, [])


def test_a_model_that_disagrees_with_the_stored_vectors_is_not_exported(
    head: Head, golden: np.ndarray, loaded_encoder: Any
) -> None:
    specification = loaded_encoder.specification
    model = export.build_served_model(head, specification)
    with pytest.raises(SelfTestError, match=r"logits .* off those of the stored vectors \(at most 0\.001\)"):
        export.check_served_model(model, head, specification, golden[::-1].copy())
    coarse = dataclasses.replace(specification, precision="int8")
    assert export.check_served_model(model, head, coarse, golden[::-1].copy()) > export.TOLERANCE


def test_labels_are_written_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    export.write_labels(str(tmp_path / "deep" / "labels.txt"), ("b", "a", "ü"))
    assert (tmp_path / "deep" / "labels.txt").read_bytes() == "b\na\nü\n".encode()
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"--labels-output-file .* cannot be written"):
        export.write_labels(str(tmp_path / "file" / "labels.txt"), ("a",))
