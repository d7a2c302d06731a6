"""Runs the cells, each in a process of its own, and writes down what each gives as soon as it ends."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from dtsgan.compare.cell import Task, sentence
from dtsgan.compare.contestants import find_contestants, import_methods
from dtsgan.compare.folder import REAL, Cell, ReportDir, Row, Settings
from dtsgan.compare.page import write_page
from dtsgan.compare.prepared import passing_on
from dtsgan.compare.tables import write_tables
from dtsgan.config import preset
from dtsgan.errors import ConfigError, DTSGANError, RunError
from dtsgan.metrics.perceptual import Networks
from dtsgan.pyramid import resize
from dtsgan.rundir import read_json, write_json
from dtsgan.video import probe, read_clip, write_clip

SOURCE_SIDE = 256  # of the kept clip at most: no method in the literature learns larger frames
PATIENCE = 3.0  # times its budget, and ten minutes, until a cell is given up
OnProgress = Callable[[int, int, str], None]  # cells done, cells in all, what has just ended

# -m dtsgan.compare.cell would import this package, hence that module, before it runs it
START_CELL = "from dtsgan.compare.cell import main; main()"


def compare(
    clips: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    methods: Sequence[str] = ("all",),
    updates: Iterable[str] = (),
    seeds: Sequence[int] = (0,),
    settings: Settings | None = None,
    weights: str | os.PathLike[str] | None = None,
    processes: int = 1,
    imports: Sequence[str] = (),
    retry: bool = False,
    rescore: bool = False,
    on_progress: OnProgress | None = None,
) -> ReportDir:
    """Compares methods on clips; killed at any time, the same call goes on where it was.

    Args:
        clips: videos; the middle square of each is used, and its name is the file's without suffix.
        out: the report's folder.
        methods, updates: see `contestants.find_contestants`.
        seeds: of learning, and of the videos drawn; each is a cell of its own.
        settings: what all cells share; `Settings()` when not given.
        weights: folder of pretrained networks, of the scores and of methods that look through one;
            $DTSGAN_METRIC_WEIGHTS when not given.
        processes: cells at a time. They share the cores: time is comparable only where this stays the same.
        imports: modules that add their own methods to `BASELINES`.
        retry: also run cells anew that failed or were not available.
        rescore: score the videos of finished cells anew, without drawing them again.
        on_progress: told of each cell that ends, in the caller's thread.

    Returns:
        The folder, with its tables and its page.

    Raises:
        ConfigError, RunError, VideoError, FileNotFoundError: what the user can mend, before any cell runs.
    """
    import_methods(imports)
    contestants = find_contestants(methods, updates, bool(settings and settings.quick))
    settings = settings or Settings()
    if own := {"seed", "train.seed", "update", "train.update"} & {*settings.changes}:
        raise ConfigError(f"{min(own)} is what cells differ by: name it with --seeds or --update")
    for one in contestants:
        if one.preset:
            preset(one.preset).with_settings(settings.changes)  # refuses what is no setting, or too much
    if processes < 1:
        raise ConfigError(f"processes must be at least 1, got {processes}")
    if not seeds or not all(0 <= seed < 2**31 for seed in seeds):
        raise ConfigError(f"seeds are whole numbers from 0 on, got {[*seeds]}")
    networks = Networks(weights)  # refuses a folder that does not exist
    folder = ReportDir(Path(out))
    named = name_clips(clips)
    for path in named.values():
        probe(path)  # refuses what is no video
    folder.open(settings)
    with folder.lock():
        for name, path in named.items():
            keep_clip(folder, name, path, settings)
        cells = []
        for name in named:  # clip by clip: what their scoring shares is large
            cells.append(Cell(name, REAL))
            cells += [Cell(name, one.name, s) for one in contestants for s in seeds]
        done = folder.read_rows()
        waiting = []
        for cell in cells:
            row = done.get(cell)
            if row is None or (rescore if row["status"] == "done" else retry):
                if row is not None:  # or its old result would be taken for the new one
                    (folder.cell(cell) / "result.json").unlink(missing_ok=True)
                waiting.append(cell)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        kept = str(networks.folder.resolve()) if networks.folder else None
        tasks = [
            Task(
                report=str(folder.path), cell=cell, settings=settings, weights=kept,
                imports=tuple(imports), threads=max(1, cores // processes),
            )
            for cell in waiting
        ]  # fmt: skip
        count, left = len(cells) - len(waiting), Counter(cell.clip for cell in waiting)
        with passing_on(folder):
            for row in run_tasks(folder, tasks, processes):
                folder.append(row)
                count += 1
                left[row["clip"]] -= 1
                if not left[row["clip"]]:
                    folder.prepared(row["clip"]).unlink(missing_ok=True)
                if on_progress:
                    on_progress(count, len(cells), f"{Cell.of(row)}: {row.get('reason') or row['status']}")
                write_tables(folder)
        write_tables(folder)
        write_page(folder)
    return folder


def write_report(out: str | os.PathLike[str]) -> ReportDir:
    """Writes tables and page of what is finished, and runs nothing."""
    folder = ReportDir(Path(out))
    folder.read_settings()
    write_tables(folder)
    write_page(folder)
    return folder


# -- clips ---


def name_clips(clips: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """
    Raises:
        ConfigError: no clip, or two of one name.
        FileNotFoundError: one that is not there.
    """
    named: dict[str, Path] = {}
    for path in map(Path, clips):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: give video files, or folders of frames")
        if path.stem in named:
            raise ConfigError(f"{named[path.stem]} and {path} have one name: rename one of them")
        named[path.stem] = path
    if not named:
        raise ConfigError("no clip is named: give at least one video to compare on")
    return named


def keep_clip(folder: ReportDir, name: str, path: Path, settings: Settings) -> None:
    """The middle square of a clip, as all methods are given it, without loss.

    Raises:
        VideoError: a clip that cannot be read, or has fewer frames than a scored one.
        RunError: if the folder has another clip of that name.
    """
    identity = _sha256(path)
    if folder.clip_facts(name).exists():
        if read_json(folder.clip_facts(name)).get("sha256") != identity:
            raise RunError(
                f"{folder.path} was begun with another clip named {name}: rename {path}, or "
                "choose another --out"
            )
        return
    seen = probe(path)
    short = min(seen.source_width, seen.source_height)
    size = min(SOURCE_SIDE, short) if short > SOURCE_SIDE else None
    clip, info = read_clip(path, size=size, min_frames=settings.num_frames)
    height, width = clip.shape[3:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = resize(clip[..., top : top + side, left : left + side], (side, side))
    write_clip(folder.source(name), square, info.fps)
    facts = {
        "file": path.name, "sha256": identity, "frames": info.num_frames, "fps": info.fps, "side": side,
        "source_width": info.source_width, "source_height": info.source_height, "warnings": [*info.warnings],
    }  # fmt: skip
    write_json(folder.clip_facts(name), facts)  # last: it says that the clip is whole


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- cells ---


def run_tasks(folder: ReportDir, tasks: Sequence[Task], processes: int) -> Iterable[Row]:
    """The tasks' results, each as soon as its process has ended; leaving early ends all processes."""
    running: set[subprocess.Popen[bytes]] = set()
    is_over = threading.Event()

    def work(task: Task) -> Row | None:
        return None if is_over.is_set() else run_process(folder, task, running)

    with ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                row = future.result()
                if row is not None:
                    yield row
        finally:
            is_over.set()
            for process in [*running]:
                process.kill()
            pool.shutdown(cancel_futures=True)


def run_process(folder: ReportDir, task: Task, running: set[subprocess.Popen[bytes]]) -> Row:
    """One cell's result. A process that dies without one is a failure with its reason."""
    where = folder.cell(task.cell)
    result = where / "result.json"
    if result.exists():  # its process ended when nobody was left to write it down
        return read_json(result)
    where.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(task.threads),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }  # fmt: skip
    minutes = task.settings.budget
    limit = None if minutes is None else 60 * (PATIENCE * minutes + 10)
    with (where / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START_CELL, task.to_json()], stdin=subprocess.PIPE, stdout=log,
            stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    running.add(process)
    try:
        process.wait(limit)
        reason = died(process.returncode)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        reason = f"it was still at it after {PATIENCE:g} times its budget and ten minutes, and was ended"
    finally:
        running.discard(process)
        assert process.stdin is not None
        process.stdin.close()
    if result.exists():
        try:
            return read_json(result)
        except DTSGANError as error:
            reason = sentence(error)
    cell = task.cell
    log_file = (where / "log.txt").relative_to(folder.path)
    return {
        "clip": cell.clip, "method": cell.method, "seed": cell.seed, "status": "failed",
        "reason": f"{reason}: {log_file} has its last words",
    }  # fmt: skip


def died(code: int) -> str:
    if code >= 0:
        return f"its process ended with status {code}"
    name = signal.Signals(-code).name
    hint = ", often for want of memory" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"


def summary(folder: ReportDir) -> dict[str, Any]:
    """What the command answers: where things are and how the cells ended."""
    rows = [row for row in folder.read_rows().values() if row["method"] != REAL]
    return {
        "report": str(folder.path),
        "page": str(folder.page),
        "cells": {
            status: sum(r["status"] == status for r in rows) for status in ("done", "failed", "unavailable")
        },
        "not_done": [
            {key: row[key] for key in ("clip", "method", "seed", "status", "reason")}
            for row in rows
            if row["status"] != "done"
        ],
    }
