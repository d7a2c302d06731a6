"""The ladder of scales, down and up."""

import pytest
import torch
from conftest import close, make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.config import PyramidConfig
from dtsgan.pyramid import (
    build_pyramid,
    fit_picture,
    is_stationary_in_space,
    resize,
    scale_sizes,
    smoothed,
    upsample,
    upsampling,
)

few = settings(max_examples=25, deadline=None)
sides = st.integers(8, 60)


def enlarge(line: Tensor, fine: int, clamp: bool = True, start: int = 0, stop: int | None = None) -> Tensor:
    """A line of pixels brought up to `fine` pixels, or to a window of those."""
    coords = torch.arange(start, fine if stop is None else stop)
    up = upsampling(coords, len(line), fine, clamp)
    index = torch.arange(up.start, up.stop)
    return up.weights @ line[index % len(line)]  # without clamping the line is periodic


def test_the_ladder_of_the_paper_has_its_eight_sizes():
    config = PyramidConfig(num_scales=8, min_size=25, max_size=150)
    assert config.sides() == [25, 32, 42, 54, 70, 90, 116, 150]
    assert scale_sizes(config, 300, 400)[0] == (25, 33)
    assert scale_sizes(config, 400, 300)[-1] == (200, 150)


@few
@given(height=st.integers(16, 400), width=st.integers(16, 400), scales=st.integers(2, 10))
def test_scales_grow_from_the_smallest_side_to_the_largest(height, width, scales):
    sizes = scale_sizes(PyramidConfig(num_scales=scales, min_size=16, max_size=120), height, width)
    assert len(sizes) == scales
    assert min(sizes[0]) == 16 and min(sizes[-1]) == 120
    assert sizes == sorted(sizes)
    for h, w in sizes:
        assert abs(h * width - w * height) <= max(height, width)  # the aspect, to a pixel


def test_the_finest_scale_is_the_clip_itself(clip):
    ladder = build_pyramid(clip, [(9, 12), (13, 17), (24, 32)])
    assert [tuple(c.shape) for c in ladder] == [(1, 3, 40, 9, 12), (1, 3, 40, 13, 17), (1, 3, 40, 24, 32)]
    assert torch.equal(ladder[-1], clip)


@few
@given(height=st.integers(6, 24), width=st.integers(6, 32))
def test_resizing_keeps_the_mean_and_the_range(height, width):
    clip = make_clip(4)
    small = resize(clip, (height, width))
    assert small.shape == (1, 3, 4, height, width)
    assert small.abs().max() <= 1
    torch.testing.assert_close(small.mean((3, 4)), clip.mean((3, 4)), rtol=0, atol=0.02)


def test_resizing_keeps_one_colour_and_is_antialiased():
    flat = torch.full((1, 3, 2, 30, 30), -0.7)
    close(resize(flat, (11, 17)), flat[..., :11, :17])
    stripes = torch.tensor([-1.0, 1.0]).repeat(30).expand(1, 3, 2, 60, 60)
    assert resize(stripes, (20, 20))[..., 3:-3].abs().max() < 0.1


def test_frames_are_resized_one_by_one():
    clip = make_clip(6)
    close(resize(clip, (9, 12))[:, :, 4:5], resize(clip[:, :, 4:5], (9, 12)))


# -- up ---


@few
@given(coarse=sides, ratio=st.floats(1, 3), clamp=st.booleans(), start=st.integers(-20, 40))
def test_the_weights_of_every_pixel_sum_to_one(coarse, ratio, clamp, start):
    up = upsampling(torch.arange(start, start + 30), coarse, round(coarse * ratio), clamp)
    close(up.weights.sum(1), torch.ones(30))
    assert ((up.weights != 0).sum(1) <= 4).all()
    assert up.stop - up.start == up.weights.shape[1]
    if clamp:
        assert 0 <= up.start < up.stop <= coarse


@few
@given(coarse=sides, ratio=st.floats(1, 3), clamp=st.booleans(), data=st.data())
def test_windows_of_an_enlarged_canvas_agree(coarse, ratio, clamp, data):
    fine = round(coarse * ratio)
    line = torch.randn(coarse, generator=torch.Generator().manual_seed(coarse))
    whole = enlarge(line, fine, clamp)
    start = data.draw(st.integers(0, fine - 1))
    stop = data.draw(st.integers(start + 1, fine))
    close(enlarge(line, fine, clamp, start, stop), whole[start:stop], 1e-6)


@few
@given(coarse=sides, ratio=st.floats(1, 3))
def test_beyond_a_clamped_side_the_border_is_repeated(coarse, ratio):
    fine = round(coarse * ratio)
    line = torch.randn(coarse, generator=torch.Generator().manual_seed(coarse))
    grown = enlarge(line, fine, True, -7, fine + 7)
    assert torch.equal(grown[:7], grown[7].expand(7))
    assert torch.equal(grown[-7:], grown[-8].expand(7))


@few
@given(coarse=sides, ratio=st.floats(1, 3))
def test_a_linear_ramp_is_reproduced_away_from_the_borders(coarse, ratio):
    fine = round(coarse * ratio)
    ramp = enlarge(torch.arange(coarse).float(), fine)
    expected = (torch.arange(fine) + 0.5) * (coarse / fine) - 0.5
    inner = (expected >= 1) & (expected <= coarse - 2)
    assert inner.any()
    close(ramp[inner], expected[inner], 1e-4)


@few
@given(coarse=sides, ratio=st.floats(1, 3))
def test_a_periodic_canvas_stays_periodic(coarse, ratio):
    fine = round(coarse * ratio)
    line = torch.randn(coarse, generator=torch.Generator().manual_seed(coarse))
    twice = enlarge(line, fine, False, -fine, 2 * fine)
    close(twice[:fine], twice[fine : 2 * fine])
    close(twice[2 * fine :], twice[fine : 2 * fine])


def test_a_side_of_equal_size_is_left_as_it_is():
    line = torch.randn(20, generator=torch.Generator().manual_seed(0))
    for clamp in (True, False):
        close(enlarge(line, 20, clamp), line, 1e-6)


def test_rows_and_columns_are_enlarged_each_by_its_own():
    clip = make_clip(3, 10, 12)
    rows, columns = upsampling(torch.arange(17), 10, 17, True), upsampling(torch.arange(15), 12, 15, True)
    window = clip[..., rows.start : rows.stop, columns.start : columns.stop]
    fine = upsample(window, rows, columns)
    assert fine.shape == (1, 3, 3, 17, 15)
    expected = torch.stack([enlarge(line, 15) for line in clip[0, 0, 0]])
    expected = torch.stack([enlarge(line, 17) for line in expected.T], 1)
    close(fine[0, 0, 0], expected)


def test_bringing_a_smooth_clip_down_and_up_gives_it_back():
    y, x = torch.meshgrid(torch.arange(40) / 40, torch.arange(40) / 40, indexing="ij")
    clip = (torch.sin(6 * y) * torch.cos(5 * x))[None, None, None].expand(1, 3, 2, -1, -1)
    up = upsampling(torch.arange(40), 25, 40, True)
    back = upsample(resize(clip, (25, 25)), up, up)
    assert (back - clip)[..., 3:-3, 3:-3].abs().max() < 0.02


# -- scene or texture ---


@pytest.mark.parametrize("seed", range(3))
def test_a_texture_is_told_from_a_scene(seed):
    rng = torch.Generator().manual_seed(seed)
    texture = torch.randn(1, 3, 80, 25, 33, generator=rng) * 0.3
    assert is_stationary_in_space(texture)
    brighter_below = texture + torch.linspace(-0.5, 0.5, 25)[:, None]
    assert not is_stationary_in_space(brighter_below)
    stiller_left = texture * torch.linspace(0.1, 1, 33)
    assert not is_stationary_in_space(stiller_left)


# -- a picture of any size ---


@settings(max_examples=25, deadline=None)
@given(height=sides, width=sides, size=st.tuples(sides, sides))
def test_a_picture_covers_the_frame_whatever_their_sizes(height, width, size):
    fitted = fit_picture(torch.full((2, 3, height, width), 0.3), size)
    assert fitted.shape == (2, 3, *size)
    close(fitted, torch.full_like(fitted, 0.3), 1e-4)


def test_the_middle_of_a_picture_is_kept_undistorted():
    picture = torch.linspace(-1, 1, 90).expand(1, 3, 30, 90)
    fitted = fit_picture(picture, (30, 30))
    close(fitted, picture[..., 30:60])


def test_smoothing_is_by_the_binomial_of_four():
    dot = torch.zeros(1, 9, 9)
    dot[0, 4, 4] = 1
    line = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    assert torch.equal(smoothed(dot)[0, 2:7, 2:7], line[:, None] * line)
    assert smoothed(dot).sum() == 1
