"""The controls are what they say: real frames, in order or out of it."""

import pytest
import torch
from conftest import make_clip

from dtsgan.baselines import BASELINES

CLIP = make_clip(20, 8, 10)


def draw(name: str, num_frames: int, seed: int) -> torch.Tensor:
    method = BASELINES[name].create()
    method.fit(CLIP)
    return method.sample(num_frames, torch.Generator().manual_seed(seed))


def starts(video: torch.Tensor) -> list[int]:
    """The frame of the clip that each frame is."""
    return [int((CLIP[0] - frame[:, None]).abs().sum((0, 2, 3)).argmin()) for frame in video[0].unbind(1)]


def test_another_part_is_a_window_of_the_clip_and_in_time_every_window():
    first = set()
    for seed in range(40):
        video = draw("another_part", 16, seed)
        start = starts(video)[0]
        assert torch.equal(video, CLIP[:, :, start : start + 16])
        first.add(start)
    assert first == set(range(5))


def test_a_copy_is_the_first_frames():
    assert torch.equal(draw("copy", 7, 3), CLIP[:, :, :7])


def test_shuffled_frames_are_those_of_a_window_in_another_order():
    found = starts(draw("shuffled_frames", 12, 0))
    assert found != sorted(found)
    assert sorted(found) == list(range(min(found), min(found) + 12))


@pytest.mark.parametrize("name", ["another_part", "copy", "shuffled_frames"])
def test_there_is_no_real_video_longer_than_the_clip(name):
    with pytest.raises(ValueError, match="longer than the clip, which has 20 frames"):
        draw(name, 21, 0)
