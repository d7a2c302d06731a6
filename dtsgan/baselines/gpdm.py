"""GPDM in space and time, after Elnekave & Weiss, "Generating natural images with direct patch distribution
matching", ECCV 2022.

A video is optimised, pixel by pixel and coarse to fine, until its space-time patches have the distribution of
the clip's. The distance of the two is the sliced Wasserstein distance: patches are projected onto random
directions (one convolution), and on each line sorted values are compared. New directions are drawn every
step. Where a patch lies is not asked, so a scene keeps its place only as far as its patches imply it.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length
from dtsgan.baselines.space_time import Volume, resize_volume, rungs, shrunk

DEPTH, PATCH = 3, 7  # frames and pixels of a patch
SIDE = 21  # of the coarsest rung, in pixels
AT_ONCE = 16  # directions whose projections are held in memory together


class GPDM:
    """Shapes: T frames are drawn, d directions; M patches a frame."""

    name = "GPDM"

    def __init__(
        self,
        num_steps: tuple[int, int] = (300, 300),
        num_directions: int = 64,
        learning_rate: float = 0.01,
        noise: float = 0.75,
        space_factor: float = 0.85,
        time_factor: float = 0.87,
    ) -> None:
        """
        Args:
            num_steps: of Adam at the coarsest rung and at the finest; those between lie between (their
                logarithms evenly).
            num_directions: drawn anew for each step.
            noise: deviation of the grey noise that is added to the mean frame to begin with; the clip is in
                [-1, 1].
        """
        if min(num_steps) < 1 or num_directions < 1:
            raise ValueError(
                f"num_steps and num_directions must be at least 1, got {num_steps} and {num_directions}"
            )
        if learning_rate <= 0 or noise <= 0:
            raise ValueError(f"learning_rate and noise must be above 0, got {learning_rate} and {noise}")
        if not (0 < space_factor < 1 and 0 < time_factor <= 1):
            raise ValueError(f"factors must be between 0 and 1, got {space_factor} and {time_factor}")
        self.num_steps, self.num_directions = num_steps, num_directions
        self.learning_rate, self.noise = learning_rate, noise
        self.factors = space_factor, time_factor

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """Keeps `(1, 3, N, H, W)`: all work is done for each video anew. See `Baseline.fit`."""
        check_clip(clip, self.name, num_frames=DEPTH, side=PATCH)
        self.clip = clip.clone()
        if on_progress:
            on_progress(1.0, "kept the clip")

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """A frame more is drawn at either end, and cut: hardly a patch sees it. Where `seconds` are given,
        each rung has its part of them, and at least one step. See `Baseline.sample`."""
        check_length(num_frames)
        began = time.monotonic()
        source: Volume = (self.clip.shape[2], self.clip.shape[3], self.clip.shape[4])
        goal: Volume = (num_frames + 2, *source[1:])
        ladder = rungs(goal, *self.factors, side=SIDE, frames=DEPTH)
        steps = [self.steps(n / max(1, len(ladder) - 1)) for n in range(len(ladder))]
        work = [count * rung[0] ** 2 * rung[1] for count, rung in zip(steps, ladder, strict=True)]
        share = [part**0.5 for part in work]  # of the seconds; the coarse rungs decide most and cost least
        for n, rung in enumerate(ladder):
            volume = at_least(shrunk(goal, rung), DEPTH)
            clip = resize_volume(self.clip, at_least(shrunk(source, rung), DEPTH))
            if n == 0:
                grey = torch.randn(1, 1, *volume, generator=generator)
                video = clip.mean(2, keepdim=True) + self.noise * grey
            else:
                video = resize_volume(video, volume)
            video = video.contiguous().requires_grad_(True)
            adam = torch.optim.Adam([video], self.learning_rate)
            for step in range(steps[n]):
                adam.zero_grad()
                patch_distance(video, clip, self.num_directions, generator)
                adam.step()
                done = (sum(work[:n]) + work[n] * (step + 1) / steps[n]) / sum(work)
                if on_progress:
                    on_progress(min(1.0, done), f"rung {n + 1} of {len(ladder)}")
                spent = time.monotonic() - began
                if seconds is not None and spent > seconds * sum(share[: n + 1]) / sum(share):
                    break
            video = video.detach().clamp_(-1, 1)
        if on_progress:
            on_progress(1.0, "drew the frames")
        return video[:, :, 1:-1].contiguous()

    def steps(self, place: float) -> int:
        """Steps at a rung, from the coarsest (0) to the finest (1)."""
        first, last = self.num_steps
        return round(first ** (1 - place) * last**place)


def at_least(volume: Volume, frames: int) -> Volume:
    """A volume with so many frames or more."""
    return max(frames, volume[0]), volume[1], volume[2]


def patch_distance(video: Tensor, clip: Tensor, num_directions: int, generator: torch.Generator) -> float:
    """The sliced Wasserstein distance (order 1) of the patches of two videos `(1, 3, T, H, W)` of one height
    and width; what it teaches is added to `video.grad`, if it has one.

    Of a clip with more patches than the video, as many are drawn, and of one with fewer, some twice: whole
    frames of patches, at random.
    """
    directions = torch.randn(num_directions, 3 * DEPTH, PATCH, PATCH, generator=generator)
    directions /= directions.flatten(1).norm(dim=1)[:, None, None, None]
    mine, real = by_depth(video), by_depth(clip)
    chosen = [torch.randperm(len(real), generator=generator) for _ in range(-(-len(mine) // len(real)))]
    real = real[torch.cat(chosen)[: len(mine)]].detach()
    total = 0.0
    for part in directions.split(AT_ONCE):
        with torch.no_grad():
            target = F.conv2d(real, part).transpose(0, 1).flatten(1).numpy()  # d M T
        projected = F.conv2d(mine, part).transpose(0, 1).flatten(1)
        # the value of each rank is drawn to the real value of that rank
        order = np.argsort(projected.detach().numpy(), 1)
        ranked = np.empty_like(target)
        np.put_along_axis(ranked, order, np.sort(target, 1), 1)
        loss = (projected - torch.from_numpy(ranked)).abs().mean() * (len(part) / num_directions)
        if loss.requires_grad:
            loss.backward(retain_graph=True)
        total += float(loss.detach())
    return total


def by_depth(video: Tensor) -> Tensor:
    """`(1, 3, T, H, W)` as stacks of `DEPTH` frames, `(T - DEPTH + 1, 3 DEPTH, H, W)`: a convolution in two
    dimensions then sees space-time patches."""
    return video[0].unfold(1, DEPTH, 1).permute(1, 0, 4, 2, 3).flatten(1, 2)
