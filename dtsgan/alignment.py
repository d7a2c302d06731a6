"""Two pictures of about the same, moved to meet: a fade between them then shows an outline once, not twice.

That is a morph (Beier & Neely 1992, "Feature-based image metamorphosis") whose correspondences are found by
block matching, coarse to fine. Both pictures move, equally far in opposite directions, so neither is the one
that is right. Where several ways are about as good their mean is taken: what looks alike everywhere need not
move.

A flow `(N, 2, h, w)` is how far each place moves, across and down, in halves of a picture's width and height,
as `torch.nn.functional.grid_sample` counts; so it is the same for each size of the picture.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.pyramid import smoothed

LEVELS = (4, 2)  # so many pixels are taken together, and a picture moves by one such step at most
# in units of how far the two pictures are apart in the mean:
NEAR = 0.1  # what a step costs, times its square
SOFT = 0.05  # ways that cost so much more than the best count about 1/e of it
SAME = 1e-3  # added to that unit, or the noise of two pictures that are alike would decide


def align(first: Tensor, second: Tensor, share: Tensor) -> list[Tensor]:
    """Pictures `(N, 3, h, w)`, float32 in [-1, 1], moved to where they meet in a fade that shows `share`
    `(N, 1, 1, 1)` of the second: each the further, the less is shown of it."""
    flow = half_flow(first, second)
    return [warp(first, -2 * share * flow), warp(second, 2 * (1 - share) * flow)]


def half_flow(first: Tensor, second: Tensor) -> Tensor:
    """The flow with which `second`, and against which `first`, are most alike: `(N, 2, h/2, w/2)`."""
    apart: Tensor | None = None
    flow = first.new_zeros(len(first), 2, 1, 1)
    for pixels in LEVELS:
        size = [-(-side // pixels) for side in first.shape[2:]]
        one, other = (F.interpolate(each, size, mode="area") for each in (first, second))
        if apart is None:
            apart = (one - other).square().sum(1).mean((1, 2))[:, None, None] + SAME
        flow = F.interpolate(flow, size, mode="bilinear")
        flow = flow + _step(warp(one, -flow), warp(other, flow), apart)
    return flow


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """What `(N, 3, h, w)` show where a flow, of any size, leads from each place; beyond the border its pixels
    are repeated."""
    size = pictures.shape[2:]
    down, across = ((2 * torch.arange(side, device=flow.device) + 1) / side - 1 for side in size)
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"))  # 2 h w
    grid = places + F.interpolate(flow, size, mode="bilinear")
    return F.grid_sample(
        pictures, grid.movedim(1, -1), mode="bicubic", padding_mode="border", align_corners=False
    )


def _step(first: Tensor, second: Tensor, apart: Tensor) -> Tensor:
    """The mean of steps of at most one pixel each way, by their costs: a flow `(N, 2, h, w)`."""
    height, width = first.shape[2:]
    first, second = (F.pad(each, (1, 1, 1, 1), mode="replicate") for each in (first, second))
    steps = list(product((-1, 0, 1), repeat=2))  # down and across
    differences = [
        first[:, :, 1 - y :, 1 - x :][:, :, :height, :width]
        - second[:, :, 1 + y :, 1 + x :][:, :, :height, :width]
        for y, x in steps
    ]
    costs = smoothed(torch.stack([each.square().sum(1) for each in differences], 1))  # N 9 h w
    lengths = torch.tensor([y * y + x * x for y, x in steps], device=costs.device)[:, None, None]
    costs = costs / apart[:, None] + NEAR * lengths
    # about exp(-costs / SOFT), by operations that give the same wherever they are done
    shares = 1 / (1 + (costs - costs.amin(1, keepdim=True)) / (8 * SOFT)).square().square().square()
    shares = shares / shares.sum(1, keepdim=True)
    down, across = (
        sum(share * way for share, way in zip(shares.unbind(1), ways, strict=True)) * 2 / side
        for ways, side in zip(zip(*steps, strict=True), (height, width), strict=True)
    )
    return smoothed(smoothed(torch.stack([across, down], 1)))
