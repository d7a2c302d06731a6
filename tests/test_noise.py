"""Noise is a function of its address and of nothing else."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.noise import REC_SEED, gaussian, step_generator

few = settings(max_examples=25, deadline=None)
coordinates = st.integers(-(2**22), 2**22)


def span(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count)


def block(seeds=(0,), scale=0, frames=(0, 16), rows=(0, 24), columns=(0, 24), channels=3) -> Tensor:
    return gaussian(seeds, scale, span(*frames), channels, span(*rows), span(*columns))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@few
@given(
    seed=st.integers(-1, 2**45), scale=st.integers(0, 15), frame=st.integers(-(2**53), 2**53),
    row=coordinates,
    column=coordinates, steps=st.lists(st.integers(0, 4), min_size=3, max_size=3),
)  # fmt: skip
def test_windows_of_the_noise_agree(seed, scale, frame, row, column, steps):
    whole = block([seed], scale, (frame, 6), (row, 6), (column, 6))
    t, y, x = steps
    part = block([seed], scale, (frame + t, 2), (row + y, 2), (column + x, 2), channels=2)
    assert torch.equal(part, whole[:, :2, t : t + 2, y : y + 2, x : x + 2])


def test_noise_does_not_depend_on_the_state_of_the_process():
    before = torch.get_rng_state()
    first = block()
    torch.manual_seed(99)
    assert torch.equal(block(), first)
    torch.set_rng_state(before)


def test_addresses_may_come_in_any_order_and_more_than_once():
    frames, rows = torch.tensor([5, -3, 5]), torch.tensor([7, 0])
    found = gaussian([4], 1, frames, 3, rows, rows)
    assert torch.equal(found[:, :, 0], found[:, :, 2])
    expected = gaussian([4], 1, span(-3, 9), 3, span(0, 8), span(0, 8))
    assert torch.equal(found, expected[:, :, frames + 3][..., rows, :][..., rows])


def test_a_video_of_a_batch_is_that_of_its_seed_alone():
    batch = block(seeds=[3, REC_SEED, 2**40])
    for k, seed in enumerate((3, REC_SEED, 2**40)):
        assert torch.equal(batch[k : k + 1], block(seeds=[seed]))


def test_noise_is_standard_normal():
    values = block(seeds=range(8), frames=(0, 24)).double().flatten()
    tolerance = 5 / len(values) ** 0.5
    assert abs(values.mean()) < tolerance
    assert abs(values.var() - 1) < 2**0.5 * tolerance
    assert abs((values**3).mean()) < 15**0.5 * tolerance
    assert abs((values**4).mean() - 3) < 96**0.5 * tolerance
    for bound in (0.5, 1, 2, 3):
        share = float((values < bound).double().mean())
        expected = float(torch.special.ndtr(torch.tensor(bound, dtype=torch.float64)))
        assert abs(share - expected) < tolerance
    assert values.isfinite().all() and 4 < values.abs().max() < 6.5


def test_noise_at_different_addresses_is_uncorrelated():
    base = block()
    bound = 5 / base.numel() ** 0.5
    others = {
        "seed": block(seeds=[1]),
        "reconstruction": block(seeds=[REC_SEED]),
        "far seed": block(seeds=[2**40]),
        "scale": block(scale=1),
        "next frame": block(frames=(1, 16)),
        "far frame": block(frames=(10**6, 16)),
        "next row": block(rows=(1, 24)),
        "next column": block(columns=(1, 24)),
        "beyond the border": block(rows=(-24, 24)),
    }
    across = block(rows=(24, 24)).transpose(3, 4)
    assert abs(correlation(block(columns=(24, 24)), across)) < bound
    for name, other in others.items():
        assert abs(correlation(base, other)) < bound, name
        assert abs(correlation(base.square(), other.square())) < bound, name
    for c in range(3):
        assert abs(correlation(base[:, c], base[:, (c + 1) % 3])) < bound * 3**0.5


def test_a_seed_is_not_a_shift_in_time_or_scale():
    """Seeds, scales and frames are mixed one after another, so none can stand for another."""
    values = {
        float(block([seed], scale, (frame, 1), (0, 1), (0, 1), 1))
        for seed in range(6) for scale in range(6) for frame in range(6)
    }  # fmt: skip
    assert len(values) == 6**3


def test_a_step_generator_repeats_its_numbers_and_shares_them_with_no_other_step():
    draws = [
        tuple(torch.rand(4, generator=step_generator(seed, scale, step)).tolist())
        for seed in (0, 1, 2) for scale in (0, 1, 2) for step in (-1, 0, 1, 2, 10_000)
    ]  # fmt: skip
    assert len(set(draws)) == len(draws)
    again = torch.rand(4, generator=step_generator(1, 2, 10_000))
    assert tuple(again.tolist()) in draws


@few
@given(seed=st.integers(0, 2**62), scale=st.integers(0, 15), step=st.integers(-8, 10**7))
def test_every_training_step_has_a_generator(seed, scale, step):
    first, second = (torch.rand(2, generator=step_generator(seed, scale, step)) for _ in range(2))
    assert torch.equal(first, second)
