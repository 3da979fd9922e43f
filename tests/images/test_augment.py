"""Augmentation against a per-image, per-pixel version of itself that is written from the rules, not from the code."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from snas import InputError, images, seeds
from snas.images.augment import (
    Batches,
    Draws,
    draw,
    mix,
    plain_batches,
    resampling,
    smooth_targets,
    transform,
)
from snas.images.augmentation import NO_AUGMENTATION, Augmentation

PAPER = Augmentation()


# ---- the plain version: one pixel of one image at a time ----------------------------------------------------------
def plain_read(channel: np.ndarray, y: float, x: float) -> float:
    """Bilinear value between four pixel centres; outside is zero."""
    total, y0, x0 = 0.0, math.floor(y), math.floor(x)
    for row, wy in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for column, wx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:
                total += wy * wx * channel[row, column]
    return total


def plain_flip(image: np.ndarray) -> np.ndarray:
    return image[:, :, ::-1]


def plain_crop(image: np.ndarray, left: float, top: float) -> np.ndarray:
    """Cut off left and top, resize the rest to the full side; half-pixel centres, nothing read outside the crop."""
    side, out = image.shape[1], np.empty_like(image)
    for channel, result in zip(image, out, strict=True):
        for i in range(side):
            for j in range(side):
                y = top + (i + 0.5) * (side - top) / side - 0.5
                x = left + (j + 0.5) * (side - left) / side - 0.5
                y, x = min(max(y, top), side - 1), min(max(x, left), side - 1)
                result[i, j] = plain_read(channel, y, x)
    return out


def plain_shift(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    side, out = image.shape[1], np.empty_like(image)
    for channel, result in zip(image, out, strict=True):
        for i in range(side):
            for j in range(side):
                result[i, j] = plain_read(channel, i - dy, j - dx)
    return out


def plain_augment(image: torch.Tensor, draws: Draws, row: int, k: int) -> np.ndarray:
    """Flip, then crop, then shift the image as draw ``k`` says (``row`` 0: itself, 1: as a partner)."""
    out = image.numpy().astype(np.float64) / 255
    if draws.flip[row, k]:
        out = plain_flip(out)
    left, top = draws.crop[:, row, k].tolist()
    if left or top:
        out = plain_crop(out, left, top)
    dx, dy = draws.shift[:, row, k].tolist()
    return plain_shift(out, dx, dy) if dx or dy else out


def plain_target(label: int, classes: int, smoothing: float) -> np.ndarray:
    return (1 - smoothing) * np.eye(classes)[label] + smoothing / classes


def some_images(n: int, side: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float32)


def apply(
    image: torch.Tensor,
    flip: bool = False,
    crop: tuple[float, float] = (0, 0),
    shift: tuple[float, float] = (0, 0),
) -> np.ndarray:
    pair = lambda xy: torch.tensor(xy, dtype=torch.float32)[:, None]
    return transform(image[None], torch.tensor([flip]), pair(crop), pair(shift))[0].numpy()


# ---- each transform ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [8, 13])
def test_nothing_is_exact(side: int) -> None:
    image = some_images(1, side)[0]
    np.testing.assert_array_equal(apply(image), image.numpy().astype(np.float32) / np.float32(255))


def test_flip_is_exact() -> None:
    image = some_images(1, 8)[0]
    np.testing.assert_array_equal(apply(image, flip=True), plain_flip(apply(image)))


@pytest.mark.parametrize("crop", [(0, 0), (1, 0), (0, 2), (2, 1), (2, 2), (0.25, 0.5)])
def test_crop_is_the_plain_one(crop: tuple[float, float]) -> None:
    image = some_images(1, 9)[0]
    np.testing.assert_allclose(apply(image, crop=crop), plain_crop(image.numpy() / 255, *crop), atol=1e-6)


@pytest.mark.parametrize("left", [0, 1, 2])
@pytest.mark.parametrize("top", [0, 1, 2])
def test_crop_of_whole_pixels_is_torchs_interpolate(left: int, top: int) -> None:
    image = some_images(1, 32)[0]
    cut = image[None, :, top:, left:].float() / 255
    expected = F.interpolate(cut, (32, 32), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(apply(image, crop=(left, top)), expected, atol=2e-6)


@pytest.mark.parametrize("shift", [(0.3, 0), (0, -1.7), (2.9, 2.1), (-2, 3), (-0.5, 0.75)])
def test_shift_is_the_plain_one(shift: tuple[float, float]) -> None:
    image = some_images(1, 9)[0]
    np.testing.assert_allclose(apply(image, shift=shift), plain_shift(image.numpy() / 255, *shift), atol=1e-6)


@pytest.mark.parametrize("shift", [(2.25, -1.5), (-0.125, 2.75)])
def test_shift_is_torchs_grid_sample(shift: tuple[float, float]) -> None:
    image, side = some_images(1, 32)[0], 32
    theta = torch.tensor([[[1, 0, -2 * shift[0] / side], [0, 1, -2 * shift[1] / side]]])
    grid = F.affine_grid(theta, [1, 3, side, side], align_corners=False)
    expected = F.grid_sample(image[None].float() / 255, grid, "bilinear", "zeros", align_corners=False)[0]
    np.testing.assert_allclose(apply(image, shift=shift), expected, atol=2e-5)


def test_positive_shift_moves_right_and_down_and_brings_in_zeros() -> None:
    moved = apply(torch.full((1, 8, 8), 255, dtype=torch.uint8), shift=(2, 1))
    assert (moved[0, 0] == 0).all()
    assert (moved[0, :, :2] == 0).all()
    assert (moved[0, 1:, 2:] == 1).all()


def test_order_is_flip_crop_shift() -> None:
    image = some_images(1, 9)[0]
    plain = image.numpy() / 255
    right = plain_shift(plain_crop(plain_flip(plain), 2, 1), 1.3, -0.4)
    got = apply(image, True, (2, 1), (1.3, -0.4))
    np.testing.assert_allclose(got, right, atol=1e-6)
    for wrong in (
        plain_flip(plain_shift(plain_crop(plain, 2, 1), 1.3, -0.4)),
        plain_crop(plain_shift(plain_flip(plain), 1.3, -0.4), 2, 1),
        plain_shift(plain_flip(plain_crop(plain, 2, 1)), 1.3, -0.4),
    ):
        assert np.abs(got - wrong).max() > 0.05


@settings(deadline=None, max_examples=40)
@given(
    side=st.integers(8, 12),
    crop=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    flip=st.booleans(),
)
def test_any_transform_is_the_plain_one(
    side: int, crop: tuple[float, float], shift: tuple[float, float], flip: bool
) -> None:
    crop, shift = (tuple(float(np.float32(v)) for v in pair) for pair in (crop, shift))
    image = some_images(1, side, channels=1)[0]
    plain = image.numpy() / 255
    plain = plain_shift(plain_crop(plain_flip(plain) if flip else plain, *crop), *shift)
    np.testing.assert_allclose(apply(image, flip, crop, shift), plain, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(side=st.integers(8, 40), left=st.floats(0, 4), shift=st.floats(-45, 45))
def test_weights_are_an_average_and_zeros(side: int, left: float, shift: float) -> None:
    """Crop and resize averages pixels; a shift may only lose weight to the zeros outside."""
    assert torch.allclose(resampling(side, one(left), one(0)).sum(2), torch.ones(1, side), atol=1e-5)
    weights = resampling(side, one(left), one(shift))
    assert (weights >= 0).all()
    assert (weights.sum(2) <= 1 + 1e-5).all()


# ---- whole epochs --------------------------------------------------------------------------------------------------
def batches(**options: object) -> Batches:
    values: dict[str, object] = {
        "classes": 4, "batch": 5, "recipe": "small", "base_seed": 3, "augmentation": PAPER, "label_smoothing": 0.1,
    }  # fmt: skip
    return Batches(some_images(33, 9), torch.arange(33) % 4, **{**values, **options})  # type: ignore[arg-type]


def test_an_epoch_is_the_plain_one() -> None:
    made = batches()
    draws = made.draws(2)
    mixed = 0
    for step, (got, targets) in enumerate(made.epoch(2)):
        for i in range(5):
            k = 5 * step + i
            own, partner = draws.image[:, k].tolist()
            lam = float(draws.lam[k])
            mixed += lam < 1
            image = lam * plain_augment(made.images[own], draws, 0, k)
            image = image + (1 - lam) * plain_augment(made.images[partner], draws, 1, k)
            np.testing.assert_allclose(got[i], image, atol=1e-5)
            target = lam * plain_target(own % 4, 4, 0.1) + (1 - lam) * plain_target(partner % 4, 4, 0.1)
            np.testing.assert_allclose(targets[i], target, atol=1e-6)
    assert step == 5  # ⌊33 / 5⌋ batches
    assert 5 < mixed < 25


def test_batches_are_float32_in_0_1_and_targets_probabilities() -> None:
    for got, targets in batches().epoch(0):
        assert got.shape == (5, 3, 9, 9)
        assert got.dtype == targets.dtype == torch.float32
        assert float(got.min()) >= 0
        assert float(got.max()) <= 1 + 1e-6
        assert torch.allclose(targets.sum(1), torch.ones(5))


def test_soft_targets_are_the_two_losses_of_mixup() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, lam = torch.randn(6, 10, generator=generator), torch.rand(6, generator=generator)
    first, second = torch.randint(0, 10, (2, 6), generator=generator)
    soft = mix(smooth_targets(first, 10, 0.01), smooth_targets(second, 10, 0.01), torch.arange(6), lam)
    loss = lambda labels: F.cross_entropy(logits, labels, label_smoothing=0.01, reduction="none")
    expected = lam * loss(first) + (1 - lam) * loss(second)
    assert torch.allclose(F.cross_entropy(logits, soft, reduction="none"), expected, atol=1e-6)


def test_without_augmentation_images_are_plain() -> None:
    made = batches(augmentation=NO_AUGMENTATION, label_smoothing=0.0)
    draws = made.draws(0)
    got, targets = (torch.cat(parts) for parts in zip(*made.epoch(0), strict=True))
    assert torch.equal(got, made.images[draws.image[0]].float() / 255)
    assert torch.equal(targets, F.one_hot(made.labels[draws.image[0]], 4).float())


def test_batches_are_drawn_with_replacement() -> None:
    drawn = torch.cat([batches().draws(epoch).image[0] for epoch in range(3)])
    assert len(batches().draws(0).image[0].unique()) < 30  # 30 of 33 without a repetition: p < 1e-9
    assert set(range(33)) >= set(drawn.tolist())


def test_draws_hang_on_seed_recipe_and_epoch_alone() -> None:
    """The same batches for every architecture, in any order of jobs, however the epoch is cut into chunks."""
    one_by_one, whole = batches(chunk_bytes=1), batches(chunk_bytes=2**30)
    later = [torch.cat([i for i, _ in one_by_one.epoch(e)]) for e in (1, 0)]
    for epoch, got in zip((1, 0), later, strict=True):
        assert torch.allclose(got, torch.cat([i for i, _ in whole.epoch(epoch)]), atol=1e-6)
        for field in fields(Draws):
            assert torch.equal(
                getattr(one_by_one.draws(epoch), field.name), getattr(whole.draws(epoch), field.name)
            )
    image = whole.draws(0).image
    for other in (whole.draws(1), batches(base_seed=4).draws(0), batches(recipe="other").draws(0)):
        assert not torch.equal(image, other.image)


def test_the_global_generators_are_neither_used_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = next(batches().epoch(0))[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, next(batches().epoch(0))[0])


@pytest.mark.parametrize("off", [{"flip": False}, {"crop": 0}, {"shift": (0.0, 0.0)}, {"mixup": 0.0}])
def test_switching_one_transform_off_leaves_the_other_draws(off: dict[str, object]) -> None:
    full, less = batches().draws(0), batches(augmentation=replace(PAPER, **off)).draws(0)
    (name,) = off
    for field in fields(Draws):
        if field.name != {"mixup": "lam"}.get(name, name):
            assert torch.equal(getattr(full, field.name), getattr(less, field.name)), field.name
    neutral = {"flip": less.flip, "crop": less.crop, "shift": less.shift, "mixup": less.lam - 1}[name]
    assert not neutral.any()


def test_nothing_in_an_epoch_waits_for_the_device() -> None:
    """On ``meta`` tensors have no values: reading one there (a wait on a GPU) would raise."""
    shapes = [(tuple(i.shape), tuple(t.shape)) for i, t in batches(device="meta").epoch(0)]
    assert shapes == [((5, 3, 9, 9), (5, 4))] * 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_gpu_makes_the_same_batches() -> None:
    for (image, target), (image_gpu, target_gpu) in zip(
        batches().epoch(0), batches(device="cuda").epoch(0), strict=True
    ):
        assert torch.allclose(image, image_gpu.cpu(), atol=1e-5)
        assert torch.allclose(target, target_gpu.cpu(), atol=1e-6)


# ---- the distributions of the draws --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def many() -> Draws:
    return draw(PAPER, 1000, 20_000, 32, seeds.numpy_generator(0, "test"))


def test_each_transform_happens_to_half_of_the_images(many: Draws) -> None:
    halves = {
        "flip": many.flip.double(),
        "crop": (many.crop != 0).any(0).double() / (1 - 1 / 9),  # a crop of 0 and 0 px cannot be seen
        "shift": (many.shift != 0).any(0).double(),
        "mixup": (many.lam < 1).double(),
    }
    for name, happened in halves.items():
        assert float(happened.mean()) == pytest.approx(0.5, abs=0.02), name
    together = np.corrcoef(torch.stack([h[0] if h.ndim == 2 else h for h in halves.values()]))
    assert np.abs(together - np.eye(4)).max() < 0.03


def test_crop_is_0_1_or_2_px_independently_from_left_and_top(many: Draws) -> None:
    happened = (many.crop != 0).any(0)
    pairs = torch.stack([many.crop[0][happened], many.crop[1][happened]], 1)
    values, counts = pairs.unique(dim=0, return_counts=True)
    assert sorted(map(tuple, values.tolist())) == [(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if a or b]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_shift_is_uniform_from_minus_2_to_3_px(many: Draws) -> None:
    for axis in range(2):
        happened = many.shift[axis][many.shift[axis] != 0].numpy()
        assert stats.kstest(happened, stats.uniform(-2, 5).cdf).pvalue > 1e-3
    happened = (many.shift != 0).all(0)
    assert abs(np.corrcoef(many.shift[0][happened], many.shift[1][happened])[0, 1]) < 0.03


def test_lambda_is_beta(many: Draws) -> None:
    mixed = many.lam[many.lam < 1].numpy()
    assert stats.kstest(mixed, stats.beta(1.5, 1.5).cdf).pvalue > 1e-3


def test_images_and_partners_are_uniform_and_independent(many: Draws) -> None:
    for row in many.image:
        assert stats.chisquare(torch.bincount(row, minlength=1000)).pvalue > 1e-3
    assert abs(np.corrcoef(many.image.numpy())[0, 1]) < 0.03
    assert abs(np.corrcoef(many.flip.numpy())[0, 1]) < 0.03


def test_at_another_side_the_shares_of_the_side_are_the_same(many: Draws) -> None:
    small = draw(PAPER, 1000, 20_000, 8, seeds.numpy_generator(0, "test"))
    assert torch.equal(small.crop, many.crop / 4)
    assert torch.allclose(small.shift, many.shift / 4)


# ---- the rest ------------------------------------------------------------------------------------------------------
def test_digits_are_never_flipped() -> None:
    digits = images.load("digits")
    made = Batches(
        digits.train_images, digits.train_labels, classes=10, batch=32, recipe="r", base_seed=0,
        augmentation=PAPER.allowing(flip=digits.flip),
    )  # fmt: skip
    assert not made.draws(0).flip.any()
    assert PAPER.allowing(flip=True) is PAPER


def test_plain_batches_are_all_images_in_order() -> None:
    pixels = some_images(7, 8)
    parts = list(plain_batches(pixels, 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat(parts), pixels.float() / 255)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Augmentation(crop=16), "crop is 16"),
        (lambda: Augmentation(crop=-1), "crop is -1"),
        (lambda: Augmentation(shift=(3, -2)), "lowest and highest"),
        (lambda: Augmentation(shift=(-40, 0)), "within"),
        (lambda: Augmentation(mixup=-1), "mixup is -1"),
        (lambda: Augmentation(p=1.5), "a probability"),
        (lambda: Augmentation(p=float("nan")), "a probability"),
        (lambda: batches(batch=34), "batch is 34; 1 to 33"),
        (lambda: batches(batch=0), "batch is 0"),
        (lambda: batches(label_smoothing=1.0), "label_smoothing is 1.0"),
    ],
)
def test_impossible_values_are_refused_in_a_sentence(make: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()  # type: ignore[operator]
