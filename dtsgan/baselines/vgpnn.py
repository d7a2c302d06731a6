"""VGPNN: Haim, Feinstein, Granot, Shocher, Bagon, Dekel, Irani, "Diverse Generation from a Single Video Made
Possible", ECCV 2022.

Nothing is learned. At the coarsest rung of a space-time pyramid a part of the clip gets noise; then, rung by
rung, every space-time patch (a query) is replaced by the clip's patch (a value) whose blurred self (its key)
is nearest, overlapping patches are averaged, and the result is enlarged. A real patch that no query is near
to is favoured, so that the whole clip gets its turn: the distance D(q, k) is divided by alpha + min_q D(q, k)
("completeness", after Simakov et al. 2008 and Granot et al. 2022).

Small rungs are searched exhaustively, large ones by PatchMatch (Barnes et al. 2009) in three dimensions: a
good match is handed to the neighbours, near and far, and improved by trials around it. It starts from the
matches of the rung below.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length
from dtsgan.baselines.space_time import Volume, resize_volume, rungs, shrunk

PATCH: Volume = (3, 7, 7)  # frames, rows, columns
SIDE, FRAMES = 15, 3  # the smallest rung
EXHAUSTIVE = 2**24  # pairs of patches up to which all are compared
NUM_FEATURES = 32  # principal components of a patch in which PatchMatch compares
SAMPLED = 20_000  # patches that the components are found on
JUMPS = (8, 4, 2, 1)  # from how far a match is taken over, one an iteration
TRIALS = 4  # random ones an iteration, each in a quarter of the space of the one before
AT_ONCE = 2**22  # distances that are held in memory
CHUNK = 2**16  # patches that PatchMatch compares at once

Coordinates = list[Tensor]  # of patches' first corners: frame, row, column


class VGPNN:
    """Shapes: a patch has p = 3 * 3 * 7 * 7 values; there are Q of the video and K of the clip."""

    name = "VGPNN"

    def __init__(
        self,
        noise: float = 2.0,
        alpha: float | None = 1.0,
        space_factor: float = 0.82,
        time_factor: float = 0.87,
        em_steps: tuple[int, int] = (5, 2),
        iterations: int = 4,
    ) -> None:
        """
        Args:
            noise: deviation of what is added at the coarsest rung, the same in each of its frames; the clip
                is in [-1, 1].
            alpha: small favours completeness; None does without it, in half the time.
            em_steps: how often all patches are replaced at the second rung and at the finest.
            iterations: of PatchMatch.
        """
        if noise < 0:
            raise ValueError(f"noise must not be negative, got {noise}")
        if alpha is not None and alpha <= 0:
            raise ValueError(f"alpha must be above 0, or None; got {alpha}")
        if not (0 < space_factor < 1 and 0 < time_factor <= 1):
            raise ValueError(f"factors must be between 0 and 1, got {space_factor} and {time_factor}")
        if min(em_steps) < 1 or iterations < 1:
            raise ValueError(f"em_steps and iterations must be at least 1, got {em_steps} and {iterations}")
        self.noise, self.alpha = noise, alpha
        self.factors = space_factor, time_factor
        self.em_steps, self.iterations = em_steps, iterations

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """Keeps `(1, 3, N, H, W)`. See `Baseline.fit`."""
        check_clip(clip, self.name, num_frames=FRAMES, side=SIDE)
        self.clip = clip.clone()
        if on_progress:
            on_progress(1.0, "kept the clip")

    @torch.no_grad()
    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """Draws from as much of the clip as it is asked for, at a random place; what is longer than the clip
        begins as the clip over and over. See `Baseline.sample`."""
        check_length(num_frames)
        began = time.monotonic()
        source: Volume = (self.clip.shape[2], self.clip.shape[3], self.clip.shape[4])
        goal: Volume = (max(num_frames, FRAMES), *source[1:])
        ladder = rungs(goal, *self.factors, side=SIDE, frames=FRAMES)
        steps = [1] + [self.steps(n / max(1, len(ladder) - 2)) for n in range(len(ladder) - 1)]
        work = [count * rung[0] ** 2 * rung[1] for count, rung in zip(steps, ladder, strict=True)]
        video = values = self.clip
        match = Match(self.alpha, self.iterations, generator)
        for n, rung in enumerate(ladder):
            coarser, values = values, resize_volume(self.clip, held(shrunk(source, rung)))
            volume = held(shrunk(goal, rung))
            if n == 0:
                keys, video = values, self.first_guess(values, volume, generator)
            else:
                keys, video = resize_volume(coarser, volume_of(values)), resize_volume(video, volume)
            match.enter(volume, volume_of(values))
            for step in range(steps[n]):
                found = match.search(video[0], (keys if step == 0 else values)[0])
                video = vote(found, volume, values[0])[None]
                done = (sum(work[:n]) + work[n] * (step + 1) / steps[n]) / sum(work)
                if on_progress:
                    on_progress(min(1.0, done), f"rung {n + 1} of {len(ladder)}")
                if seconds is not None and time.monotonic() - began > seconds * sum(work[: n + 1]) / sum(
                    work
                ):
                    break
        if on_progress:
            on_progress(1.0, "drew the frames")
        return video[:, :, :num_frames].clamp(-1, 1).contiguous()

    def steps(self, place: float) -> int:
        """Replacements at a rung, from the second (0) to the finest (1)."""
        first, last = self.em_steps
        return round(first + (last - first) * place)

    def first_guess(self, values: Tensor, volume: Volume, generator: torch.Generator) -> Tensor:
        """A random window of the coarsest clip, with noise that is the same in every frame."""
        starts = max(1, values.shape[2] - volume[0] + 1)
        start = int(torch.randint(starts, (), generator=generator))
        window = values[:, :, (start + torch.arange(volume[0])) % values.shape[2]]
        noise = torch.randn(1, 3, 1, *volume[1:], generator=generator)
        return window + self.noise * noise


class Match:
    """Which patch of the clip stands for each patch of the video, carried from step to step and up the
    ladder, and the reverse, by which a neglected patch is known."""

    def __init__(self, alpha: float | None, iterations: int, generator: torch.Generator) -> None:
        self.alpha, self.iterations, self.generator = alpha, iterations, generator
        self.forth: Coordinates | None = None  # in the clip, of each patch of the video
        self.back: Coordinates | None = None  # in the video, of each patch of the clip
        self.sizes: tuple[Volume, Volume] | None = None

    def enter(self, video: Volume, clip: Volume) -> None:
        """Goes to a rung of other sizes."""
        before, self.sizes = self.sizes, (video, clip)
        if before and self.forth:
            self.forth = enlarged(self.forth, before, self.sizes)
        if before and self.back:
            self.back = enlarged(self.back, before[::-1], self.sizes[::-1])

    def search(self, video: Tensor, clip: Tensor) -> Coordinates:
        """The corners of the patches of `clip` `(3, T, H, W)` to put in the place of those of `video`."""
        q_grid, k_grid = grid(volume_of(video)), grid(volume_of(clip))
        pairs = count(q_grid) * count(k_grid)
        if pairs <= EXHAUSTIVE or self.forth is None:
            queries, keys = patches(video), patches(clip)
            weights = None
            if self.alpha is not None:
                weights = 1 / (self.alpha + nearest(keys, queries)[1])
            self.forth = corners(nearest(queries, keys, weights)[0], k_grid)
            self.back = None
        else:
            basis = components(clip)
            queries, keys = project(video, basis), project(clip, basis)
            weights = None
            if self.alpha is not None:
                start = self.back or inverse(self.forth, q_grid, k_grid)
                self.back, least = patch_match(keys, queries, k_grid, q_grid, start, None, 1, self.generator)
                weights = 1 / (self.alpha + least)
            self.forth, _ = patch_match(
                queries, keys, q_grid, k_grid, self.forth, weights, self.iterations, self.generator
            )
        return self.forth


# -- patches ---


def volume_of(video: Tensor) -> Volume:
    """Frames, height and width of `(..., T, H, W)`."""
    return video.shape[-3], video.shape[-2], video.shape[-1]


def held(volume: Volume) -> Volume:
    """A volume no smaller than a patch."""
    t, h, w = (max(side, patch) for side, patch in zip(volume, PATCH, strict=True))
    return t, h, w


def grid(volume: Volume) -> Volume:
    """How many whole patches there are along each axis."""
    t, h, w = (side - patch + 1 for side, patch in zip(volume, PATCH, strict=True))
    return t, h, w


def count(size: Volume) -> int:
    """Elements of a volume."""
    return size[0] * size[1] * size[2]


def patches(video: Tensor) -> Tensor:
    """All patches of `(3, T, H, W)`: `(Q, p)`."""
    every = video.unfold(1, PATCH[0], 1).unfold(2, PATCH[1], 1).unfold(3, PATCH[2], 1)  # 3 t h w 3 7 7
    return every.permute(1, 2, 3, 0, 4, 5, 6).flatten(3).flatten(0, 2)


def components(clip: Tensor) -> Tensor:
    """Principal components of the patches of `(3, T, H, W)`: orthonormal, `(d, p)`."""
    size = grid(volume_of(clip))
    every = torch.linspace(0, count(size) - 1, min(count(size), SAMPLED)).long()
    t, y, x = corners(every, size)
    windows = clip.unfold(1, PATCH[0], 1).unfold(2, PATCH[1], 1).unfold(3, PATCH[2], 1)
    some = windows[:, t, y, x].transpose(0, 1).flatten(1).double()  # n p
    some = some - some.mean(0)
    return torch.linalg.eigh(some.T @ some)[1][:, -NUM_FEATURES:].T.float().contiguous()


def project(video: Tensor, basis: Tensor) -> Tensor:
    """Patches of `(3, T, H, W)` by their components: `(Q, d)`."""
    weight = basis.unflatten(1, (3 * PATCH[0], *PATCH[1:]))  # d, 3 channels x 3 frames, 7, 7
    frames = video.unfold(1, PATCH[0], 1).permute(1, 0, 4, 2, 3).flatten(1, 2)  # t 9 H W
    parts = [F.conv2d(part, weight).permute(0, 2, 3, 1).flatten(0, 2) for part in frames.split(8)]
    return torch.cat(parts)


def corners(index: Tensor, size: Volume) -> Coordinates:
    """Coordinates of numbered patches."""
    return [index // (size[1] * size[2]), index // size[2] % size[1], index % size[2]]


def number(at: Coordinates, size: Volume) -> Tensor:
    """Numbers of patches by their coordinates."""
    return (at[0] * size[1] + at[1]) * size[2] + at[2]


def vote(at: Coordinates, volume: Volume, values: Tensor) -> Tensor:
    """The average of overlapping patches: corners in `values` `(3, T, H, W)` to `(3, *volume)`."""
    size = grid(volume)
    source = values.permute(1, 2, 3, 0).flatten(0, 2).contiguous()  # places, 3
    first = number(at, volume_of(values))
    total, weight = torch.zeros(*volume, 3), torch.zeros(*volume, 1)
    for dt in range(PATCH[0]):
        for dy in range(PATCH[1]):
            for dx in range(PATCH[2]):
                step = (dt * values.shape[2] + dy) * values.shape[3] + dx
                place = slice(dt, dt + size[0]), slice(dy, dy + size[1]), slice(dx, dx + size[2])
                total[place] += source.index_select(0, first + step).view(*size, 3)
                weight[place] += 1
    return (total / weight).permute(3, 0, 1, 2)


# -- nearest neighbours ---


def nearest(queries: Tensor, keys: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The nearest of all keys to each query, and the squared distance, times the key's weight."""
    mean = keys.mean(0)  # small numbers lose less to round-off
    queries, keys = queries - mean, keys - mean
    lengths = keys.square().sum(1)
    rows = max(1, AT_ONCE // len(keys))
    found = []
    for part in queries.split(rows):
        distance = (
            torch.addmm(lengths, part, keys.T, alpha=-2).add_(part.square().sum(1)[:, None]).clamp_(min=0)
        )
        found.append((distance if weights is None else distance.mul_(weights)).min(1))
    return torch.cat([part.indices for part in found]), torch.cat([part.values for part in found])


def patch_match(
    queries: Tensor,
    keys: Tensor,
    q_grid: Volume,
    k_grid: Volume,
    start: Coordinates,
    weights: Tensor | None,
    iterations: int,
    generator: torch.Generator,
) -> tuple[Coordinates, Tensor]:
    """Near keys for all queries of a grid, from a first guess; as `nearest`, but by coordinates."""
    at = [axis.clone() for axis in start]
    best = torch.full((len(queries),), torch.inf)

    def propose(new: Coordinates) -> None:
        new = [axis.clamp(0, side - 1) for axis, side in zip(new, k_grid, strict=True)]
        numbers = number(new, k_grid)
        for low in range(0, len(queries), CHUNK):
            part = slice(low, low + CHUNK)
            picked = numbers[part]
            distance = keys.index_select(0, picked).sub_(queries[part]).square_().sum(1)
            if weights is not None:
                distance *= weights[picked]
            better = distance < best[part]
            best[part] = torch.where(better, distance, best[part])
            for axis, proposed in zip(at, new, strict=True):
                axis[part] = torch.where(better, proposed[part], axis[part])

    propose(at)
    for n in range(iterations):
        jump = JUMPS[n % len(JUMPS)] if iterations > 1 else 1
        for axis in range(3):
            for step in (jump, -jump):
                if jump >= q_grid[axis]:
                    continue
                moved = [c.view(q_grid).roll(step, axis).flatten() for c in at]
                moved[axis] = moved[axis] + step
                propose(moved)
        for k in range(TRIALS):
            trial = []
            for c, side in zip(at, k_grid, strict=True):
                radius = max(1, side // 4**k)
                trial.append(c + torch.randint(-radius, radius + 1, c.shape, generator=generator))
            propose(trial)
    return at, best


def enlarged(at: Coordinates, before: tuple[Volume, Volume], after: tuple[Volume, Volume]) -> Coordinates:
    """The matches of a rung on the next: what is matched lies as far away as it did, in larger pixels.

    Args:
        before, after: sizes of what is matched and of what it is matched with.
    """
    sizes = [grid(volume) for volume in (*before, *after)]
    old_from, _, new_from, new_to = sizes
    places = [
        ((torch.arange(new) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for old, new in zip(old_from, new_from, strict=True)
    ]
    result = []
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        offset = at[axis].view(old_from)[places[0]][:, places[1]][:, :, places[2]] - places[axis].view(shape)
        ratio = after[1][axis] / before[1][axis]
        moved = torch.arange(new_from[axis]).view(shape) + (offset * ratio).round().long()
        result.append(moved.clamp(0, new_to[axis] - 1).flatten())
    return result


def inverse(at: Coordinates, q_grid: Volume, k_grid: Volume) -> Coordinates:
    """For each key a query that it is matched with, or one at about the same place."""
    place = torch.arange(count(k_grid))
    back = [c * side // other for c, side, other in zip(corners(place, k_grid), q_grid, k_grid, strict=True)]
    last = torch.full_like(place, -1)  # of the queries that are matched with a key; the same at every run
    queries = torch.arange(count(q_grid))
    last.scatter_reduce_(0, number(at, k_grid), queries, "amax")
    own = corners(last.clamp(min=0), q_grid)
    return [torch.where(last < 0, c, matched) for c, matched in zip(back, own, strict=True)]
