"""Structural similarity, frame by frame: the paper's MS-SSIM, with its parameters written out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.metrics.checks import check_clips

WINDOW = 7  # taps; the usual 11 would need frames of 161 pixels at five scales
SIGMA = 1.5 * WINDOW / 11  # the usual 1.5, scaled with the window
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales (Wang et al. 2003)
K1, K2 = 0.01, 0.03
MIN_SIZE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
MAX_FRAMES = 16


def spread_frames(length: int, count: int) -> list[int]:
    """Up to `count` frame numbers below `length`, evenly spaced from the first to the last."""
    return torch.linspace(0, length - 1, min(count, length)).round().long().tolist()


def ms_ssim(fake: Tensor, real: Tensor, max_frames: int = MAX_FRAMES) -> float:
    """Multi-scale structural similarity of each frame to the real one of the same number (Wang et al. 2003).

    Five dyadic scales of a 7 x 7 Gaussian window of sigma 0.95, since the usual 11 x 11 window has no room in
    150 pixels. Same constants and weights as ever; channels are averaged. It asks for the *same* video: a
    memorised copy is perfect, other footage of the same texture is not. Read it beside its floors.

    Args:
        fake, real: clips `(B, C, T, H, W)` and `(1, C, T', H, W)`, values in `[-1, 1]`, at least 97 pixels.
        max_frames: frames compared, evenly spaced over the length that the two share.

    Returns:
        1 is the same video; unlike frames are near 0.

    Raises:
        ValueError: if the sizes differ or there is no room for the window at the fifth scale.
    """
    check_clips("ms_ssim", fake, real, min_frames=1, min_size=MIN_SIZE)
    if fake.shape[3:] != real.shape[3:]:
        raise ValueError(f"ms_ssim needs equal sizes, got {[*fake.shape[3:]]} and {[*real.shape[3:]]}")
    frames = spread_frames(min(fake.shape[2], real.shape[2]), max_frames)
    total = 0.0
    for t in frames:
        total += frame_ms_ssim(fake[:, :, t], real[:1, :, t].expand_as(fake[:, :, t])).mean().item()
    return total / len(frames)


def frame_ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Pictures `(N, C, H, W)` in `[-1, 1]` -> `(N,)`."""
    taps = torch.arange(WINDOW, device=x.device, dtype=torch.float32) - WINDOW // 2
    gaussian = torch.exp(-(taps**2) / (2 * SIGMA**2))
    gaussian = gaussian / gaussian.sum()

    def blur(z: Tensor) -> Tensor:
        channels = z.shape[1]
        across = gaussian.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
        return F.conv2d(F.conv2d(z, across, groups=channels), across.mT, groups=channels)

    x, y = (x.float() + 1) / 2, (y.float() + 1) / 2
    c1, c2 = K1**2, K2**2
    terms = []
    for scale in range(len(WEIGHTS)):
        if scale:
            odd = [x.shape[2] % 2, x.shape[3] % 2]  # zeros beside an odd side, as the usual implementations
            x, y = (F.avg_pool2d(z, 2, padding=odd) for z in (x, y))
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        structure = (2 * covariance + c2) / (var_x + var_y + c2)
        last = scale == len(WEIGHTS) - 1
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) if last else 1.0
        terms.append((luminance * structure).mean((2, 3)).relu())  # N C; a negative root would be complex
    weights = torch.tensor(WEIGHTS, device=x.device).view(-1, 1, 1)
    return (torch.stack(terms) ** weights).prod(0).mean(1)
