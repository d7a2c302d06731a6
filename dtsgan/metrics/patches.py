"""Space-time patches: are they distributed as the real ones are, are they copies, do samples differ?"""

from collections.abc import Sequence
from itertools import chain
from math import log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.metrics.checks import check_clips

VARIANTS = ("raw", "zero_mean", "motion")
EPS = 1e-6  # far below what 8 bits can hold; the ratio of two standstills is then 1, not NaN


def patch_windows(clip: Tensor, size: tuple[int, int, int]) -> Tensor:
    """All patches, as a view: `(B, C, T, H, W)` -> `(B, T', H', W', t, h, w, C)`, T' = T - t + 1 etc."""
    t, h, w = size
    channels_last = clip.movedim(1, -1).contiguous()  # longer runs in memory: patches are read 5 times faster
    windows = channels_last.unfold(1, t, 1).unfold(2, h, 1).unfold(3, w, 1)  # B T' H' W' C t h w
    return windows.movedim(4, -1)


def draw_patches(clip: Tensor, size: tuple[int, int, int], count: int) -> Tensor:
    """`count` patches `(count, t * h * w * C)` from fixed places, the same in all clips of one shape.

    The places are a scrambled Sobol sequence (Owen 1998): they cover space and time evenly, so that clips of
    different length are seen alike. Independent places would double the sampling error of the scores.
    """
    windows = patch_windows(clip, size)
    unit = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(count, dtype=torch.float64)  # N 4
    places = (unit * torch.tensor(windows.shape[:4])).long().to(clip.device)
    return windows[places.unbind(1)].flatten(1)


def laplacian_pyramid(clip: Tensor, num_levels: int) -> list[Tensor]:
    """Bands of spatial detail, an octave each, and the low-pass rest last (Burt & Adelson 1983).

    Each level has half the height and width of the one before; together they hold the clip.
    """
    bands = []
    for _ in range(num_levels - 1):
        coarser = F.avg_pool3d(clip, (1, 2, 2))
        bands.append(clip - F.interpolate(coarser, clip.shape[2:], mode="trilinear"))
        clip = coarser
    return [*bands, clip]


class PatchProjections:
    """The patches of a clip on fixed directions, each direction's values in order: what a distance needs.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`, at least 5 frames (6 for `"motion"`) and 14 pixels.
        variants: some of `VARIANTS`; those that look at the same patches cost little more than one.
        patch_size: frames, rows and columns of a patch.
        num_levels: levels of the pyramid; fewer where frames would not hold two patches.
        num_projections: unit vectors, the same in every call.
        num_patches: patches from each level; it bounds the memory whatever the size of the clip.

    Raises:
        ValueError: if a variant is unknown or the clip has no room for the patches.
    """

    def __init__(
        self,
        clip: Tensor,
        variants: Sequence[str] = VARIANTS,
        patch_size: tuple[int, int, int] = (5, 7, 7),
        num_levels: int = 3,
        num_projections: int = 64,
        num_patches: int = 16384,
    ) -> None:
        if unknown := [variant for variant in variants if variant not in VARIANTS]:
            raise ValueError(f"variant must be one of {VARIANTS}, got {unknown[0]!r}")
        min_size = 2 * max(patch_size[1:])
        check_clips(
            "sliced_wasserstein", clip, min_frames=patch_size[0] + ("motion" in variants), min_size=min_size
        )
        dim = torch.Size(patch_size).numel() * clip.shape[1]
        rng = torch.Generator().manual_seed(0)
        directions = F.normalize(torch.randn(dim, num_projections, generator=rng), dim=0).to(clip.device)
        # to centre each channel of a patch and project it is to project it on a centred direction
        by_voxel = directions.unflatten(0, (-1, clip.shape[1]))  # t*h*w C P
        centred = (by_voxel - by_voxel.mean(0)).flatten(0, 1)
        num_levels = min(num_levels, int(log2(min(clip.shape[3:]) / min_size)) + 1)

        self.levels: dict[str, list[Tensor]] = {variant: [] for variant in variants}  # each P N, ascending

        def project(x: Tensor, onto: dict[str, Tensor]) -> None:
            if not onto:
                return
            for level in laplacian_pyramid(x, num_levels):
                patches = draw_patches(level, patch_size, num_patches)  # N t*h*w*C
                for variant, vectors in onto.items():
                    self.levels[variant].append((patches @ vectors).T.sort(dim=1).values)

        still = {"raw": directions, "zero_mean": centred}
        project(clip.float(), {v: still[v] for v in variants if v in still})
        project(clip.float().diff(dim=2), {v: directions for v in variants if v == "motion"})

    def distance(self, other: "PatchProjections", variant: str) -> float:
        """Mean over levels and directions of W1, over the levels that both clips have."""
        pairs = zip(self.levels[variant], other.levels[variant], strict=False)
        return torch.stack([(x - y).abs().mean() for x, y in pairs]).mean().item()


def sliced_wasserstein(fake: Tensor, real: Tensor, variant: str = "raw", **settings: Any) -> float:
    """Sliced Wasserstein distance of the space-time patches (Rabin et al. 2012, Bonneel et al. 2015).

        mean over levels and unit vectors w of  W1({<w, p> : p in fake}, {<w, q> : q in real})

    On a line the optimal transport only sorts. W1 of the patches of a Laplacian pyramid is the score of
    Karras et al. 2018 (Sec. 5), here with a time axis and without its rescaling of each level, which would
    hide lost contrast; GPDM (Elnekave & Weiss 2022) minimises it on plain patches, where colour drowns the
    detail. Random directions in many dimensions see how strong the contrast of a patch is, but hardly how it
    is arranged: raw patches take shuffled frames for real ones, and no variant knows a filament from a blot.
    A model trained on this distance is good at it by construction: judge that one by the other scores.

    Args:
        fake, real: clips `(B, C, T, H, W)`, values in `[-1, 1]`; only C must be equal.
        variant: `"raw"` patches; `"zero_mean"`, each channel of a patch centred, so that texture counts and
            colour does not; `"motion"`, patches of the differences of consecutive frames.
        settings: of `PatchProjections`.

    Returns:
        In units of pixel values, 0 is perfect. Two clips of one process differ by chance: see `floors`.

    Raises:
        ValueError: if the variant is unknown or a clip has no room for the patches.
    """
    check_clips("sliced_wasserstein", fake, real, min_frames=1)
    x, y = (PatchProjections(clip, [variant], **settings) for clip in (fake, real))
    return x.distance(y, variant)


def sliced_wasserstein_scores(fake: Tensor, real: Tensor | PatchProjections) -> dict[str, float]:
    """`sliced_wasserstein` of all variants in one pass, the real clip as such or with its part done."""
    y = real if isinstance(real, PatchProjections) else PatchProjections(real)
    if isinstance(real, Tensor):
        check_clips("sliced_wasserstein", fake, real)
    x = PatchProjections(fake)
    return {variant: x.distance(y, variant) for variant in VARIANTS}


def nearest_patches(queries: Tensor, clip: Tensor, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The nearest of all patches of a clip: an exact search, one frame a block.

    Args:
        queries: `(N, t * h * w * C)`, patches of `size`.
        clip: `(B, C, T, H, W)`.
        size: frames, rows and columns of a patch.

    Returns:
        `(N,)`, root of the mean squared difference of values, and `(N,)`, the patch's number in
        `patch_windows(clip, size)`.
    """
    nearest = torch.zeros_like(queries)
    best = torch.full(queries.shape[:1], torch.inf, device=queries.device)
    place = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    seen = 0
    for block in chain.from_iterable(patch_windows(clip, size)):  # H' W' t h w C
        patches = block.flatten(2).flatten(0, 1)  # M t*h*w*C
        # |q - p|^2 less |q|^2, which is the same for all p; rounding may take a twin for the nearest, no more
        score, index = torch.addmm(patches.square().sum(1), queries, patches.T, alpha=-2).min(1)
        closer = score < best
        best = torch.where(closer, score, best)
        nearest[closer] = patches[index[closer]]
        place[closer] = index[closer] + seen
        seen += len(patches)
    return (queries - nearest).square().mean(1).sqrt(), place


def nearest_distance(queries: Tensor, clip: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Distance of each query from the nearest patch of a clip, `(N,)`; see `nearest_patches`."""
    return nearest_patches(queries, clip, size)[0]


class CopySource:
    """A real clip as copies are sought in it: frames of about 36 pixels (what is copied there is a copy,
    whatever its grain), and how far the clip's halves are from each other's nearest patches.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`, of at least twice as many frames as a patch has.
        patch_size: frames, rows and columns of a patch at the reduced size.
        num_patches: patches drawn from the halves together, and from each fake.

    Raises:
        ValueError: if the clip has no room for the patches.
    """

    def __init__(
        self, clip: Tensor, patch_size: tuple[int, int, int] = (5, 11, 11), num_patches: int = 512
    ) -> None:
        check_clips("copy_score", clip, min_size=max(patch_size[1:]))
        if clip.shape[2] < 2 * patch_size[0]:
            raise ValueError(
                f"copy_score needs {2 * patch_size[0]} frames of the real clip, got {clip.shape[2]}"
            )
        self.patch_size, self.num_patches = patch_size, num_patches
        self.clip = self.reduced(clip)
        first, second = self.clip.tensor_split(2, dim=2)
        there, back = (self.distance(a, b, num_patches // 2) for a, b in ((first, second), (second, first)))
        self.unseen = (there + back) / 2

    @staticmethod
    def reduced(clip: Tensor) -> Tensor:
        factor = max(1, round(min(clip.shape[3:]) / 36))
        return F.avg_pool3d(clip.float(), (1, factor, factor))

    def distance(self, clip: Tensor, source: Tensor, count: int) -> Tensor:
        """Mean distance of `count` patches of a reduced clip from the nearest ones of another."""
        return nearest_distance(draw_patches(clip, self.patch_size, count), source, self.patch_size).mean()


def copy_score(fake: Tensor, real: Tensor | CopySource, **settings: Any) -> float:
    """How far fake patches are from the nearest real ones, as a multiple of how far unseen real footage is.

    The three samples of Meehan et al. 2020 (generated, training, held out), where the two halves of the real
    clip are held out from each other. A bland fake is near to everything and falls below 1 as well (the still
    mean of a waving flag: 0.7), so a low score accuses a fake only if it passes the others. Shuffled frames
    and a reversed clip count as new, since their patches of several frames are.

    Args:
        fake, real: clips `(B, C, T, H, W)`, values in `[-1, 1]`; only C must be equal. The real one with its
            part of the work done will do, too.
        settings: of `CopySource`, where a clip is given.

    Returns:
        Near 0 are copies, about 1 is as new as unseen footage, above 1 is unlike the real clip. Two
        standstills give 1.

    Raises:
        ValueError: if a clip has no room for the patches.
    """
    source = real if isinstance(real, CopySource) else CopySource(real, **settings)
    t, h, w = source.patch_size
    check_clips("copy_score", fake, source.clip, min_frames=t, min_size=max(h, w))
    found = source.distance(source.reduced(fake), source.clip, source.num_patches)
    return ((found + EPS) / (source.unseen + EPS)).item()


def diversity(fake: Tensor, real: Tensor) -> float:
    """How much samples differ from each other, as a multiple of how much the real clip changes over time.

    SinGAN's measure (Shaham et al. 2019) for video: the deviation of each voxel over the samples, over that
    of each real pixel over time; a stationary process has both the same. Variances are averaged before the
    root is taken, because a mean of deviations would depend on B (at B = 2 only 0.80 of it is left).

    Args:
        fake: samples `(B, C, T, H, W)`, values in `[-1, 1]`, B at least 2.
        real: a clip `(B', C, T', H', W')`.

    Returns:
        1 is perfect, 0 is one video drawn again and again. Two standstills give 1.

    Raises:
        ValueError: if there is only one sample.
    """
    check_clips("diversity", fake, real, min_frames=1)
    if len(fake) < 2 or real.shape[2] < 2:
        raise ValueError(
            f"diversity needs at least 2 samples and 2 real frames, got {len(fake)} and {real.shape[2]}"
        )
    over_samples = fake.float().var(0).mean().sqrt()
    over_time = real.float().var(2).mean().sqrt()
    return ((over_samples + EPS) / (over_time + EPS)).item()
