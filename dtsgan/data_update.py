"""Which part of the video is the training clip at a given step (section 3.3; Table 3 compares the three)."""

from typing import Literal

import torch

from dtsgan import noise

HELD = 2000  # clips that stay for some steps are drawn as by a scale that no pyramid has


def window_starts(
    update: Literal["neighbour", "single", "random"],
    step: int,
    every: int,
    stride: int,
    num_starts: int,
    batch_size: int,
    generator: torch.Generator,
    seed: int,
    scale: int,
) -> list[int]:
    """First frames of the training clips of one step, each in `range(num_starts)`.

    Args:
        update: `single` keeps the first clip for ever; `neighbour` moves on by `stride` frames every `every`
            generator steps and turns back at either end; `random` draws anew.
        generator: the step's own, so that a resumed run sees the same clips.
        seed, scale: of the training, and what is trained: they name the random clips that stay for `every`
            steps, whose generator none of these steps has.
    """
    if update == "single":
        return [0] * batch_size
    if update == "random":
        draw = generator
        if every > 1:
            draw = noise.step_generator(seed, HELD + scale, step // every)
        return torch.randint(num_starts, (batch_size,), generator=draw).tolist()
    return [turned(stride * (step // every + k), num_starts) for k in range(batch_size)]


def turned(position: int, length: int) -> int:
    """A position that walks along `range(length)` and turns back at both ends."""
    if length == 1:
        return 0
    position %= 2 * (length - 1)
    return min(position, 2 * (length - 1) - position)
