"""Frames as they lie in a model's file: what is written is read again to the bit, and harm is told."""

import io

import numpy as np
import pytest
import torch
from conftest import make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from dtsgan.packing import pack, settled, unpack
from dtsgan.video import to_uint8


def frames_of(count: int = 6, height: int = 24, width: int = 32, noise: float = 0.0) -> Tensor:
    clip = make_clip(count, height, width)
    rng = torch.Generator().manual_seed(0)
    clip = (clip + noise * torch.randn(clip.shape, generator=rng)).clamp(-1, 1)
    return torch.from_numpy(to_uint8(clip)[0]).permute(3, 0, 1, 2).contiguous()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 90), st.integers(1, 90), st.sampled_from([0.0, 0.2, 1.0]), st.booleans()
)
def test_what_is_packed_is_unpacked_to_the_bit(count, height, width, noise, is_settled):
    frames = frames_of(count, height, width, noise)
    frames = settled(frames) if is_settled else frames
    assert torch.equal(unpack(*pack(frames), height, width), frames)


def test_frames_settle_near_where_they_were_and_then_stay_and_are_small():
    frames = frames_of(8, 64, 96)
    calm = settled(frames)
    assert (calm.float() - frames.float()).square().mean().sqrt() < 7  # which is the noise of this clip
    assert all(torch.equal(settled(frame), frame) for frame in calm.split(1, 1))
    assert pack(calm)[0].numel() < 0.7 * pack(frames)[0].numel()  # of which those are without loss
    assert pack(frames)[0].numel() < frames.numel()


def test_small_frames_stay_as_they_are():
    frames = frames_of(3, 40, 80)
    assert torch.equal(settled(frames), frames)


def test_what_stands_still_does_not_flicker_and_what_moves_little_by_little_moves():
    rng = torch.Generator().manual_seed(0)
    frames = frames_of(24, 66, 80)
    frames[:, :, :, :24] = frames[:, :1, :, :24]  # three columns of blocks
    grain = torch.randint(-1, 2, frames.shape, generator=rng)
    grain = grain * (torch.rand(frames.shape, generator=rng) < 0.2)
    calm = settled((frames + grain).clamp(0, 255).to(torch.uint8))
    moves = (calm[:, 1:].float() - calm[:, :-1].float()).abs().mean((0, 1))
    assert moves[:, :24].max() == 0
    as_it_does = float((frames[:, 1:].float() - frames[:, :-1].float()).abs().mean())
    assert float(moves.mean()) == pytest.approx(as_it_does, rel=0.1)
    brighter = torch.arange(60, 120).view(1, -1, 1, 1).expand(3, -1, 64, 64).to(torch.uint8) // 3
    behind = (settled(brighter).float() - brighter.float()).abs().mean((0, 2, 3))
    assert behind.max() < 1.5


def picture(kind: str, size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Tensor:
    memory = io.BytesIO()
    Image.new(mode, size).save(memory, kind)
    return torch.from_numpy(np.frombuffer(memory.getvalue(), np.uint8).copy())


@pytest.mark.parametrize(
    "pictures",
    [picture("JPEG", (320, 240)), picture("JPEG", mode="L"), picture("PNG"), picture("JPEG")[:200],
     torch.zeros(99, dtype=torch.uint8)],
    ids=["larger", "grey", "another kind", "cut off", "no picture"],
)  # fmt: skip
def test_what_is_no_picture_of_the_size_is_refused(pictures):
    with pytest.raises(ValueError, match="picture"):
        unpack(pictures, torch.tensor([len(pictures)], dtype=torch.int32), 24, 32)


@pytest.mark.parametrize("lengths", [[], [0], [5], [-1, 3], [2**31 - 1]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="lengths"):
        unpack(torch.zeros(4, dtype=torch.uint8), torch.tensor(lengths, dtype=torch.int32), 24, 32)
