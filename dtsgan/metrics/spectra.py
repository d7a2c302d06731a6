"""How the detail of the frames is spread over spatial frequencies, and whether a tile's edges meet.

A spectrum does not know where things are or when they happen, so it compares clips of any size, length and
number; it sees what an eye calls blur, grain or a grid.
"""

import torch
from torch import Tensor

from dtsgan.metrics.checks import check_clips

# Variance of rounding to 8 bits (steps of 2/255 on [-1, 1]). A video file could not have held what lies below
# it, so no spectrum here tells such powers apart; it also keeps the logarithm of a constant clip finite.
ROUNDING_POWER = (2 / 255) ** 2 / 12


def radial_power_spectrum(clip: Tensor, size: int) -> Tensor:
    """Mean power of the frames on rings of equal spatial frequency (van der Schaaf & van Hateren 1996).

    Each frame loses its mean and is tapered by a Hann window, so that its edges do not count as detail. White
    noise of variance s^2 has power s^2 on every ring.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`.
        size: rings are `1 / size` cycles a pixel wide; at most the shorter side.

    Returns:
        `(R,)`, on the CPU: rings from `1 / size` cycles a pixel to the corner of the spectrum, where
        checkerboards live; one less where an odd side has no such corner.
    """
    height, width = clip.shape[3:]
    hann_y, hann_x = (torch.hann_window(n, periodic=False, device=clip.device) for n in (height, width))
    window = torch.outer(hann_y, hann_x)  # H W

    power = torch.zeros(height, width, device=clip.device)
    for frames in clip.transpose(1, 2).flatten(0, 1).split(64):  # N C H W: bounds the memory
        frames = frames.float()
        centred = frames - frames.mean((2, 3), keepdim=True)
        power += torch.fft.fft2(centred * window).abs().square().sum((0, 1))
    power /= window.square().sum() * clip.shape[:3].numel()

    fy, fx = torch.meshgrid(torch.fft.fftfreq(height), torch.fft.fftfreq(width), indexing="ij")
    ring = (torch.hypot(fy, fx) * size).round().long().flatten()
    sums = torch.bincount(ring, power.flatten().cpu())  # on a GPU the order of this sum would be random
    return (sums / torch.bincount(ring).clamp(min=1))[1:]


def spatial_spectrum_distance(fake: Tensor, real: Tensor) -> float:
    """Mean absolute difference of the radially averaged log power spectra of the frames.

    The spectra are those that Durall et al. 2020 found generators to miss, the distance is the first of the
    log spectral distances of Gray & Markel 1976. The order of the frames and their mean colour leave it as it
    is.

    Args:
        fake, real: clips `(B, C, T, H, W)`, values in `[-1, 1]`; only C must be equal. At least 8 pixels.

    Returns:
        Decibels, 0 is perfect; 3 dB mean that the power of the detail is wrong by a factor of two.
    """
    check_clips("spatial_spectrum_distance", fake, real, min_frames=1, min_size=8)
    size = min(*fake.shape[3:], *real.shape[3:])
    fake_power, real_power = (radial_power_spectrum(clip, size) + ROUNDING_POWER for clip in (fake, real))
    num_rings = min(len(fake_power), len(real_power))
    return (10 * torch.log10(fake_power[:num_rings] / real_power[:num_rings])).abs().mean().item()


def tile_seam_ratio(clip: Tensor, axis: str) -> float:
    """How visible the seam is when a clip is laid beside itself.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`.
        axis: `"x"`, the right edge meets the left one, or `"y"`, the bottom meets the top.

    Returns:
        Mean absolute difference across the seam over that of neighbouring pixels inside: 1 is perfect, above
        1 a line shows. A constant clip has no seam: 1.

    Raises:
        ValueError: if `axis` is another word.
    """
    if axis not in ("x", "y"):
        raise ValueError(f"axis must be 'x' or 'y', got {axis!r}")
    check_clips("tile_seam_ratio", clip, min_frames=1, min_size=2)
    lines = clip.float().movedim(4 if axis == "x" else 3, 0)  # the lines that run along the seam come first
    seam = (lines[0] - lines[-1]).abs().mean()
    inside = lines.diff(dim=0).abs().mean()
    return ((seam + 1e-6) / (inside + 1e-6)).item()
