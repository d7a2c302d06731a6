"""The ladder of scales: how large each rung is, how a clip is cut down to it and brought up from it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.config import PyramidConfig

Size = tuple[int, int]  # height, width


def scale_sizes(config: PyramidConfig, height: int, width: int) -> list[Size]:
    """`(height, width)` of every scale, coarse to fine, for a clip whose shorter side becomes `max_size`."""
    short = min(height, width)
    return [(round(height * side / short), round(width * side / short)) for side in config.sides()]


def resize(clip: Tensor, size: Size) -> Tensor:
    """Resizes `(B, C, T, H, W)` in space with antialiasing; values stay in [-1, 1], the length is kept."""
    if tuple(clip.shape[-2:]) == tuple(size):
        return clip
    batch, _, frames = clip.shape[:3]
    flat = clip.transpose(1, 2).flatten(0, 1)  # BT C H W
    flat = F.interpolate(flat, size, mode="bicubic", antialias=True, align_corners=False).clamp_(-1, 1)
    return flat.unflatten(0, (batch, frames)).transpose(1, 2).contiguous()


def fit_picture(picture: Tensor, size: Size) -> Tensor:
    """`(B, 3, H, W)` of any size as `(B, 3, *size)`: resized with antialiasing until it covers the frame, its
    middle cut out."""
    height, width = picture.shape[-2:]
    factor = max(size[0] / height, size[1] / width)
    covering = max(size[0], round(height * factor)), max(size[1], round(width * factor))
    covered = resize(picture[:, :, None], covering)[:, :, 0]
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return covered[..., top : top + size[0], left : left + size[1]].contiguous()


def build_pyramid(clip: Tensor, sizes: list[Size]) -> list[Tensor]:
    """The clip at every scale, coarse to fine; at its own size it is the clip itself."""
    return [resize(clip, size) for size in sizes]


@dataclass(frozen=True)
class Upsampling:
    """`up()` of Eq. 2 along one axis, for a window of the finer scale: a small matrix and the place it
    reads."""

    start: int  # the first coarse coordinate that is read
    weights: Tensor  # fine coordinates x coarse coordinates, rows sum to 1

    @property
    def stop(self) -> int:
        return self.start + self.weights.shape[1]


def upsampling(coords: Tensor, coarse: int, fine: int, clamp: bool) -> Upsampling:
    """Cubic interpolation (Keys 1981, a = -1/2) from a side of `coarse` pixels to the given fine coordinates.

    Args:
        coords: int64, coordinates on a side of `fine` pixels. With `clamp` those beyond the side repeat its
            border, as those of an anchored scene do; without, the plane goes on for ever.

    The weights depend on absolute coordinates alone, so any window of a canvas reads the same values, and
    since a side of `coarse` maps onto a side of `fine` exactly, what is periodic stays so.
    """
    if clamp:
        coords = coords.clamp(0, fine - 1)
    position = (coords.double() + 0.5) * (coarse / fine) - 0.5
    base = position.floor().long()
    offset = position - base
    taps = torch.stack([base + k for k in (-1, 0, 1, 2)], 1)
    distance = torch.stack([(offset - k).abs() for k in (-1, 0, 1, 2)], 1)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    values = torch.where(distance <= 1, near, far)
    if clamp:
        taps = taps.clamp(0, coarse - 1)
    start, stop = int(taps.min()), int(taps.max()) + 1
    weights = torch.zeros(len(coords), stop - start, dtype=torch.float64, device=coords.device)
    weights.scatter_add_(1, taps - start, values)
    return Upsampling(start, weights.float())


def upsample(clip: Tensor, rows: Upsampling, columns: Upsampling) -> Tensor:
    """Enlarges `(B, C, T, h, w)`, the coarse window that `rows` and `columns` read, to the fine window."""
    return rows.weights.to(clip) @ clip @ columns.weights.to(clip).T


def smoothed(frames: Tensor) -> Tensor:
    """Frames `(..., h, w)` without their fine detail: the binomial average 1 4 6 4 1 both ways."""
    # not a convolution, whose order of summing may depend on the batch
    smooth = F.pad(frames.flatten(0, -3), (2, 2, 2, 2), mode="replicate").unflatten(0, frames.shape[:-2])
    for dim, side in ((-2, frames.shape[-2]), (-1, frames.shape[-1])):
        for length in range(side + 3, side - 1, -1):  # four averages of two make the binomial
            smooth = smooth.narrow(dim, 0, length) + smooth.narrow(dim, 1, length)
    return smooth / 2**8


def is_stationary_in_space(clip: Tensor) -> bool:
    """Whether a clip `(1, C, T, H, W)` looks alike everywhere: a texture, and not a scene whose places
    differ.

    In a texture every place has the same distribution over time, so the mean over time tends to one colour
    and the deviation over time to one value. The thresholds leave room for the few independent frames of a
    short video.
    """
    mean, deviation = clip[0].mean(1), clip[0].std(1)  # C H W
    between, within = mean.var((1, 2)).mean(), deviation.square().mean()
    share = float(between / (between + within).clamp(min=1e-12))
    activity = deviation.mean(0)
    unevenness = float(activity.std() / activity.mean().clamp(min=1e-6))
    return share < 0.15 and unevenness < 0.25
