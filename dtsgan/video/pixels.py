"""What reading and writing share: bytes and floats, and how colours are converted with care."""

import os
from typing import Any

import numpy as np
import torch
from av.video.reformatter import Interpolation
from torch import Tensor

from dtsgan.errors import VideoError

PathLike = str | os.PathLike[str]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # H W C
# Without these flags chroma is repeated, not interpolated: twice the error on coloured texture.
CAREFUL = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
)


def from_uint8(frames: Pixels) -> Tensor:
    """`(B, T, H, W, C)` of bytes to a clip `(B, C, T, H, W)` in [-1, 1]."""
    return torch.from_numpy(frames).movedim(-1, 1).contiguous().float().div_(127.5).sub_(1)


def to_uint8(clip: Tensor) -> Pixels:
    """A clip `(B, C, T, H, W)` to `(B, T, H, W, C)` of bytes, rounded; undoes `from_uint8` exactly."""
    values = clip.detach().float().cpu()
    if values.isnan().any():
        raise VideoError(
            "the clip holds values that are not numbers (NaN): the model that drew it has diverged"
        )
    return values.add(1).mul_(127.5).round_().clamp_(0, 255).byte().movedim(1, -1).contiguous().numpy()
