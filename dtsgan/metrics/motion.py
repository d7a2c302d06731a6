"""Whether a clip moves as much as the real one, at the same rates, and without jumps where it is joined."""

from itertools import pairwise

import torch
from torch import Tensor

from dtsgan.metrics.checks import check_clips
from dtsgan.metrics.spectra import ROUNDING_POWER

EPS = 1e-6  # far below what 8 bits can hold; the ratio of two standstills is then 1, not NaN


def frame_differences(clip: Tensor) -> Tensor:
    """Mean absolute difference of each frame from the next: `(B, C, T, H, W)` -> `(T - 1,)`."""
    return torch.stack([(b.float() - a.float()).abs().mean() for a, b in pairwise(clip.unbind(2))])


def motion_ratio(fake: Tensor, real: Tensor) -> float:
    """How much the fake changes from frame to frame, as a multiple of the real.

    Args:
        fake, real: clips `(B, C, T, H, W)`, values in `[-1, 1]`; only C must be equal.

    Returns:
        1 is perfect, 0 stands still, above 1 is too fast or flickers. Two standstills give 1.
    """
    check_clips("motion_ratio", fake, real)
    return ((frame_differences(fake).mean() + EPS) / (frame_differences(real).mean() + EPS)).item()


def welch_spectrum(clip: Tensor, segment: int) -> Tensor:
    """Power of each pixel over temporal frequencies, averaged over pixels, channels and samples (Welch 1967).

    Segments overlap by half, lose their mean and are tapered by a Hann window, as in `scipy.signal.welch`.
    Powers are averaged, not their logarithms, so that still pixels are silent instead of ruling.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`, T at least `segment`.
        segment: frames in a segment.

    Returns:
        `(segment // 2,)`, from one cycle a segment to half a cycle a frame; white noise of variance s^2 has
        power s^2 (nearly so in the first, which lost some with the mean).
    """
    window = torch.hann_window(segment, device=clip.device)[:, None, None]  # T 1 1
    starts = range(0, clip.shape[2] - segment + 1, segment // 2)
    power = torch.zeros(segment // 2, device=clip.device)
    for sample in clip:  # C T H W
        for start in starts:
            x = sample[:, start : start + segment].float()
            x = (x - x.mean(1, keepdim=True)) * window
            power += torch.fft.rfft(x, dim=1)[:, 1:].abs().square().mean((0, 2, 3))
    return power / (window.square().sum() * len(clip) * len(starts))


def temporal_spectrum_distance(fake: Tensor, real: Tensor, segment: int = 32) -> float:
    """Mean absolute difference of the normalised log temporal spectra: are the rates of motion right?

    Both spectra are scaled to one total power, since `motion_ratio` already says how much moves; what is left
    is which share of it is slow and which fast. The spectra are Welch's, so lengths may differ; the distance
    is the first of the log spectral distances of Gray & Markel 1976.

    Args:
        fake, real: clips `(B, C, T, H, W)`, values in `[-1, 1]`; only C must be equal. At least 4 frames.
        segment: frames in Welch's segments, or the shorter clip's length where that is less. Only numbers of
            one segment length compare.

    Returns:
        Decibels, 0 is perfect. A standstill counts as white rounding noise: far from anything that moves.
    """
    check_clips("temporal_spectrum_distance", fake, real, min_frames=4)
    segment = min(segment, fake.shape[2], real.shape[2])
    fake_power, real_power = (welch_spectrum(clip, segment) + ROUNDING_POWER for clip in (fake, real))
    shares = (fake_power / fake_power.sum()) / (real_power / real_power.sum())
    return (10 * torch.log10(shares)).abs().mean().item()


def loop_seam_ratio(clip: Tensor) -> float:
    """The jump from the last frame back to the first, as a multiple of an ordinary step.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`.

    Returns:
        1 is perfect: nobody can tell where the loop starts. A clip not made to loop is mostly far above 1.
    """
    check_clips("loop_seam_ratio", clip)
    seam = (clip[:, :, 0].float() - clip[:, :, -1].float()).abs().mean()
    return ((seam + EPS) / (frame_differences(clip).mean() + EPS)).item()


def chunk_seam_ratio(clip: Tensor, period: int) -> float:
    """Flicker where chunks of `period` frames were joined.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`; its first frame is the first of a chunk.
        period: frames in a chunk, at least 2 and less than T.

    Returns:
        Mean step from one chunk into the next over the mean step inside chunks: 1 is perfect, above 1 jumps.

    Raises:
        ValueError: if the period leaves no seam, or nothing but seams.
    """
    check_clips("chunk_seam_ratio", clip, min_frames=3)
    if not 2 <= period < clip.shape[2]:
        raise ValueError(f"period must be at least 2 and less than the {clip.shape[2]} frames, got {period}")
    steps = frame_differences(clip)  # steps[t] leads into frame t + 1
    at_seam = torch.arange(1, clip.shape[2], device=clip.device) % period == 0
    return ((steps[at_seam].mean() + EPS) / (steps[~at_seam].mean() + EPS)).item()
