"""How good a model's video is: every score beside what real and broken video score.

    evaluation = evaluate("runs/river", num_videos=20)
    evaluation.scores["motion_ratio"], evaluation.floors["unseen"]["motion_ratio"]

Like is compared with like. The real clip is cut into halves; every clip that is judged, drawn or real, has
the same number of frames and is set beside one half, so that a sample and unseen footage differ in nothing
but their origin. Samples are drawn and judged one at a time; of each, 16 frames are kept for comparing them.
"""

import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtsgan.errors import ConfigError, DTSGANError, RunError, nearest
from dtsgan.metrics import (
    CONTROLS,
    FAULTS,
    METRICS,
    MIN_HALVED_FRAMES,
    Metric,
    controls,
    ranks,
)
from dtsgan.metrics.perceptual import Networks, lpips_matrix, off_diagonal_mean
from dtsgan.metrics.similarity import spread_frames
from dtsgan.model import DTSGAN
from dtsgan.pyramid import resize
from dtsgan.rundir import RunDir
from dtsgan.sampler import CHUNK
from dtsgan.video import read_clip

MAX_FRAMES = (
    64  # of a sample: two Welch segments and their overlap; more changes no score by more than its spread
)
KEPT_FRAMES = 16  # of a sample, and the length of the paper's clips
NUM_WINDOWS = 8  # real clips whose differences stand for those of samples
TILE_FRAMES = 8

OnProgress = Callable[[float, str], None]  # part done, 0 to 1, and what is being done


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. All mappings are by the scores' names, keys of `metrics.METRICS`."""

    scores: dict[str, float | None]  # mean over samples; None: see `unavailable`
    spread: dict[str, float]  # standard deviation over samples
    perfect: dict[str, float]  # the value to come near: the score's own, or the real video's
    floors: dict[str, dict[str, float]]  # by clip first: unseen, copy, blurred, shuffled, noise, cut
    ranks: dict[str, dict[str, bool]]  # whether unseen footage beats each fault on this clip
    unavailable: dict[str, str]  # why there is no number
    samples_used: dict[str, int]
    seeds: tuple[int, ...]
    lpips_matrix: list[list[float]] | None  # between samples, in the order of the seeds
    num_frames: int  # of each sample
    size: tuple[int, int]
    reference: str
    reference_frames: int
    seconds: float

    @property
    def num_videos(self) -> int:
        return len(self.seeds)

    def blind_to(self, name: str) -> list[str]:
        """Faults that the score cannot tell from unseen footage on this clip."""
        return [fault for fault, is_seen in self.ranks.get(name, {}).items() if not is_seen]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers, strings and None only."""
        return {
            "scores": self.scores,
            "spread": self.spread,
            "perfect": self.perfect,
            "floors": self.floors,
            "ranks": self.ranks,
            "unavailable": self.unavailable,
            "samples_used": self.samples_used,
            "metrics": {
                name: {"judges": m.says, "variant": m.variant, "unit": m.unit, "kind": m.kind}
                for name, m in METRICS.items()
            },
            "num_videos": self.num_videos,
            "num_frames": self.num_frames,
            "size": list(self.size),
            "seeds": list(self.seeds),
            "lpips_matrix": self.lpips_matrix,
            "reference": self.reference,
            "reference_frames": self.reference_frames,
            "seconds": round(self.seconds, 1),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Evaluation":
        """From what `to_dict` gave."""
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**known | {"seeds": tuple(values["seeds"]), "size": tuple(values["size"])})


def source_of(model: DTSGAN | str | os.PathLike[str]) -> Path:
    """The video that a run has learned, as it keeps it.

    Raises:
        RunError: if `model` is not a run's folder.
    """
    source = RunDir(Path(model)).source if isinstance(model, str | os.PathLike) else None
    if source is None or not source.exists():
        missing = f"{source} does not exist" if source else "a model alone has no source"
        raise RunError(f"{missing}: give the real video with --reference CLIP")
    return source


def read_reference(model: DTSGAN, reference: str | os.PathLike[str] | Tensor) -> Tensor:
    """The real clip at the model's own size, `(1, 3, T, H, W)`, at least 4 frames.

    Raises:
        VideoError: if it cannot be read or is too short.
    """
    clip = reference if isinstance(reference, Tensor) else read_clip(reference, min_frames=4)[0]
    return resize(clip.to(model.device), model.size)


def evaluate(
    model: DTSGAN | str | os.PathLike[str],
    reference: str | os.PathLike[str] | Tensor | None = None,
    num_videos: int = 20,
    num_frames: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    names: Iterable[str] | None = None,
    first_seed: int = 0,
    beside: Evaluation | None = None,
) -> Evaluation:
    """Scores samples of a model beside the real video and its floors.

    Args:
        model: a model, or what `DTSGAN.from_pretrained` takes.
        reference: the real video, or a clip `(1, 3, T, H, W)` in [-1, 1]; when not given the run's source.
        num_videos: samples, those that the seeds `first_seed`, `first_seed` + 1, ... name.
        num_frames: length of a sample; when not given 64, or half of the real clip where that is less.
        weights: folder of pretrained metric networks; see `metrics.perceptual.Networks`.
        on_progress: told the part done and what comes next, in the caller's thread.
        names: keys of `metrics.METRICS`; all when not given.
        beside: an evaluation of another model by the same real video and scores, whose floors hold for this
            one, too: judging them takes about as long as ten samples.

    Raises:
        ConfigError: a number out of its range, an unknown name, a folder of weights that does not exist, or
            `beside` is of other footage, length or size.
        RunError: no real video.
        VideoError, ModelFileError: a file that cannot be read.
    """
    began = time.monotonic()
    if num_videos < 1:
        raise ConfigError(f"num_videos must be at least 1, got {num_videos}")
    chosen = [*METRICS] if names is None else list(names)
    if unknown := [name for name in chosen if name not in METRICS]:
        raise ConfigError(f'there is no score "{unknown[0]}"{nearest(unknown[0], [*METRICS])}')
    reference = source_of(model) if reference is None else reference
    called = "a clip in memory" if isinstance(reference, Tensor) else str(reference)
    model = model if isinstance(model, DTSGAN) else DTSGAN.from_pretrained(model)
    real = read_reference(model, reference)
    halves = halves_of(real)
    longest = halves[-1].shape[2] if len(halves) == 1 else min(half.shape[2] for half in halves)
    length = min(MAX_FRAMES, longest) if num_frames is None else num_frames
    if not 4 <= length <= longest:
        raise ConfigError(
            f"num_frames must be 4 to {longest}, half of the {real.shape[2]} frames of the real video, so "
            f"that samples and unseen footage are of one length; got {num_frames}"
        )
    if beside is not None:
        theirs = (beside.num_frames, beside.reference_frames, beside.size)
        ours = (length, real.shape[2], model.size)
        if theirs != ours:
            raise ConfigError(
                "(frames judged, real frames, size) of the other evaluation are "
                f"{theirs}, of this one {ours}: its floors do not hold here, so leave beside out"
            )
    networks = Networks(weights, model.device)
    judge = Judge(
        real, halves, length, chosen, networks, _steps(on_progress, num_videos + (2 if beside else 8))
    )
    if beside is None:
        judge.judge_floors()
    kept = []
    seeds = range(first_seed, first_seed + num_videos)
    for number, seed in enumerate(seeds):
        judge.step(f"video {number + 1} of {num_videos}")
        sample = model.sample(length, seed=seed)
        judge.judge_sample(sample, number, num_videos)
        kept.append(sample[:, :, spread_frames(length, KEPT_FRAMES)])
    judge.step("comparing the videos")
    matrix = judge.judge_set(torch.cat(kept))
    judge.step("seams")
    judge.judge_seams(model, sample)
    found = judge.conclude(tuple(seeds), matrix, model.size, called, time.monotonic() - began)
    if beside is None:
        return found
    return replace(found, floors=beside.floors, perfect=beside.perfect, ranks=beside.ranks)


def _steps(on_progress: OnProgress | None, total: int) -> Callable[[str], None]:
    """Counts what is done: six floors, unless they are known, the videos, and two steps at the end."""
    done = -1

    def step(what: str) -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done / total, what)

    return step


def halves_of(real: Tensor, min_frames: int = MIN_HALVED_FRAMES // 2) -> tuple[Tensor, ...]:
    """The two halves of a clip `(1, 3, T, H, W)`, or the clip alone where a half would be shorter than
    `min_frames` or than what the scores need."""
    return real.tensor_split(2, dim=2) if real.shape[2] >= max(MIN_HALVED_FRAMES, 2 * min_frames) else (real,)


class Judge:
    """Gathers values by score and clip; what cannot be scored is asked for once and remembered with why.

    Args:
        real, halves: the real clip and `halves_of` it.
        length: frames of every clip that is judged.
        names: keys of `metrics.METRICS`.
        step: told what is judged next.
    """

    def __init__(
        self, real: Tensor, halves: tuple[Tensor, ...], length: int, names: list[str], networks: Networks,
        step: Callable[[str], None] = lambda what: None,
    ) -> None:  # fmt: skip
        self.real, self.halves, self.length = real, halves, length
        self.names, self.networks, self.step = names, networks, step
        self.values: dict[str, dict[str, list[float]]] = {
            column: defaultdict(list) for column in ("samples", "unseen", *CONTROLS, "cut")
        }
        self.off_unseen: dict[str, float] = {}
        self.unavailable: dict[str, str] = {}
        self.kept = {"whole": real} | {f"part {k}": half for k, half in enumerate(halves)}
        self.prepared: dict[tuple[str, tuple[Any, ...]], Any] = {}  # by name of a kept clip, and work

    # -- the judging ---

    def judge_floors(self) -> None:
        starts = [half[:, :, : self.length] for half in self.halves]
        self.step("the real video: unseen footage")
        if len(starts) == 2:
            for k in (0, 1):
                self.judge_pair("unseen", starts[k], 1 - k)
        for start in starts:
            self.judge_own("unseen", start)
        for name, clip in controls(starts[0]).items():
            self.step(f"the real video: {name}")
            self.judge_pair(name, clip, 0)
            self.judge_own(name, clip)
        self.step("the real video: parts of it")
        windows = self.windows(self.real)
        self.judge_sets("unseen", windows)
        for name, clips in controls(windows).items():
            # one video, drawn again and again: the copy of a set of samples
            self.judge_sets(name, clips[:1].expand_as(clips) if name == "copy" else clips)
        if len(self.halves) == 2:
            first, second = (self.set_scores(self.windows(half)) for half in self.halves)
            self.off_unseen = {name: abs(first[name] - second[name]) for name in first if name in second}

    def judge_sample(self, sample: Tensor, number: int, num_videos: int) -> None:
        # one half for each sample, in turn; a single sample has to face both
        sides = range(len(self.halves)) if num_videos == 1 else [number % len(self.halves)]
        for side in sides:
            self.judge_pair("samples", sample, side, number)
        self.judge_own("samples", sample)

    def judge_pair(self, column: str, clip: Tensor, side: int, number: int = 0) -> None:
        for metric, names in self.grouped("pair"):
            if metric.max_samples and number >= metric.max_samples:
                continue
            is_copy_search = names == ["copy_score"]  # a model may have copied any part of the source
            against = self.real if is_copy_search and column == "samples" else self.halves[side]
            self.record(column, metric, names, clip, against)

    def judge_own(self, column: str, clip: Tensor) -> None:
        for metric, names in self.grouped("own"):
            self.record(column, metric, names, clip, clip)

    def judge_set(self, samples: Tensor) -> Tensor | None:
        """All samples `(B, 3, T, H, W)`; gives the matrix of their distances."""
        for name, value in self.set_scores(samples, but="lpips_diversity").items():
            self.values["samples"][name].append(value)
        if "lpips_diversity" not in self.names:
            return None
        if len(samples) < 2:
            self.unavailable.setdefault("lpips_diversity", "one sample has no diversity: draw at least 2")
        if "lpips_diversity" in self.unavailable:
            return None
        try:
            matrix = lpips_matrix(samples, self.networks.get("lpips_alex"))
        except ValueError as error:  # no weights, or too small
            self.unavailable["lpips_diversity"] = _sentence(error)
            return None
        self.values["samples"]["lpips_diversity"].append(off_diagonal_mean(matrix))
        return matrix

    def judge_sets(self, column: str, clips: Tensor) -> None:
        for name, value in self.set_scores(clips).items():
            self.values[column][name].append(value)

    def set_scores(self, clips: Tensor, but: str = "") -> dict[str, float]:
        found: dict[str, float] = {}
        for metric, names in self.grouped("set"):
            found |= self.attempt(metric, [n for n in names if n != but], clips, self.real)
        return found

    def judge_seams(self, model: DTSGAN, sample: Tensor) -> None:
        real = self.real[:, :, : self.length]
        if "loop_seam_ratio" in self.names:
            loop = model.sample(self.length, seed=0, loop=True)
            self.record_seam("loop_seam_ratio", loop, "cut", real)
        if "chunk_seam_ratio" in self.names and self.length > CHUNK:
            self.record_seam("chunk_seam_ratio", sample, "unseen", real)
        elif "chunk_seam_ratio" in self.names:
            self.unavailable["chunk_seam_ratio"] = f"{self.length} frames are drawn in one chunk"
        tiles = [name for name in ("tile_seam_ratio_x", "tile_seam_ratio_y") if name in self.names]
        if model.layout != "free":
            self.unavailable |= dict.fromkeys(tiles, "an anchored scene has no tiles")
            return
        for name in tiles:
            tile = model.sample(min(self.length, TILE_FRAMES), seed=0, tile="xy")
            self.record_seam(name, tile, "cut", real[:, :, :TILE_FRAMES])

    def record_seam(self, name: str, clip: Tensor, column: str, real: Tensor) -> None:
        metric = METRICS[name]
        if name == "chunk_seam_ratio":
            metric = replace(metric, options={"period": CHUNK})
        self.record("samples", metric, [name], clip, clip)
        self.record(column, metric, [name], real, real)

    # -- the bookkeeping ---

    def grouped(self, kind: str) -> list[tuple[Metric, list[str]]]:
        """The scores of a kind, those together that one pass of one function gives."""
        groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        for name in self.names:
            if METRICS[name].kind == kind:
                groups[METRICS[name].work].append(name)
        return [(METRICS[names[0]], names) for names in groups.values()]

    def record(self, column: str, metric: Metric, names: list[str], clip: Tensor, against: Tensor) -> None:
        for name, value in self.attempt(metric, names, clip, against).items():
            self.values[column][name].append(value)

    def attempt(self, metric: Metric, names: list[str], clip: Tensor, against: Tensor) -> dict[str, float]:
        """One pass of one function: a value for each of the names that can have one."""
        wanted = [name for name in names if name not in self.unavailable]
        if not wanted:
            return {}
        try:
            name = next((name for name, kept in self.kept.items() if against is kept), "")
            key = (name, metric.work)
            if metric.preparation and name and key not in self.prepared:
                self.prepared[key] = metric.prepared(against, self.networks)
            result = metric.run(clip, self.prepared.get(key, against), self.networks)
        except ValueError as error:  # no weights, or too short or small: for each of them alike
            self.unavailable |= dict.fromkeys(wanted, _sentence(error))
            return {}
        values = {}
        for name in wanted:
            try:
                value = METRICS[name].pick(result)
            except DTSGANError as error:
                self.unavailable[name] = _sentence(error)
                continue
            if math.isfinite(value):
                values[name] = value
            else:
                self.unavailable[name] = "it came out infinite"
        return values

    def windows(self, clip: Tensor) -> Tensor:
        """Up to 8 real clips of 16 frames, evenly spaced, `(K, 3, T, H, W)`: samples should differ so."""
        length = max(2, min(KEPT_FRAMES, clip.shape[2] // 2))
        starts = sorted(set(spread_frames(clip.shape[2] - length + 1, NUM_WINDOWS)))
        return torch.cat([clip[:, :, start : start + length] for start in starts])

    def floors(self) -> dict[str, dict[str, float]]:
        """Mean values of the clips whose worth is known, by clip and score."""
        return {
            column: {
                name: statistics.fmean(values)
                for name, values in by_name.items()
                if name not in self.unavailable
            }
            for column, by_name in self.values.items()
            if column != "samples" and by_name
        }

    def scores(self) -> dict[str, float | None]:
        """Mean values of the samples; None: see `unavailable`."""
        samples = self.values["samples"]
        return {
            name: None if name in self.unavailable else statistics.fmean(samples[name])
            for name in METRICS
            if name in self.unavailable or name in samples
        }

    def spread(self) -> dict[str, float]:
        """Standard deviations over the samples, of scores that have several values."""
        return {
            name: statistics.stdev(values)
            for name, values in self.values["samples"].items()
            if len(values) > 1 and name not in self.unavailable
        }

    def conclude(
        self, seeds: tuple[int, ...], matrix: Tensor | None, size: tuple[int, int], reference: str,
        seconds: float,
    ) -> Evaluation:  # fmt: skip
        floors, samples = self.floors(), self.values["samples"]
        perfect, ranked = {}, {}
        for name, metric in METRICS.items():
            unseen = self.values["unseen"].get(name, [])
            target = metric.perfect if metric.perfect is not None else floors.get("unseen", {}).get(name)
            if name in self.unavailable or name not in samples or target is None:
                continue
            perfect[name] = target
            if metric.kind == "seam" or not unseen or len(self.halves) < 2:
                continue  # nothing is unseen
            off = {f: abs(floors[f][name] - target) for f in FAULTS if name in floors[f]}
            if metric.perfect is None:  # the real video's own value: how far its parts are from each other
                off["unseen"] = self.off_unseen.get(name, max(unseen) - min(unseen))
            else:
                off["unseen"] = abs(statistics.fmean(unseen) - target)
            ranked[name] = ranks(off)
        return Evaluation(
            scores=self.scores(),
            spread=self.spread(),
            perfect=perfect,
            floors=floors,
            ranks=ranked,
            unavailable=dict(self.unavailable),
            samples_used={
                name: len(seeds) if METRICS[name].kind == "set" else min(len(seeds), len(values))
                for name, values in samples.items()
                if name not in self.unavailable
            },
            seeds=seeds,
            lpips_matrix=None if matrix is None else matrix.tolist(),
            num_frames=self.length,
            size=size,
            reference=reference,
            reference_frames=self.real.shape[2],
            seconds=seconds,
        )


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())


# -- the table ---

COLUMNS = ("unseen", "copy", "blurred", "shuffled", "noise")


def table(evaluation: Evaluation) -> str:
    """The evaluation as lines for a terminal."""
    e = evaluation
    parts = "two halves" if e.ranks else "one piece"
    videos = f"{e.num_videos} video{'s' if e.num_videos > 1 else ''}"
    lines = [
        f"{videos} of {e.num_frames} frames, {e.size[1]}x{e.size[0]} px, beside "
        f"{e.reference_frames} real frames in {parts} ({e.reference}); {e.seconds:.0f} s",
        "",
        f"{'':28} {'model':>9} {'':>8}" + "".join(f"{c:>10}" for c in COLUMNS) + "  judges",
    ]
    for name, metric in METRICS.items():
        value = e.scores.get(name)
        if metric.kind == "seam" or value is None:
            continue
        floors = "".join(f"{short(e.floors.get(c, {}).get(name)):>10}" for c in COLUMNS)
        blind = e.blind_to(name)
        warning = f"; here blind to: {', '.join(blind)}" if blind else ""
        best = "best: as unseen" if metric.perfect is None else f"best: {metric.perfect:g}"
        lines.append(
            f"{name:28} {short(value):>9} {_give_or_take(e.spread.get(name)):>8}{floors}  "
            f"{metric.says} ({best}{', ' + metric.unit if metric.unit else ''}){warning}"
        )
    seams = [name for name, m in METRICS.items() if m.kind == "seam" and e.scores.get(name) is not None]
    if seams:
        lines += ["", f"{'seams (best: 1)':28} {'model':>9} {'':>8}{'real, cut':>10}"]
    for name in seams:
        cut = e.floors.get("cut", {}).get(name, e.floors.get("unseen", {}).get(name))
        lines.append(f"{name:28} {short(e.scores[name]):>9} {'':>8}{short(cut):>10}  {METRICS[name].says}")
    if e.unavailable:
        reasons: dict[str, list[str]] = defaultdict(list)
        for name, reason in e.unavailable.items():
            reasons[reason].append(name)
        lines += ["", "not available:"]
        lines += [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return "\n".join(lines)


def short(value: float | None) -> str:
    """A number as a table shows it; `-` for none."""
    if value is None:
        return "-"
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 1000
        else f"{value:.3g}"
        if size >= 100
        else f"{value:.{3 if size < 10 else 1}f}"
    )


def _give_or_take(value: float | None) -> str:
    return "" if value is None else f"±{short(value)}"
