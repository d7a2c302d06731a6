"""Two pictures of the same thing in two places meet half-way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.alignment import align, half_flow, warp


def disc(across: float, down: float, radius: float = 9, size: int = 64) -> Tensor:
    """A bright disc with a soft edge on dark ground, `(1, 3, size, size)`."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    off = ((x - across) ** 2 + (y - down) ** 2).sqrt() - radius
    return (torch.sigmoid(-off) * 1.6 - 0.8).expand(1, 3, -1, -1)


def share(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value)


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(("step", "radius"), [((12, -6), 9), ((4, 0), 9), ((0, 8), 5), ((-14, 5), 12)])
def test_what_lies_in_two_places_is_shown_once_in_between(step, radius, part):
    across, down = step
    first, second = disc(32, 32, radius), disc(32 + across, 32 + down, radius)
    between = disc(32 + part * across, 32 + part * down, radius)
    one, other = align(first, second, share(part))
    faded, plain = (1 - part) * one + part * other, (1 - part) * first + part * second
    assert (faded - between).abs().mean() < 0.5 * (plain - between).abs().mean()


def test_at_either_end_of_a_fade_what_is_shown_stays_where_it_is():
    first, second = disc(28, 32), disc(36, 32)
    assert torch.allclose(align(first, second, share(0))[0], first, atol=1e-5)
    assert torch.allclose(align(first, second, share(1))[1], second, atol=1e-5)


def test_pictures_that_are_alike_do_not_move():
    picture = disc(30, 30)
    for one in align(picture, picture, share(0.5)):
        assert torch.allclose(one, picture, atol=1e-3)
    flat = torch.full((1, 3, 40, 50), 0.3)
    assert half_flow(flat, -flat).abs().max() < 1e-6  # nothing says where to


def test_a_flow_is_the_same_at_each_size_of_a_picture():
    flow = torch.zeros(1, 2, 1, 1)
    flow[:, 0] = 0.25  # an eighth of the width
    for size in (32, 64):
        at = size * 5 / 8
        shown = warp(disc(at, size / 2, 6, size), flow)
        assert torch.allclose(shown, disc(at - size / 8, size / 2, 6, size), atol=0.02)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.floats(0, 1, width=32), st.integers(0, 99)
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_a_picture_of_any_size_is_moved_alike_alone_and_among_others(height, width, count, part, seed):
    rng = torch.Generator().manual_seed(seed)
    first, second = (torch.rand(count, 3, height, width, generator=rng) * 2 - 1 for _ in range(2))
    shares = torch.full((count, 1, 1, 1), part)
    together = align(first, second, shares)
    alone = align(first[-1:], second[-1:], shares[-1:])
    for many, one in zip(together, alone, strict=True):
        assert many.shape == first.shape and many.isfinite().all()
        assert torch.equal(many[-1:], one)
