"""Which part of the video each step learns from."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsgan.data_update import turned, window_starts
from dtsgan.noise import step_generator


def starts(
    update: str, steps: int, num_starts: int = 11, batch_size: int = 1, **fields: int
) -> list[list[int]]:
    fields = {"every": 1, "stride": 4, "seed": 0, "scale": 0, **fields}
    seed, scale = fields["seed"], fields["scale"]
    return [
        window_starts(
            update,
            step,
            fields["every"],
            fields["stride"],
            num_starts,
            batch_size,
            step_generator(seed, scale, step),
            seed,
            scale,
        )
        for step in range(steps)
    ]


def test_neighbour_moves_on_by_the_stride_and_turns_back_at_both_ends():
    assert [s for (s,) in starts("neighbour", 9)] == [0, 4, 8, 8, 4, 0, 4, 8, 8]
    walk = [s for (s,) in starts("neighbour", 60, stride=1)]
    assert all(abs(a - b) == 1 for a, b in pairwise(walk))
    assert walk[:21] == [*range(11), *range(9, -1, -1)]


def test_neighbour_stays_for_as_many_steps_as_it_is_told():
    walk = [s for (s,) in starts("neighbour", 12, every=3)]
    assert walk == [0, 0, 0, 4, 4, 4, 8, 8, 8, 8, 8, 8]


def test_the_clips_of_a_batch_are_neighbours():
    assert starts("neighbour", 2, batch_size=3) == [[0, 4, 8], [4, 8, 8]]


def test_single_stays_with_the_first_clip():
    assert starts("single", 30, batch_size=2) == [[0, 0]] * 30


def test_random_reaches_every_clip_about_equally_often():
    seen = [s for batch in starts("random", 400, batch_size=2) for s in batch]
    counts = torch.bincount(torch.tensor(seen), minlength=11)
    assert len(counts) == 11
    assert counts.min() > 0.5 * counts.float().mean()
    assert counts.max() < 1.6 * counts.float().mean()


def test_random_stays_for_as_many_steps_as_it_is_told():
    seen = starts("random", 40, num_starts=1000, every=4)
    for first in range(0, 40, 4):
        assert len({s for (s,) in seen[first : first + 4]}) == 1
    assert len({s for (s,) in seen}) > 5


@pytest.mark.parametrize("every", [1, 4])
def test_random_clips_are_other_ones_for_another_seed_and_at_another_scale(every):
    seen = starts("random", 40, num_starts=1000, every=every)
    assert starts("random", 40, num_starts=1000, every=every, seed=1) != seen
    assert starts("random", 40, num_starts=1000, every=every, scale=1) != seen


def test_a_random_step_is_the_same_when_it_is_taken_again():
    assert starts("random", 20) == starts("random", 20)
    assert starts("random", 20, every=3) == starts("random", 20, every=3)


@pytest.mark.parametrize("update", ["neighbour", "single", "random"])
@settings(max_examples=25, deadline=None)
@given(
    step=st.integers(0, 10**7), every=st.integers(1, 200), stride=st.integers(1, 10**6),
    num_starts=st.integers(1, 3000), batch_size=st.integers(1, 5),
)  # fmt: skip
def test_every_clip_lies_within_the_video(update, step, every, stride, num_starts, batch_size):
    rng = step_generator(0, 0, step)
    found = window_starts(update, step, every, stride, num_starts, batch_size, rng, 0, 0)
    assert len(found) == batch_size
    assert all(0 <= start < num_starts for start in found)


def test_a_walk_over_one_place_stays_there():
    assert [turned(k, 1) for k in range(4)] == [0, 0, 0, 0]
    assert [turned(k, 2) for k in range(4)] == [0, 1, 0, 1]
