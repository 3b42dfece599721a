from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tests.drawing import grey_to_rgb, picture
from transforms.errors import OptionError
from transforms.images.augment import POLICIES, Policy, Views, augment, find_policy

EACH = pytest.mark.parametrize("policy", POLICIES)


def ramp(height: int = 48, width: int = 64) -> np.ndarray:
    """Dark on the left, bright on the right."""
    return grey_to_rgb(np.tile(np.linspace(40, 215, width), (height, 1)))


def views(pixels: np.ndarray, policy: str, count: int = 60) -> list[np.ndarray]:
    return [augment(pixels, policy, f"seed/{number}") for number in range(count)]


@EACH
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(policy: str) -> None:
    pixels = np.asarray(picture(61, 47))
    kept = pixels.copy()
    first = augment(pixels, policy, "a/1")
    assert first.dtype == np.uint8
    assert first.shape == pixels.shape
    assert np.array_equal(first, augment(pixels, policy, "a/1"))
    assert len({view.tobytes() for view in views(pixels, policy, 20)}) == 20
    assert np.array_equal(pixels, kept)


def test_the_bytes_are_those_of_every_other_machine() -> None:
    row, column = np.indices((33, 40))
    pixels = np.stack([row * 7 % 256, column * 6 % 256, row * column % 256], -1).astype(np.uint8)
    digest = hashlib.sha256(b"".join(augment(pixels, policy, n).tobytes() for policy in POLICIES for n in range(4)))
    assert digest.hexdigest()[:16] == "645e72b9474d254d"


@EACH
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (28, 28), (300, 200)])
def test_any_size(policy: str, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 128, np.uint8)
    for view in views(pixels, policy, 8):
        assert view.shape == pixels.shape
        assert view.std() < 3  # nothing but the one grey: no black borders


@EACH
def test_grey_pictures_stay_grey(policy: str) -> None:
    for view in views(ramp(), policy):
        assert np.array_equal(view[..., 0], view[..., 1])
        assert np.array_equal(view[..., 0], view[..., 2])


@pytest.mark.parametrize(("policy", "mirrors"), [("natural", True), ("document", False), ("medical", False)])
def test_left_and_right_change_places_where_they_may(policy: str, mirrors: bool) -> None:
    turned = [view[:, :20].mean() > view[:, -20:].mean() for view in views(ramp(), policy)]
    assert any(turned) == mirrors
    assert not all(turned)


def test_only_textures_are_turned_upside_down() -> None:
    pixels = np.ascontiguousarray(ramp(64, 64).transpose(1, 0, 2))
    upside_down = {
        policy: any(view[:20].mean() > view[-20:].mean() + 20 for view in views(pixels, policy)) for policy in POLICIES
    }
    assert upside_down == {"natural": False, "document": False, "medical": False, "texture": True}


@pytest.mark.parametrize(("policy", "keeps"), [("medical", True), ("texture", True), ("natural", False)])
def test_the_tint_is_kept_where_it_is_a_finding(policy: str, keeps: bool) -> None:
    pixels = np.full((32, 32, 3), (200, 80, 120), np.uint8)
    ratios = []
    for view in views(pixels, policy):
        red, green, blue = (float(value) for value in view[16, 16])
        ratios.append((red - blue) / max(red - green, 1))
    assert (max(ratios) - min(ratios) < 0.05) == keeps


def test_findings_and_text_are_never_blotted_out() -> None:
    assert not find_policy("medical").erase
    assert not find_policy("document").erase


def test_an_erased_rectangle_has_the_mean_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "erase", Policy(erase=1.0, erase_area=0.25))  # type: ignore[arg-type]
    pixels = np.asarray(picture(80, 60))
    view = augment(pixels, "erase", 3)
    changed = (view != pixels).any(axis=2)
    mean = np.round(pixels.reshape(-1, 3).mean(axis=0))
    assert 0.03 < changed.mean() < 0.27
    assert (view[changed] == mean).all()


def test_fingerprints_tell_policies_apart() -> None:
    assert len({policy.fingerprint for policy in POLICIES.values()}) == len(POLICIES)


def test_a_weakened_policy_does_less_but_keeps_its_symmetries() -> None:
    whole, weak = find_policy("texture"), find_policy("texture:0.25")
    assert (weak.rotation, weak.area, weak.erase) == (whole.rotation / 4, 0.9, whole.erase / 4)
    assert (weak.turn, weak.erase_area) == (whole.turn, whole.erase_area)
    assert weak.fingerprint != whole.fingerprint
    assert Views(count=1, policy="texture:0.25").key == Views(count=1, policy="texture:.250").key
    pixels = np.full((48, 48, 3), 128, np.uint8)
    assert max(abs(view.mean() - 128) for view in views(pixels, "texture:0.1")) <= 3
    assert max(abs(view.mean() - 128) for view in views(pixels, "texture")) > 10


@pytest.mark.parametrize("strength", ["", "0", "0.0", "1", "1.5", "-0.5", "nan", "weak"])
def test_a_strength_is_between_0_and_1(strength: str) -> None:
    with pytest.raises(OptionError, match=r"must be between 0 and 1, such as texture:0\.25"):
        find_policy(f"texture:{strength}")


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(OptionError, match="no augmentation policy 'wild', only natural, document, medical, texture"):
        augment(np.zeros((2, 2, 3), np.uint8), "wild", 0)
