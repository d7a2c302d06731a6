"""The nearest-neighbour field: where each patch of a fake comes from, and how near it comes."""

import zlib

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.metrics.checks import check_clips
from dtsgan.metrics.patches import nearest_patches, patch_windows

PATCH = (3, 3, 3)
SIDE = 25  # pixels of the shorter side, about, to which clips are reduced; the coarsest scale's
MAX_FRAMES = 16


def nearest_neighbour_scores(fake: Tensor, real: Tensor) -> dict[str, float]:
    """NNFDIV and NNFDIST (Nikankin, Haim & Irani 2022, SinFusion, section 7.2).

    For each 3 x 3 x 3 patch of the fake the nearest patch of the real clip is sought, exactly. Where the fake
    replays the real clip, all point the same way and the field of offsets is simple; where it rearranges it,
    the field is complex. Its complexity is how far zlib can compress it.

    The authors search approximately, at full size and length; here both clips are first reduced to about 25
    pixels and the first 16 frames of the fake are searched for, so values compare with each other and with
    their floors, not with those of the paper.

    Args:
        fake, real: clips `(1, C, T, H, W)`, values in `[-1, 1]`; only C must be equal.

    Returns:
        `"diversity"`: bytes of the compressed field over its bytes, near 0 for a copy. It knows nothing of
        quality: noise is the most diverse of all. `"distance"`: mean squared difference from the nearest
        patch, 0 for a copy.
    """
    check_clips("nearest_neighbour_scores", fake, real, min_frames=PATCH[0], min_size=PATCH[1])
    factor = max(1, round(min(real.shape[3:]) / SIDE))
    queries_from, clip = (
        F.avg_pool3d(c.float(), (1, factor, factor)) for c in (fake[:1, :, :MAX_FRAMES], real)
    )
    windows = patch_windows(queries_from, PATCH)[0]  # T' H' W' t h w C
    field = windows.shape[:3]
    distance, index = nearest_patches(windows.flatten(3).flatten(0, 2), clip, PATCH)
    sizes = [n - p + 1 for n, p in zip(clip.shape[2:], PATCH, strict=True)]
    _, *found = torch.unravel_index(index.cpu(), (clip.shape[0], *sizes))
    own = torch.meshgrid(*(torch.arange(n) for n in field), indexing="ij")
    offsets = torch.stack([f.view(field) - o for f, o in zip(found, own, strict=True)])  # 3 T' H' W'
    stored = (offsets % 256).to(torch.uint8).contiguous().numpy().tobytes()
    return {
        "diversity": len(zlib.compress(stored)) / len(stored),
        "distance": distance.square().mean().item(),
    }
