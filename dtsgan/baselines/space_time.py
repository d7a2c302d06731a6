"""A ladder of sizes in space and time, for the methods that go from coarse to fine in both."""

import torch.nn.functional as F
from torch import Tensor

from dtsgan.pyramid import resize

Volume = tuple[int, int, int]  # frames, height, width


def rungs(
    volume: Volume, space_factor: float, time_factor: float, side: int, frames: int
) -> list[tuple[float, float]]:
    """How much smaller in space and in time each rung is, coarse to fine; the last is (1, 1).

    Rungs go on while the shorter side of `volume`, which is to be drawn, keeps `side` pixels. Its length
    keeps `frames` frames: from there on time is no longer shrunk.
    """
    count = 1
    while min(volume[1:]) * space_factor**count >= side:
        count += 1
    slowest = min(1.0, frames / volume[0])
    return [(space_factor**k, max(time_factor**k, slowest)) for k in range(count)][::-1]


def shrunk(volume: Volume, rung: tuple[float, float]) -> Volume:
    """A volume at a rung of `rungs`."""
    space, time = rung
    frames, height, width = volume
    return max(1, round(frames * time)), max(1, round(height * space)), max(1, round(width * space))


def resize_volume(clip: Tensor, volume: Volume) -> Tensor:
    """Resizes `(B, C, T, H, W)` in space and time with antialiasing; values stay in [-1, 1]."""
    clip = resize(clip, volume[1:])
    if clip.shape[2] == volume[0]:
        return clip
    flat = clip.flatten(3)  # time is one side of a picture, all places are the other
    size = volume[0], flat.shape[3]
    flat = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
    return flat.unflatten(3, volume[1:])
