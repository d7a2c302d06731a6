"""One cell, in a process of its own: learn, draw, keep the videos, score them, write down the result.

Started by `compare` as `python -m dtsgan.compare.cell TASK`. It ends with the process that started it, which
holds the other end of its standard input.
"""

import json
import os
import platform
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtsgan import jobs
from dtsgan.baselines import Method
from dtsgan.compare.contestants import Contestant, contestant, import_methods
from dtsgan.compare.cost import Cost
from dtsgan.compare.folder import REAL, Cell, ReportDir, Row, Settings
from dtsgan.compare.prepared import read_prepared, write_prepared
from dtsgan.errors import DTSGANError, WeightsUnavailable
from dtsgan.evaluate import Judge, halves_of
from dtsgan.metrics import METRICS
from dtsgan.metrics.perceptual import Networks
from dtsgan.pyramid import resize
from dtsgan.rundir import read_json, write_json
from dtsgan.video import read_clip, write_clip

FIT_SHARE = 0.8  # of a budget: what is left goes to the videos, all of it where there is nothing to learn
SEED_STRIDE = 1000  # video k of seed s is drawn with seed 1000 s + k
SCORES = [name for name, metric in METRICS.items() if metric.kind != "seam"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that the process of a cell is told."""

    report: str
    cell: Cell
    settings: Settings
    weights: str | None
    imports: tuple[str, ...]
    threads: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Task":
        values = json.loads(text)
        for name, kind in (("cell", Cell), ("settings", Settings)):
            values[name] = kind(**values[name])
        return cls(**{**values, "imports": tuple(values["imports"])})


def run_task(task: Task) -> Row:
    """Does the cell's work and gives its line of the results, which others may read: without paths of this
    machine."""
    text = json.dumps(work(task)).replace(f"{task.report}/", "")
    return json.loads(text.replace(task.weights, "the folder of weights") if task.weights else text)


def work(task: Task) -> Row:
    """What the cell gives: a method that fails is a line of the results, too."""
    cell, folder = task.cell, ReportDir(Path(task.report))
    row: Row = {"clip": cell.clip, "method": cell.method, "seed": cell.seed}
    try:
        if cell.method == REAL:
            return row | {"status": "done", **score_floors(folder, task)}
        one = contestant(cell.method)
        row |= one.facts()
        if missing := one.missing_network(Path(task.weights) if task.weights else None):
            raise WeightsUnavailable(missing)
        return row | {"status": "done", **draw(folder, task, one), **score_videos(folder, task)}
    except (WeightsUnavailable, ImportError) as error:
        return row | {"status": "unavailable", "reason": sentence(error)}
    except (DTSGANError, ValueError, OSError) as error:
        traceback.print_exc()
        return row | {"status": "failed", "reason": sentence(error)}
    except Exception as error:  # a bug of a method costs its cell, not the comparison
        traceback.print_exc()
        return row | {"status": "failed", "reason": f"{type(error).__name__}: {sentence(error)}"}


def sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


# -- learning and drawing ---


def draw(folder: ReportDir, task: Task, one: Contestant) -> dict[str, Any]:
    """Learns and draws, unless that was done before; gives what is known about it."""
    path = folder.cell(task.cell) / "drawn.json"
    if not path.exists():
        facts = draw_baseline(folder, task, one.baseline) if one.baseline else draw_own(folder, task, one)
        write_json(path, {"threads": task.threads, "machine": machine(), **facts})
    return read_json(path)


def draw_baseline(folder: ReportDir, task: Task, method: Method) -> dict[str, Any]:
    settings, fit, sampling = task.settings, Cost(), Cost()
    clip, info = read_clip(folder.source(task.cell.clip))
    side = (method.quick_size if settings.quick else None) or method.size or settings.size
    learned = resize(clip[:, :, : method.num_frames], (side, side))
    del clip
    weights = {"weights": task.weights} if method.network else {}
    budget = None if settings.budget is None else 60 * settings.budget
    torch.manual_seed(task.cell.seed)
    with fit.measured():
        learner = method.create(settings.quick, **weights)
        learner.fit(learned, report_progress("learning"), None if budget is None else FIT_SHARE * budget)
    size = None
    for number in range(settings.num_videos):
        left = None if budget is None else max(0.0, budget - fit.seconds - sampling.seconds)
        rng = torch.Generator().manual_seed(SEED_STRIDE * task.cell.seed + number)
        with sampling.measured():
            video = learner.sample(
                settings.num_frames, rng, report_progress(f"video {number}"),
                None if left is None else left / (settings.num_videos - number),
            )  # fmt: skip
        size = keep(folder, task, number, video, info.fps)
    return facts(task, fit, sampling, learned, size)


def draw_own(folder: ReportDir, task: Task, one: Contestant) -> dict[str, Any]:
    """DTSGAN learns the whole clip, as a run within the cell's folder, which goes on where it was stopped."""
    settings, fit, sampling = task.settings, Cost(), Cost()
    path, source = folder.cell(task.cell) / "run", folder.source(task.cell.clip)
    size = None if {"max_size", "pyramid.max_size"} & {*settings.changes} else settings.size
    with fit.measured():
        if (path / "config.json").exists():
            run = jobs.Run.resume(path)
        else:
            run = jobs.train(
                source, path, one.preset, size=size, update=one.update, device="cpu",
                seed=task.cell.seed, budget=settings.budget and FIT_SHARE * settings.budget,
                settings={"threads": task.threads, **settings.changes},
            )  # fmt: skip
        show = report_progress("learning")
        for progress in run:
            show(progress.work_done, f"scale {progress.scale + 1}/{progress.num_scales}")
    fit.seconds = run.seconds  # of all sittings
    model, drawn_size = run.model, None
    for number in range(settings.num_videos):
        with sampling.measured():
            video = model.sample(settings.num_frames, seed=SEED_STRIDE * task.cell.seed + number)
        drawn_size = keep(folder, task, number, video, run.fps)
    return facts(task, fit, sampling, run.source_clip, drawn_size)


def keep(folder: ReportDir, task: Task, number: int, video: Tensor, fps: float) -> tuple[int, int]:
    """Writes a video at the size that all are scored at, without loss; gives the size it had.

    Raises:
        ValueError: a video that is not what was asked for.
    """
    frames, side = task.settings.num_frames, task.settings.size
    if video.ndim != 5 or tuple(video.shape[:3]) != (1, 3, frames):
        raise ValueError(
            f"it drew a video of shape {[*video.shape]} where (1, 3, {frames}, H, W) was asked for"
        )
    if not video.isfinite().all():
        raise ValueError("it drew values that are no numbers: it has diverged")
    height, width = video.shape[3:]
    shown = resize(video.detach().float().cpu().clamp(-1, 1), (side, side))
    write_clip(folder.video(task.cell, number), shown, fps)
    return height, width


def facts(
    task: Task, fit: Cost, sampling: Cost, learned: Tensor, size: tuple[int, int] | None
) -> dict[str, Any]:
    return {
        "num_videos": task.settings.num_videos,
        "learned": {"frames": learned.shape[2], "size": [*learned.shape[3:]]},
        "drawn_size": size,
        "fit_seconds": round(fit.seconds, 2),
        "fit_memory": round(fit.memory),
        "sample_seconds": round(sampling.seconds / task.settings.num_videos, 3),  # for one video
        "sample_memory": round(sampling.memory),
    }


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def report_progress(what: str) -> Any:
    """Writes to the log of the cell, a line for each hundredth."""
    last = -1

    def show(part: float, doing: str) -> None:
        nonlocal last
        if int(100 * part) != last:
            last = int(100 * part)
            print(f"{what}: {part:4.0%} {doing}", flush=True)

    return show


# -- scoring ---


@contextmanager
def judging(folder: ReportDir, task: Task) -> Iterator[Judge]:
    """A judge who knows what other cells of the clip have prepared, and passes on what is new."""
    settings = task.settings
    real = resize(read_clip(folder.source(task.cell.clip))[0], (settings.size, settings.size))
    networks = Networks(task.weights)
    halves = halves_of(real, settings.num_frames)
    judge = Judge(real, halves, settings.num_frames, SCORES, networks, lambda what: print(what, flush=True))
    judge.prepared = read_prepared(folder, task.cell.clip)
    known = set(judge.prepared)
    yield judge
    if set(judge.prepared) > known:
        write_prepared(folder, task.cell.clip, judge.prepared)


def score_floors(folder: ReportDir, task: Task) -> dict[str, Any]:
    """What another part of the real clip, a copy, a blurred one, shuffled frames and noise score."""
    with judging(folder, task) as judge:
        judge.judge_floors()
    return {"floors": judge.floors(), "unavailable": judge.unavailable, "num_frames": judge.real.shape[2]}


def score_videos(folder: ReportDir, task: Task) -> dict[str, Any]:
    """Scores the videos as they were kept, so that a later scoring finds the same numbers."""
    count, videos = task.settings.num_videos, []
    with judging(folder, task) as judge:
        for number in range(count):
            print(f"scoring video {number}", flush=True)
            video = read_clip(folder.video(task.cell, number))[0]
            judge.judge_sample(video, number, count)
            videos.append(video)
        judge.judge_set(torch.cat(videos))
    return {"scores": judge.scores(), "spread": judge.spread(), "unavailable": judge.unavailable}


# -- the process ---


def end_with_parent() -> None:
    """A comparer that is killed closes the pipe, and its cells must not go on without it."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    task = Task.from_json(sys.argv[1])
    torch.set_num_threads(task.threads)
    import_methods(task.imports)
    row = run_task(task)
    write_json(ReportDir(Path(task.report)).cell(task.cell) / "result.json", row)


if __name__ == "__main__":
    main()
