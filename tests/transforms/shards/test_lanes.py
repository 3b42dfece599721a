from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.photographs import draw, encoded, write_folder
from transforms.encoders.interpreters import InterpretedEncoder
from transforms.encoders.resolve import resolve_encoder
from transforms.encoders.specification import Preprocessing
from transforms.errors import ErrorClass
from transforms.images.decode import DecodedImage
from transforms.shards import decoder
from transforms.shards.lanes import Lane
from transforms.shards.outcome import DeadLetter, EncodedImage
from transforms.shards.tuning import Way
from transforms.sources.folder import list_folder
from transforms.sources.reference import ImageReference

PREPROCESSING = Preprocessing(height=8, width=8)


class Index:
    """Knows one content."""

    def __init__(self, known: str) -> None:
        self._known = known

    def knows(self, sha256: str) -> bool:
        return sha256 == self._known

    def find(self, sha256: Sequence[str]) -> Mapping[str, npt.NDArray[np.float32]]:
        return {digest: np.array([7, 8, 9], np.float32) for digest in sha256 if digest == self._known}


class MeanEncoder:
    """Three numbers an image; fails for a whole batch that holds a black image, and gives NaN for a white one."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def encode(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.sizes.append(len(pixels))
        means = pixels.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        if (means == 0).all(axis=1).any():
            raise RuntimeError("a black image")
        means[(means == 255).all(axis=1)] = np.nan
        return means


def run(root: Path, **options: object) -> tuple[list[EncodedImage], list[DeadLetter], MeanEncoder]:
    encoder = MeanEncoder()
    lane = Lane(encoder=encoder, preprocessing=PREPROCESSING, roots=[str(root)], **options)  # type: ignore[arg-type]
    images: list[EncodedImage] = []
    letters: list[DeadLetter] = []
    for outcome in lane.run(list(list_folder(str(root)))):
        if isinstance(outcome, DeadLetter):
            letters.append(outcome)
        else:
            images += outcome
    lane.close()
    return images, letters, encoder


def test_every_image_has_its_own_vector_in_order(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=5, form="PNG")
    images, letters, encoder = run(tmp_path, batch_size=4)
    assert encoder.sizes == [4, 4, 2]
    assert letters == []
    assert [image.reference for image in images] == list(list_folder(str(tmp_path)))
    for image in images:
        data = Path(image.reference.uri).read_bytes()
        assert image.sha256 == hashlib.sha256(data).hexdigest()
        assert (image.width, image.height, image.format, image.byte_size) == (96, 72, "PNG", len(data))
        assert image.pixels is None
        assert image.vector is not None
    assert len({tuple(image.vector) for image in images if image.vector is not None}) == 10


def test_a_batch_that_fails_costs_its_guilty_image_only(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=4)
    (tmp_path / "disc" / "0001.jpg").write_bytes(encoded(draw("disc", 0).point(lambda _: 0), "PNG"))
    (tmp_path / "stripes" / "0002.jpg").write_bytes(encoded(draw("disc", 0).point(lambda _: 255), "PNG"))
    (tmp_path / "stripes" / "0003.jpg").write_bytes(b"")
    images, letters, _ = run(tmp_path, batch_size=8)
    assert len(images) == 5
    found = {(Path(letter.reference.uri).name, letter.stage, letter.error.error_class) for letter in letters}
    assert found == {
        ("0001.jpg", "encode", ErrorClass.MODEL_ERROR),
        ("0002.jpg", "encode", ErrorClass.NON_FINITE),
        ("0003.jpg", "decode", ErrorClass.EMPTY),
    }
    row = next(letter for letter in letters if letter.stage == "decode").to_row("run", attempt=2)
    assert row["sha256"] == hashlib.sha256(b"").hexdigest()
    assert (row["labels"], row["run_id"], row["attempt"]) == (["stripes"], "run", 2)


def test_a_network_that_takes_one_image_a_call_is_called_by_who_decoded_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, per_label=4)
    expected, _, _ = run(tmp_path)
    (tmp_path / "disc" / "0001.jpg").write_bytes(encoded(draw("disc", 0).point(lambda _: 0), "PNG"))
    means, decode = MeanEncoder(), decoder.decode_image
    calls: list[tuple[str, str]] = []

    def interpret(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        calls.append(("encode", threading.current_thread().name))
        return means.encode(pixels) if len(calls) > 1 else np.zeros((1, 3), np.float32)  # at first it is tried

    def decode_noting(*arguments: Any) -> DecodedImage:
        calls.append(("decode", threading.current_thread().name))
        return decode(*arguments)

    monkeypatch.setattr(decoder, "decode_image", decode_noting)
    specification = dataclasses.replace(resolve_encoder(), preprocessing=PREPROCESSING, dimension=3)
    seen: list[tuple[int, float, threading.Thread]] = []
    copied = tmp_path / "stripes" / "0003.jpg"
    lane = Lane(
        encoder=InterpretedEncoder(specification, lambda: interpret, threads=2),
        preprocessing=PREPROCESSING,
        roots=[str(tmp_path)],
        batch_size=4,
        ways=[Way(2, 1)],
        known=Index(hashlib.sha256(copied.read_bytes()).hexdigest()),
        observe=lambda size, seconds: seen.append((size, seconds, threading.current_thread())),
    )
    outcomes = list(lane.run(list(list_folder(str(tmp_path)))))
    lane.close()
    (letter,) = (outcome for outcome in outcomes if isinstance(outcome, DeadLetter))
    assert (letter.stage, letter.error.error_class) == ("encode", ErrorClass.MODEL_ERROR)
    found = [image for outcome in outcomes if isinstance(outcome, list) for image in outcome]
    assert found.pop().vector.tolist() == [7, 8, 9]
    vectors = {image.reference: image.vector for image in expected}
    assert [image.vector.tolist() for image in found] == [vectors[image.reference].tolist() for image in found]
    assert {thread.rstrip("0123456789") for _, thread in calls[1:]} == {"decode_"}
    for name in {thread for _, thread in calls[1:]}:
        kinds = "".join(kind for kind, thread in calls[1:] if thread == name)
        assert kinds.replace("decodeencode", "") in ("", "decode")  # what is known is not encoded
    assert [(size, thread) for size, _, thread in seen] == [(1, threading.current_thread())] * 6
    assert all(seconds > 0 for _, seconds, _ in seen)


def interpreted(
    interpret: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], threads: int
) -> InterpretedEncoder:
    specification = dataclasses.replace(resolve_encoder(), preprocessing=PREPROCESSING, dimension=3)
    return InterpretedEncoder(specification, lambda: interpret, threads=threads)


def test_a_thread_decodes_its_images_before_it_encodes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, per_label=4)
    calls, means, decode = [], MeanEncoder(), decoder.decode_image

    def interpret(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        calls.append("e")
        return means.encode(pixels) if pixels.any() else np.zeros((1, 3), np.float32)

    def decode_noting(*arguments: Any) -> DecodedImage:
        calls.append("d")
        return decode(*arguments)

    encoder = interpreted(interpret, 1)
    monkeypatch.setattr(decoder, "decode_image", decode_noting)
    calls.clear()
    lane = Lane(encoder=encoder, preprocessing=PREPROCESSING, roots=[str(tmp_path)], ways=[Way(1, 4)])
    (batch,) = lane.run(list(list_folder(str(tmp_path))))
    lane.close()
    assert isinstance(batch, list)
    assert [image.reference for image in batch] == list(list_folder(str(tmp_path)))
    assert "".join(calls) == "ddddeeeeddeedede"  # turns are shorter at the end


def test_known_content_is_copied_not_encoded(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=2)
    known = hashlib.sha256((tmp_path / "disc" / "0000.jpg").read_bytes()).hexdigest()

    images, _, encoder = run(tmp_path, known=Index(known))
    assert encoder.sizes == [3]
    copied = [image for image in images if image.copied]
    assert [image.sha256 for image in copied] == [known]
    assert copied[0].vector is not None
    assert copied[0].vector.tolist() == [7, 8, 9]


def test_an_image_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, per_label=3)
    decode = decoder.decode_image

    def slow(data: bytes, *rest: object) -> object:
        if hashlib.sha256(data).hexdigest() == stuck:
            time.sleep(1.5)
        return decode(data, *rest)  # type: ignore[arg-type]

    stuck = hashlib.sha256((tmp_path / "disc" / "0001.jpg").read_bytes()).hexdigest()
    monkeypatch.setattr(decoder, "decode_image", slow)
    started = time.monotonic()
    images, letters, _ = run(tmp_path, timeout_seconds=0.3, ways=[Way(1, 4)])
    assert time.monotonic() - started < 1.4
    assert [(letter.error.error_class, Path(letter.reference.uri).name) for letter in letters] == [
        (ErrorClass.TIMEOUT, "0001.jpg")
    ]
    assert len(images) == 5


def test_a_network_that_hangs_costs_its_image_only(tmp_path: Path) -> None:
    write_folder(tmp_path, per_label=4)
    black = tmp_path / "disc" / "0001.jpg"
    black.write_bytes(encoded(draw("disc", 0).point(lambda _: 0), "PNG"))
    tried = threading.Event()
    released = threading.Event()

    def interpret(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not pixels.any() and tried.is_set():
            released.wait(20)
        tried.set()
        return pixels.mean(axis=(1, 2), dtype=np.float32)

    roots, ways = [str(tmp_path)], [Way(1, 4)]
    encoder = interpreted(interpret, 1)
    lane = Lane(encoder=encoder, preprocessing=PREPROCESSING, roots=roots, ways=ways, timeout_seconds=0.3)
    outcomes = list(lane.run(list(list_folder(str(tmp_path)))))
    released.set()
    lane.close()
    (letter,) = (outcome for outcome in outcomes if isinstance(outcome, DeadLetter))
    assert (letter.stage, letter.error.error_class) == ("encode", ErrorClass.TIMEOUT)
    found = [image for outcome in outcomes if isinstance(outcome, list) for image in outcome]
    assert [image.reference.uri for image in found] == [
        reference.uri for reference in list_folder(str(tmp_path)) if reference.uri != str(black)
    ]
    assert all(image.vector is not None for image in found)


def test_no_more_is_decoded_ahead_than_two_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, per_label=20)
    begun: list[bytes] = []
    decode = decoder.decode_image

    def counted(data: bytes, *rest: object) -> object:
        begun.append(data)
        return decode(data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "decode_image", counted)
    lane = Lane(
        encoder=MeanEncoder(), preprocessing=PREPROCESSING, roots=[str(tmp_path)], batch_size=4, ways=[Way(2, 1)]
    )
    next(lane.run(list(list_folder(str(tmp_path)))))
    time.sleep(0.3)
    assert len(begun) <= 4 + 2 * 4 + 4
    lane.close()


def test_an_entry_with_a_problem_is_never_read(tmp_path: Path) -> None:
    reference = ImageReference(uri="/etc/passwd").with_problem(ErrorClass.DUPLICATE_ID, "twice")
    lane = Lane(encoder=MeanEncoder(), preprocessing=PREPROCESSING, roots=["/"])
    (letter,) = lane.run([reference])
    assert isinstance(letter, DeadLetter)
    assert (letter.stage, letter.error.error_class, str(letter.error)) == ("list", ErrorClass.DUPLICATE_ID, "twice")
    lane.close()
