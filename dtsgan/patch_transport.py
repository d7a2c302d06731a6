"""Real patches in place of what a linear model drew: semi-discrete optimal transport, coarse to fine.

A linear system knows how a scene moves, and draws it as a Gaussian would: without edges, drops or folds. Here
each space-time patch of its video is replaced by one that the source showed at that place, and the patches,
which overlap, are averaged. The nearest patch would not do: to something noisy the nearest is always a smooth
one, and contrast and motion would be lost. So the patches are assigned by optimal transport (Galerne,
Leclaire & Rabin 2018, "A texture synthesis model based on semi-discrete optimal transport in patch space"):
each real patch carries a potential, and these are such that over a long draw every patch of a place is used
equally often. That is done on a small ladder of sizes, as patch nearest neighbours are (Granot et al. 2022,
Haim et al. 2022): large structures first, then their detail. Where overlapping patches disagree their average
is flat: each place's deviation over time is made that of the source again, within the colours that it showed.
Patches that were chosen apart disagree where they overlap and where one follows the other: outlines fray, and
fades are haze. So a place then takes after its neighbours: of patches that would do about as well it takes
the one that goes on what most of them show, beside it and before and after it (coherence, Ashikhmin 2001,
"Synthesizing natural textures"), or, where outlines sweep over the scene, the one that looks most like what
goes on what they show, so that seams lie where they do not show (Kwatra et al. 2003, "Graphcut textures").
Models saved before do without, or choose once more below the finest size, of what the patches showed together
(the alternation of Kwatra et al. 2005, "Texture optimization for example-based synthesis").

Patches are chosen every few frames and last from one choice to the next and beyond, so that what moves in
them moves as it did; each fades into the one after it. How many frames that is follows from how fast the
source changes (`natural_stride`). A fade, too, is an average of what disagrees, the more so the finer it is:
without a factor that follows it, and one each for coarse and fine detail, the video would pulse from choice
to choice. And where its two choices show an outline in two places, so does their average. So a place shows
more of the choice that is nearer to the video below, which moves on meanwhile: it goes over when that does.
At the finest size the two choices also move to meet (`alignment`).

A choice between patches jumps, and round-off must not decide it, or a frame would depend on how it was drawn.
So what is compared are whole numbers, small enough for float32 sums to be exact in any order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise, product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtsgan.alignment import align
from dtsgan.config import Agreement, Contrast
from dtsgan.packing import settled
from dtsgan.pyramid import Size, resize, smoothed, upsample, upsampling

PATCH = 7  # pixels, each way
STRIDE = 2  # pixels between neighbouring patches
COMPARED = 5  # frames of a patch, at most, that it is compared by
SMALLEST, FACTOR = 20, 1.7  # the ladder: shorter side of its first rung, and about how much one is larger
MAX_FRAMES = 112  # frames of the source that are kept
RUN = 28  # of a longer source, runs of so many frames are kept, spread over it; for long patches twice that
NUM_FEATURES = 32  # principal components of a patch in which patches are compared
MID_GREY = 128  # of a pixel's 256 levels, from which patches count them
LIMIT = 255  # of a feature: 3 NUM_FEATURES LIMIT^2 < 2^24, so that sums of products are exact in float32
POTENTIAL_UNIT = 64
GRID = 2.0**12  # colours are rounded to its inverse between rungs
SAMPLES = (16, 32)  # draws and frames each, on which the potentials are found
STRONGEST = 1.0  # potential, in units of the patches' variance: what is never like a draw is not forced on it
ENTROPIES = (0.1, 0.03, 0.01)  # in units of the patches' variance
ITERATIONS = 6  # of Sinkhorn's algorithm at each entropy
SPATIAL_SIGMA, TEMPORAL_SIGMA = 0.8, 0.5  # of the average of overlapping patches, in pixels and frames
AGREED_SIGMA = 1.5  # where neighbours agree: they lose little by it, and where they do not no edge is seen
CONTRASTS = (1 / 1.8, 1.8)  # least and most; a place that hardly moves is not blown up
BESIDE, IN_TIME = 0.2, 0.4  # what a neighbour's vote weighs, in units of the patches' variance
ROUNDS = 4  # of voting
SEAM = 0.4  # what it weighs how far a patch is, squared, from what would go on its neighbour
MATCHINGS = 8  # rounds of that, at most
POSED = 40  # pixels up to which that begins with the moment of the source that is best for the whole frame
SWEEPING = 14  # kurtosis of what changes from frame to frame, above which outlines are what moves
SLOW, SUDDEN = 0.1, 0.5  # parts of the variance: so much at least and at most changes from frame to frame
NEARER = 0.1  # of a place's variance: a choice that is so much further from the video below counts 1/e of it
STILL = 2e-3  # added to that variance, or the noise of a place that hardly moves would decide
CHANNEL_BITS = 21  # of a whole number of 64 bits, for the sum of one colour: 8 of a pixel, 13 of its weight


def ladder(size: Size) -> list[Size]:
    """Sizes of the rungs, coarse to fine; the last is `size` itself."""
    short = min(size)
    rungs = max(0, round(math.log(max(1.0, short / SMALLEST)) / math.log(FACTOR)))
    sides = [SMALLEST * (short / SMALLEST) ** (k / rungs) for k in range(rungs)]
    return [(round(size[0] * side / short), round(size[1] * side / short)) for side in sides] + [size]


def kept_frames(num_frames: int, reach: int = 1, at_most: int = MAX_FRAMES) -> list[int]:
    """The frames of a source of `num_frames` that are remembered: all, or runs spread over it."""
    if num_frames <= at_most:
        return list(range(num_frames))
    run = min(at_most, RUN if reach == 1 else 2 * RUN)
    runs = at_most // run
    starts = [round(k * (num_frames - run) / max(1, runs - 1)) for k in range(runs)]
    return sorted({start + k for start in starts for k in range(run)})


def natural_stride(clip: Tensor) -> int:
    """Frames from one choice of patches to the next that suit a clip `(1, 3, N, H, W)`: 2, 4 or 8, the more
    the slower it changes. What counts is how many frames apart frames differ half as much as any two."""
    small = resize(clip, (SMALLEST, SMALLEST))
    variance = small.var(2, correction=0).mean()
    lags = range(1, min(7, clip.shape[2]))
    apart = [(small[:, :, lag:] - small[:, :, :-lag]).square().mean() for lag in lags]
    # any two frames differ by two variances
    half = next((lag for lag, difference in zip(lags, apart, strict=True) if difference > variance), 7)
    stride = 2 if half == 1 else 4 if half <= 4 else 8
    while stride > 2 and clip.shape[2] < 6 * stride:  # a short clip has few long patches
        stride //= 2
    return stride


def has_outlines(clip: Tensor) -> bool:
    """Whether outlines sweep over a clip `(1, 3, N, H, W)`, as a flag's do: then frames differ by much in few
    places. The kurtosis of their differences is 17 to 25 for flags, 11 or less for water, rain, smoke and
    grass; a Gaussian's is 3. So it is where light flashes, too, but there much is other at once, and where
    something small moves slowly, but there hardly anything is."""
    small = resize(clip, (SMALLEST, SMALLEST))
    new = small.diff(dim=2).square().mean() / small.var(2, correction=0).mean().clamp(min=1e-9)
    if not SLOW < new < SUDDEN:
        return False
    change = resize(clip, (2 * SMALLEST, 2 * SMALLEST)).diff(dim=2).double()
    return bool(change.pow(4).mean() > SWEEPING * change.square().mean() ** 2)


@dataclass(frozen=True)
class PatchTimes:
    """At which frames patches are chosen, and what a frame shows of them. Anchor k is the frame of choice k.

    With a stride of 1 a frame is an average over the choices of three frames (Gaussian weights); else it
    fades from the choice before it to the one after it. In a loop the anchors have its period.
    """

    stride: int
    period: int = 0

    @property
    def reach(self) -> int:
        """Frames of a patch before and after its anchor."""
        return max(1, self.stride - 1)

    @property
    def _in_period(self) -> int:
        return -(-self.period // self.stride)

    def anchor(self, k: int) -> int:
        if not self.period:
            return k * self.stride
        turn, part = divmod(k, self._in_period)
        return turn * self.period + part * self.period // self._in_period

    def last_before(self, frame: int) -> int:
        """The number of the last anchor that is not after `frame`."""
        if not self.period:
            return frame // self.stride
        turn, rest = divmod(frame, self.period)
        return turn * self._in_period + ((rest + 1) * self._in_period - 1) // self.period

    def shares(self, frame: int) -> list[tuple[int, int, float]]:
        """What a frame shows: numbers of anchors, the frame of each one's patches, and their weights."""
        k = self.last_before(frame)
        if self.stride == 1:
            weights = [math.exp(-(j**2) / (2 * TEMPORAL_SIGMA**2)) for j in (-1, 0, 1)]
            return [(k - j, j, w / sum(weights)) for j, w in zip((-1, 0, 1), weights, strict=True)]
        begin, end = self.anchor(k), self.anchor(k + 1)
        part = (frame - begin) / (end - begin)
        # at the anchor itself the next patch need not have begun
        later = (k + 1, frame - end, part) if part else (k, 0, 0.0)
        return [(k, frame - begin, 1 - part), later]


class PatchTransport(nn.Module):
    """The ladder. Holds buffers only: the kept frames, and for each rung a basis and the potentials."""

    clip: Tensor  # 3 K h w, uint8

    def __init__(
        self, size: Size, num_frames: int, stride: int = 1, contrast: Contrast = "flat", passes: int = 1,
        agreement: Agreement = "none", max_frames: int = MAX_FRAMES, guided: bool = False,
        aligned: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            stride: frames between the choices of patches; see `PatchTimes`.
            contrast: whether the deviation that averages lose is restored.
            passes: rungs of each size but the last.
            agreement: whether places take after their neighbours, and by what: the moment of the source
                that these show, or what it looks like.
            max_frames: frames of the source that are kept.
            guided: whether fades follow the video below.
            aligned: whether, at the finest size, what fades into each other moves to meet.
        """
        super().__init__()
        *below, last = ladder(size)
        self.sizes = [size for size in below for _ in range(passes)] + [last]
        self.times = PatchTimes(stride)
        reach = self.times.reach
        kept = kept_frames(num_frames, reach, max_frames)
        # a patch needs the frames before and after its own
        within = range(reach, len(kept) - reach)
        self.centres = [i for i in within if kept[i + reach] - kept[i - reach] == 2 * reach]
        self.kept = kept
        self.register_buffer("clip", torch.zeros(3, len(kept), *size, dtype=torch.uint8))
        # at the finest of several sizes this would cost as much as at all others together, and shows no more
        finest: Agreement = "moments" if agreement == "looks" and below else agreement
        self.rungs = nn.ModuleList(
            Rung(
                size, len(self.centres), stride, contrast, finest if size == last else agreement,
                k > 0 and size == self.sizes[k - 1], guided, aligned and size == last,
            )
            for k, size in enumerate(self.sizes)
        )  # fmt: skip
        self._ready: torch.device | None = None  # where the rungs are prepared
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "_ready", None))

    @property
    def margin(self) -> int:
        """Frames of the linear video that are needed before and after each frame."""
        return sum(rung.margin for rung in self._rungs())

    def fit(self, clip: Tensor, samples: Tensor, color_matrix: Tensor) -> Iterator[float]:
        """Finds the potentials, rung by rung; yields the part of the work that is done, before each further
        rung.

        Args:
            clip: the source at the finest rung, `(1, 3, N, h, w)` in [-1, 1].
            samples: what the linear model draws at the coarsest rung, `(B, 3, T, h', w')` with T more than
                twice `margin`.
            color_matrix: 3 x 3, to colours in which differences are to be judged.
        """
        frames = ((clip[0, :, self.kept] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        self.clip.copy_(settled(frames))  # as a saved model has them
        draws = [on_grid(one).float() for one in samples.split(1)]  # float32 holds what is on the grid
        # lower rungs draw more frames, those around the frames that higher ones draw
        lengths = accumulate((-2 * rung.margin for rung in self._rungs()), initial=samples.shape[2])
        pairs = zip(self.sizes, lengths, strict=False)
        work = list(accumulate(math.prod(size) * length for size, length in pairs))
        first = 0  # the number of their first frame
        for k, (rung, (values, coarse)) in enumerate(zip(self._rungs(), self._pairs(), strict=True)):
            if rung.is_repeat:
                rung.basis = self._rungs()[k - 1].basis
            else:
                rung.find_basis(coarse, self.centres, color_matrix.double())
            rung.prepare(values, coarse, self.kept, self.centres)
            plan = Plan.of(self.times, first + rung.margin, draws[0].shape[2] - 2 * rung.margin)
            times = [self.times.anchor(number) for number in rung.around(plan.numbers)]
            raised = (enlarge(one.double(), rung.size) if k else one.double() for one in draws)
            features = [rung.features(one, [time - first for time in times]) for one in raised]
            rung.find_potentials(torch.cat(features, 1).flatten(1, 2))
            averages = []
            for one, seen in zip(draws, features, strict=True):
                below = one[:, :, rung.margin :][:, :, : plan.shown.shape[1]].double()
                below = enlarge(below, rung.size) if k else below
                average, spread = rung.average(rung.choose(seen, times), plan, below)
                averages.append((on_grid(average).float(), spread.float()))
            if rung.contrast is not None:
                rung.find_contrast(averages, values)
            draws = [on_grid(rung.mend(one.double(), spread.double())).float() for one, spread in averages]
            first += rung.margin
            if rung is not self.rungs[-1]:
                yield work[k] / work[-1]
        self._ready = self.clip.device

    def prepared(self) -> list["Rung"]:
        """The rungs, ready to choose."""
        rungs = self._rungs()
        if self._ready != self.clip.device:
            for k, (rung, (values, coarse)) in enumerate(zip(rungs, self._pairs(), strict=True)):
                if rung.is_repeat:
                    rung.basis = rungs[k - 1].basis
                rung.prepare(values, coarse, self.kept, self.centres)
            self._ready = self.clip.device
        return rungs

    def _rungs(self) -> list["Rung"]:
        return [rung for rung in self.rungs if isinstance(rung, Rung)]

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each rung the real clip, and what a draw of the rung below is to be compared with."""
        clip = self.clip[None].double() / 127.5 - 1  # float32 would show a device's round-off as other pixels
        below: Tensor | None = None
        for size in self.sizes:
            real = resize(clip, size)
            yield real[0].float(), (real if below is None else enlarge(below, size))[0]
            below = real


@dataclass(frozen=True)
class Plan:
    """What some frames in a row show, T of them, of the choices at A anchors."""

    numbers: list[int]  # of the anchors
    shown: Tensor  # 2 or 3, T: which of them
    offsets: Tensor  # the frame of their patches
    weights: Tensor

    @classmethod
    def of(cls, times: PatchTimes, start: int, count: int, device: torch.device | str = "cpu") -> "Plan":
        """The plan of `count` frames from `start` on."""
        shares = [times.shares(frame) for frame in range(start, start + count)]
        numbers = sorted({number for frame in shares for number, _, _ in frame})
        shown, offsets, weights = (
            torch.tensor(list(zip(*rows, strict=True)), device=device)
            for rows in (
                [[numbers.index(number) for number, _, _ in frame] for frame in shares],
                [[offset for _, offset, _ in frame] for frame in shares],
                [[weight for _, _, weight in frame] for frame in shares],
            )
        )
        return cls(numbers, shown, offsets, weights.double())


class Rung(nn.Module):
    """One size of the ladder. Shapes: P places, n patches each, f frames of a patch that are compared, d
    features, p = 3 PATCH^2 values a frame."""

    basis: Tensor  # f p, d
    potentials: Tensor  # P n, in units of POTENTIAL_UNIT
    # "overall": h w, what the average's deviation from the mean over time is multiplied by; "steady":
    # 2 2 h w, of coarse and of fine detail that factor where one choice is shown, and what part of the
    # variance a frame loses for each unit of its spread (see `average`)
    contrast: Tensor | None

    def __init__(
        self, size: Size, num_patches: int, stride: int, contrast: Contrast,
        agreement: Agreement = "none", is_repeat: bool = False, guided: bool = False,
        aligned: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            agreement: whether places take after their neighbours, and by what: the moment of the source
                that these show, or what it looks like.
            is_repeat: of the rung below, whose basis it shares.
            guided: whether fades follow the video below.
            aligned: whether what fades into each other moves to meet.
        """
        super().__init__()
        self.size, self.is_repeat, self.agreement = size, is_repeat, agreement
        self.guided, self.aligned = guided, aligned and stride > 1
        self.agrees = agreement != "none"
        self.grid = [(side - 1) // STRIDE + 1 for side in size]
        self.reach = PatchTimes(stride).reach
        # frames of the video below that are needed before and after each frame
        self.margin = 2 * self.reach + (stride if self.agrees else 0)
        count = min(COMPARED, 2 * self.reach + 1)
        self.compared = [round(k * self.reach * 2 / (count - 1)) - self.reach for k in range(count)]
        places = self.grid[0] * self.grid[1]
        values = count * 3 * PATCH**2
        if not is_repeat:
            self.register_buffer("basis", torch.zeros(values, NUM_FEATURES, dtype=torch.float16))
        self.register_buffer("potentials", torch.zeros(places, max(1, num_patches), dtype=torch.int16))
        shape = {"flat": None, "overall": size, "steady": (2, 2, *size)}[contrast]
        self.register_buffer("contrast", None if shape is None else torch.ones(shape, dtype=torch.float16))

    def around(self, numbers: list[int]) -> list[int]:
        """The anchors at which something must be known to choose at these, which follow each other."""
        return [numbers[0] - 1, *numbers, numbers[-1] + 1] if self.agrees else numbers

    def find_basis(self, clip: Tensor, centres: list[int], color_matrix: Tensor) -> None:
        """Principal components of how patches `(3, K, h, w)` differ from their place's mean."""
        places = torch.arange(self.grid[0] * self.grid[1], device=clip.device)
        some = places[:: max(1, len(places) // 256)]  # are enough
        flat = torch.cat([self._unfold(part)[:, some] for part in clip.split(16, 1)])  # K P' p
        covariance = torch.zeros(len(self.basis), len(self.basis), dtype=torch.float64, device=clip.device)
        for part in flat.split(64, 1):  # all at once they would take a gigabyte
            patches = torch.cat([part[[c + k for c in centres]] for k in self.compared], 2).double()
            patches = (patches - patches.mean(0)).flatten(0, 1)  # n 64, f p
            covariance += patches.T @ patches
        # the same as patches of changed colours: kron(I, matrix) on the values of a patch
        frames, pixels = torch.eye(len(self.compared)).double(), torch.eye(PATCH**2).double()
        colors = torch.kron(frames, torch.kron(pixels, color_matrix.cpu())).to(covariance)
        _, vectors = torch.linalg.eigh(colors @ covariance @ colors.T)
        axes = colors.T @ vectors[:, -NUM_FEATURES:].flip(1)
        axes = axes.unflatten(0, (len(self.compared), PATCH, PATCH, 3))
        self.basis.copy_(axes.permute(0, 3, 1, 2, 4).flatten(0, 3))

    def prepare(self, values: Tensor, coarse: Tensor, kept: list[int], centres: list[int]) -> None:
        """Makes patches of the real clip `(3, K, h, w)`, of the source's frames `kept`, around `centres`, and
        of `coarse` what a draw is compared with."""
        self._pack(values)
        self.centres = torch.tensor(centres, device=values.device)
        self.moments = torch.tensor(kept, device=values.device)[self.centres]  # in the source, ascending
        self.filters = self._filters()
        self.keys = values.new_empty(self.grid[0] * self.grid[1], len(centres), NUM_FEATURES)  # P n d
        for n in range(0, len(centres), 8):  # a few at a time, as a few places, stay in the caches
            self.keys[:, n : n + 8] = self._seen(coarse[None], centres[n : n + 8])[0].transpose(0, 1)
        means, gains, lengths = [], [], []
        for keys in self.keys.split(128):
            means.append(keys.double().mean(1).round().float())
            keys -= means[-1][:, None]
            gains.append(LIMIT / keys.abs().amax((1, 2)).clamp(min=1)[:, None])
            keys *= gains[-1][:, None]
            lengths.append(keys.round_().square().sum(2))
        self.mean, self.gain = torch.cat(means), torch.cat(gains)  # P d, P 1
        self.lengths = torch.cat(lengths)[:, None]  # P 1 n
        clip = values[:, :, None].double()  # 3 K 1 h w
        self.middle, self.lowest, self.highest = clip.mean(1), clip.amin(1), clip.amax(1)  # 3 1 h w
        if self.guided:
            self.variance = smoothed(clip.var(1, correction=0).sum(0)) + STILL  # 1 h w

    def _pack(self, values: Tensor) -> None:
        """Makes what is averaged: each pixel of `(3, K, h, w)` one whole number, its colours `CHANNEL_BITS`
        apart, so that a sum of weighted pixels is a sum of whole numbers, and exact; beyond the border 0."""
        r = PATCH // 2
        self.padded = [side + 2 * r for side in self.size]
        packed = torch.zeros(values.shape[1], *self.padded, dtype=torch.long, device=values.device)
        for c, color in enumerate(values):
            packed[:, r:-r, r:-r] += ((color + 1) * 127.5).round().clamp(0, 255).long() << (CHANNEL_BITS * c)
        self.pixels = packed.flatten()
        rows, columns = (STRIDE * torch.arange(side, device=values.device) for side in self.grid)
        self.corners = (self.padded[1] * rows[:, None] + columns).flatten()  # P, where a patch begins
        sigma = AGREED_SIGMA if self.agrees else SPATIAL_SIGMA
        window = torch.exp(-((torch.arange(PATCH) - PATCH // 2).double() ** 2) / (2 * sigma**2))
        window = window[:, None] * window
        most = max(float(window[y::STRIDE, x::STRIDE].sum()) for y, x in product(range(STRIDE), repeat=2))
        self.window = (window * (2**CHANNEL_BITS / 256 / most)).floor().long()
        one = torch.ones_like(self.pixels[: math.prod(self.padded)])
        self.totals = self._overlapped(one, self.corners[None, None])[0, 0].double()  # h w

    def _overlapped(self, pixels: Tensor, corners: Tensor) -> Tensor:
        """The weighted sums of overlapping patches, whole numbers `(B, T, h, w)`, where each place shows the
        patch that begins at `corners` `(B, T, P)` of the padded frames `pixels`."""
        height, width = self.size
        rows, columns = self.grid
        # even and odd rows and columns apart: each lies in the same place of other patches
        beyond = PATCH // STRIDE
        sums = pixels.new_zeros(STRIDE, STRIDE, *corners.shape[:2], rows + beyond, columns + beyond)
        flat = corners.flatten()
        for y, x in product(range(PATCH), repeat=2):
            shown = pixels[y * self.padded[1] + x :].index_select(0, flat)
            part = sums[y % STRIDE, x % STRIDE]
            part = part.narrow(2, y // STRIDE, rows).narrow(3, x // STRIDE, columns)
            part.add_(shown.view(part.shape), alpha=int(self.window[y, x]))
        r = PATCH // 2
        whole = sums.permute(2, 3, 4, 0, 5, 1).flatten(4).flatten(2, 3)
        return whole[:, :, r : r + height, r : r + width]

    def find_potentials(self, queries: Tensor) -> None:
        """Solves the transport between drawn patches, whose features are `queries` (P, M, d), and the real
        ones of the same place, by Sinkhorn's algorithm with a falling entropy (Cuturi 2013; Schmitzer 2019).
        """
        for low in range(0, len(queries), 32):
            block = slice(low, low + 32)
            cost = self.lengths[block] - 2 * queries[block] @ self.keys[block].mT  # P M n
            unit = self.lengths[block].mean(2, keepdim=True).clamp(min=1)
            cost = cost / unit
            price = torch.zeros_like(cost[:, :1])  # of a real patch, P 1 n
            share = cost.shape[1] / cost.shape[2]  # so many queries share a patch
            for entropy in ENTROPIES:
                gain = (price - cost).div_(entropy).logsumexp(2, keepdim=True)  # P M 1
                kernel = (price - cost).div_(entropy).sub_(gain).exp_()  # P M n, its rows sum to 1
                rows, columns = torch.ones_like(gain), torch.ones_like(price)
                for _ in range(ITERATIONS):  # by products: logarithms of sums would take ten times as long
                    columns = share / (rows.mT @ kernel).clamp_(min=1e-30)  # P 1 n
                    rows = 1 / (kernel @ columns.mT)  # P M 1
                price = price + entropy * columns.log()
            price = (price - price.mean(2, keepdim=True)).clamp(-STRONGEST, STRONGEST) * unit / POTENTIAL_UNIT
            self.potentials[block] = price[:, 0].round().clamp(-32768, 32767).to(torch.int16)

    def choose(self, features: Tensor, times: list[int], new: float = 1.0) -> Tensor:
        """The patch for each place at the anchors whose neighbours are known: `features` `(P, B, A, d)` at
        the frames `times` to indices `(B, A', P)`, A' = A - 2 where places take after their neighbours."""
        costs = self.costs(features, new)
        first = self.first(costs)
        return self.agreed(costs[:, :, 1:-1], first, times) if self.agrees else first.permute(1, 2, 0)

    def costs(self, features: Tensor, new: float = 1.0) -> Tensor:
        """What each patch would cost: `features` `(P, B, A, d)` to `(P, B, A, n)`, whole numbers. `new`
        weights the potentials."""
        prices = self.lengths - (self.potentials.float() * POTENTIAL_UNIT * new).round()[:, None]
        return (prices - 2 * features.flatten(1, 2) @ self.keys.mT).unflatten(1, features.shape[1:3])

    def first(self, costs: Tensor) -> Tensor:
        """What each place takes before it knows its neighbours in time: `(P, B, A, n)` to `(P, B, A)`."""
        cheapest = costs.argmin(3)
        if self.agreement != "looks":
            return cheapest
        if min(self.size) > POSED:
            return self._matched(costs, cheapest)
        # what a place takes by itself pieces a pose together, from which no single step leads to a whole one
        whole = costs.sum(0).argmin(2).expand_as(cheapest)
        return self._matched(costs, whole, alone=cheapest)

    def agreed(self, costs: Tensor, first: Tensor, times: list[int]) -> Tensor:
        """The patch for each place, by its costs and by what its neighbours show.

        What goes on what a neighbour shows is, of one beside it, the same moment of the source, of one before
        or after it the moment as much later or earlier. Those in time count with what they took at first, so
        that a choice depends on its neighbours in time and on no others.

        Args:
            costs: `(P, B, A, n)`, at A anchors that follow each other.
            first: `(P, B, A + 2)`, from `first`, there and at the anchors before and after them.
            times: frames of these A + 2 anchors.

        Returns:
            Indices `(B, A, P)`.
        """
        steps = [later - earlier for earlier, later in pairwise(times)]
        wanted = torch.stack(
            [
                self._continued(first[:, :, :-2], steps[:-1]),
                self._continued(first[:, :, 2:], [-step for step in steps[1:]]),
            ],
            3,
        )
        if self.agreement == "looks":
            return self._matched(costs, first[:, :, 1:-1], wanted).permute(1, 2, 0)
        unit = self.lengths.double().mean(2).float()[:, :, None, None]  # P 1 1 1
        beside, in_time = (BESIDE * unit).round(), (IN_TIME * unit).round()
        costs = costs.clone()
        costs.scatter_add_(3, wanted.clamp(min=0), torch.where(wanted < 0, 0.0, -in_time))
        cheapest = costs.argmin(3, keepdim=True)  # P B A 1
        chosen = first[:, :, 1:-1]
        for _ in range(ROUNDS):
            around = self._around(chosen)  # P B A 8
            weights = torch.where(around < 0, 0.0, beside)
            around = torch.where(around < 0, cheapest, around)
            # only what somebody votes for, or else is cheapest, can win
            candidates = torch.cat([cheapest, around], 3)
            costs.scatter_add_(3, around, -weights)
            best = costs.gather(3, candidates).argmin(3, keepdim=True)
            costs.scatter_add_(3, around, weights)
            chosen = candidates.gather(3, best)[..., 0]
        return chosen.permute(1, 2, 0)

    def _matched(
        self, costs: Tensor, chosen: Tensor, wanted: Tensor | None = None, alone: Tensor | None = None
    ) -> Tensor:
        """The patches that cost least together with their seams: how far each is, squared, from what would go
        on what its neighbours show. By iterated conditional modes; moves are to what a neighbour asks for.

        Args:
            costs: `(P, B, A, n)`.
            chosen: `(P, B, A)`, what to begin with.
            wanted: `(P, B, A, 2)`, what would go on the neighbours in time; -1 where nothing would.
            alone: as `chosen`, to what else a place may move.

        Returns:
            Indices as `chosen`.
        """
        count = costs.shape[3]
        keys, lengths, costs = self.keys.flatten(0, 1), self.lengths.flatten(), costs.flatten()
        places = torch.arange(len(chosen), device=keys.device).repeat_interleave(chosen[0].numel())
        at = torch.arange(len(places), device=keys.device)  # where something may change
        for _ in range(MATCHINGS):
            around = self._around(chosen).flatten(0, 2)
            around = (around if wanted is None else torch.cat([around, wanted.flatten(0, 2)], 1))[at]
            own = chosen.flatten()[at, None]
            others = around if alone is None else torch.cat([around, alone.flatten()[at, None]], 1)
            divided = ((others != own) & (others >= 0)).any(1)
            at, around, own, others = at[divided], around[divided], own[divided], others[divided]
            known = around >= 0
            candidates = torch.cat([own, torch.where(others >= 0, others, own)], 1)  # M c
            patches = places[at, None] * count + candidates
            looks = keys.index_select(0, patches.flatten()).unflatten(0, patches.shape)  # M c d
            # squares of distances from all that is asked for, but for what is the same for all candidates;
            # in float32 the sum of more than half of the products need not be exact
            asked = (looks[:, 1 : 1 + known.shape[1]] * known[:, :, None]).sum(1, keepdim=True)  # M 1 d
            alike = sum(part.sum(2).double() for part in (looks * asked).chunk(2, 2))  # M c
            seams = lengths[patches] * known.sum(1, keepdim=True).double() - 2 * alike
            own_costs = costs[at[:, None] * count + candidates]
            best = candidates.gather(1, (own_costs + SEAM * seams).argmin(1, keepdim=True))[:, 0]
            before, chosen = chosen, chosen.flatten().index_copy(0, at, best).view_as(chosen)
            changed = (chosen != before).unflatten(0, self.grid).flatten(2).float().permute(2, 0, 1)
            at = F.max_pool2d(changed, 3, 1, 1).permute(1, 2, 0).flatten().nonzero()[:, 0]
        return chosen

    def _continued(self, votes: Tensor, steps: list[int]) -> Tensor:
        """What goes on `votes`, `(P, B, A)`, so many frames later; -1 where nothing does."""
        moved = torch.stack([self._moved(step) for step in steps])  # A n
        return moved[torch.arange(len(moved), device=votes.device), votes]

    def _around(self, chosen: Tensor) -> Tensor:
        """What eight neighbours of each place show, `(P, B, A)` to `(P, B, A, 8)`; beyond the border -1."""
        height, width = self.grid
        padded = F.pad(chosen.unflatten(0, self.grid), [0, 0, 0, 0, 1, 1, 1, 1], value=-1)
        places = product(range(3), repeat=2)
        shown = [padded[y : y + height, x : x + width] for y, x in places if (y, x) != (1, 1)]
        return torch.stack(shown, 4).flatten(0, 1)

    def _moved(self, step: int) -> Tensor:
        """For each patch the one that is `step` frames on in the source; -1 where there is none."""
        wanted = self.moments + step
        found = torch.searchsorted(self.moments, wanted).clamp(max=len(self.moments) - 1)
        return torch.where(self.moments[found] == wanted, found, -1)

    def find_contrast(self, averages: list[tuple[Tensor, Tensor]], values: Tensor) -> None:
        """Sets `contrast` to what makes the deviation of what was drawn, by `average`, that of the real clip
        `(3, K, h, w)`, neighbouring pixels taken together."""
        assert self.contrast is not None
        real = torch.cat([self._powers(part[None].double()) for part in values.split(16, 1)], 2)  # b 1 K h w
        frames = sum(one.shape[0] * one.shape[2] for one, _ in averages)
        usual = drawn = square = product = torch.zeros((), dtype=torch.float64, device=values.device)
        for one, spread in averages:
            spread = spread.double().expand(len(one), -1, *self.size)  # B T h w
            power = self._powers(one.double())  # b B T h w
            usual, square = usual + spread.sum((0, 1)) / frames, square + spread.square().sum((0, 1)) / frames
            drawn, product = (
                drawn + power.sum((1, 2)) / frames,
                product + (power * spread).sum((1, 2)) / frames,
            )
        # a fade loses what its two choices have not in common: power (1 - lost spread), by least squares
        slope = (usual * drawn - product) / (square - usual.square()).clamp(min=1e-9)
        power, mean, slope = (
            F.avg_pool2d(each[:, None], 5, 1, 2, count_include_pad=False)[:, 0]
            for each in (real.mean((1, 2)), drawn, slope)
        )
        lost = (slope / (mean + slope * usual).clamp(min=1e-9)).clamp(0, 1)
        if not self._is_steady:
            lost = torch.zeros_like(lost)
        alone = mean / (1 - lost * usual)  # power where one choice is shown
        factor = (power / alone.clamp(min=1e-9)).sqrt().clamp(*CONTRASTS)
        self.contrast.copy_(torch.stack([factor, lost], 1) if self._is_steady else factor[0])

    def vote(self, chosen: Tensor, plan: Plan, below: Tensor, new: float = 1.0) -> Tensor:
        """What overlapping patches show together: indices `(B, A, P)` to `(B, 3, T, h, w)`, float64. `below`
        is as in `average`; `new` weights the contrast that is restored."""
        return self.mend(*self.average(chosen, plan, below), new)

    def mend(self, video: Tensor, spread: Tensor, new: float = 1.0) -> Tensor:
        """An `average` of patches with its contrast restored; `new` weights that."""
        if self.contrast is None:
            return video
        if self._is_steady:
            factor, lost = self.contrast.double()[:, :, None, None].unbind(1)  # each 2 1 1 h w
            gains = (factor / (1 - lost * spread).sqrt())[:, :, None]  # 2 B 1 T h w
        else:
            gains = self.contrast.double()[None]
        bands = zip(gains, self._bands(video - self.middle), strict=True)
        mended = [(1 + new * (gain - 1)) * band for gain, band in bands]
        return sum(mended, self.middle).clamp(self.lowest, self.highest)

    @property
    def _is_steady(self) -> bool:
        return self.contrast is not None and self.contrast.ndim == 4

    def _bands(self, off: Tensor) -> list[Tensor]:
        """Frames `(..., h, w)` as coarse and fine detail, which add up to them; as one where one factor is
        for both."""
        if not self._is_steady:
            return [off]
        coarse = smoothed(off)
        return [coarse, off - coarse]

    def _powers(self, video: Tensor) -> Tensor:
        """Of each band of `(B, 3, T, h, w)` the square, colours added: `(b, B, T, h, w)`."""
        return torch.stack([band.square().sum(1) for band in self._bands(video - self.middle)])

    def average(self, chosen: Tensor, plan: Plan, below: Tensor) -> tuple[Tensor, Tensor]:
        """The average of overlapping patches: indices `(B, A, P)` to `(B, 3, T, h, w)`, float64.

        Args:
            below: the video that the choices were made by, of the frames of the plan and of this size.

        Returns:
            It, and its spread, which broadcasts to `(B, T, h, w)`: how far a place is from showing one choice
            alone, as the part of its variance that it would lose if its choices had nothing in common.
        """
        area = math.prod(self.padded)
        parts = []
        for shown, offsets in zip(plan.shown, plan.offsets, strict=True):
            frames = self.centres[chosen[:, shown]] + offsets[:, None]  # B T P
            sums = self._overlapped(self.pixels, frames * area + self.corners)
            colors = [sums >> (CHANNEL_BITS * c) & (2**CHANNEL_BITS - 1) for c in range(3)]
            parts.append(torch.stack(colors, 1) / self.totals / 127.5 - 1)
        weights = plan.weights[:, None, :, None, None]  # S 1 T 1 1
        if self.aligned:
            parts = self._aligned(parts, weights[1])
        if self.guided:
            away = torch.stack([smoothed(smoothed(part - below).square().sum(1)) for part in parts])
            odds = weights * ((away.amin(0) - away) / (NEARER * self.variance)).exp()
            weights = odds / odds.sum(0)  # S B T h w
        video = torch.zeros_like(parts[0])
        for part, weight in zip(parts, weights, strict=True):
            video += weight[:, None] * part
        return video, 1 - weights.square().sum(0)

    def _aligned(self, parts: list[Tensor], later: Tensor) -> list[Tensor]:
        """The two choices that frames `(B, 3, T, h, w)` show, moved to meet; `later`, `(1, T, 1, 1)`, is the
        share of the second."""
        first, second = (part.transpose(1, 2).float() for part in parts)  # B T 3 h w
        fades = later.flatten() > 0  # at an anchor there is nothing to meet
        pairs = first[:, fades].flatten(0, 1), second[:, fades].flatten(0, 1)
        if len(pairs[0]):
            share = later[0, fades].float().repeat(len(first), 1, 1)[:, None]
            for part, seen in zip((first, second), align(*pairs, share), strict=True):
                part[:, fades] = seen.unflatten(0, (len(part), -1))
        return [part.transpose(1, 2).double() for part in (first, second)]

    def features(self, video: Tensor, at: list[int]) -> Tensor:
        """What patches are compared by, whole numbers `(P, B, A, d)`: those of `(B, 3, T, h, w)`, of the same
        size, at the frames `at`."""
        features = ((self._seen(video, at) - self.mean) * self.gain).round_().clamp_(-LIMIT, LIMIT)
        return features.permute(2, 0, 1, 3)

    def _filters(self) -> Tensor:
        """The basis as filters `(d, 3 f, PATCH, PATCH)` of whole numbers, so small that what they see of
        pixels of 8 bits is exact in float32, in whatever order it is summed, and if they are rounded to TF32.
        """
        basis = self.basis.double()
        size = basis.abs().clamp(min=1e-9)
        largest_sum = 2**24 / MID_GREY - len(basis) / 2
        scale = min(largest_sum / float(size.sum(0).max()), 2**11 / float(size.max()))
        return (basis * scale).round().float().T.unflatten(1, (-1, PATCH, PATCH)).contiguous()

    def _seen(self, video: Tensor, at: list[int]) -> Tensor:
        """What the filters see of the patches of `(B, 3, T, h, w)` at the frames `at`: `(B, A, P, d)`."""
        frames = torch.tensor([[anchor + k for k in self.compared] for anchor in at], device=video.device)
        low, high = int(frames.min()), int(frames.max())
        levels = ((video[:, :, low : high + 1] + 1) * 127.5).round().clamp(0, 255).float() - MID_GREY
        r = PATCH // 2
        padded = F.pad(levels.transpose(1, 2).flatten(0, 1), (r, r, r, r), mode="replicate")
        compared = padded.unflatten(0, (len(video), -1))[:, frames - low].flatten(2, 3)  # B A 3f h w
        compared = compared.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        seen = F.conv2d(compared, self.filters, stride=STRIDE)
        return seen.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (-1, len(at)))

    def _unfold(self, clip: Tensor) -> Tensor:
        """`(3, K, h, w)` to `(K, P, p)`, p by row, column and colour; beyond the border its pixels are
        repeated."""
        r = PATCH // 2
        padded = F.pad(clip.transpose(0, 1), (r, r, r, r), mode="replicate")
        padded = padded.permute(0, 2, 3, 1).contiguous()  # patches' rows in one piece: quicker than F.unfold
        patches = padded.unfold(1, PATCH, STRIDE).unfold(2, PATCH, STRIDE)  # K rows columns 3 y x
        return patches.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)


def on_grid(video: Tensor) -> Tensor:
    """Rounded so that the round-off of different ways to the same colours is gone."""
    return (video.double() * GRID).round() / GRID


def enlarge(video: Tensor, size: Size) -> Tensor:
    """`(B, C, T, h, w)` to another size, borders repeated."""
    rows, columns = (
        upsampling(torch.arange(fine, device=video.device), coarse, fine, clamp=True)
        for fine, coarse in zip(size, video.shape[-2:], strict=True)
    )
    return upsample(video, rows, columns)
