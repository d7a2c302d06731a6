"""Quality: runs (or presets, trained first) over real clips, each score beside its floors, targets marked.

DTSGAN_EVAL_DATA=clips python benchmarks/quality.py --presets fast quality --seeds 0 1 2 --runs runs/quality
DTSGAN_EVAL_DATA=clips python benchmarks/quality.py --runs runs/quality --no-training --clips flag fountain

The folder of runs holds one run for each clip, preset and seed, RUNS/PRESET/SEED/CLIP (or RUNS/CLIP where
--presets names none). A run that is missing is trained, one that was stopped goes on, and one that is
evaluated already is left alone: killed at any time, the same command goes on where it was.

What was found is in OUT/quality/CLIP.json, the real clip's part once; OUT/quality.md is the table of all.
Commands for different clips may run side by side, with --threads 1.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine
from targets import Cell, Target, median_table, target_table
from tqdm import tqdm

from dtsgan import jobs
from dtsgan.errors import DTSGANError
from dtsgan.evaluate import Evaluation, evaluate, source_of
from dtsgan.metrics import METRICS
from dtsgan.model import DTSGAN
from dtsgan.rundir import RunDir, read_json, write_json, write_text

DATA = "DTSGAN_EVAL_DATA"
# What is the same for all runs of a clip at one size.
REAL = ("floors", "perfect", "ranks", "num_frames", "size", "reference", "reference_frames")
MIN_FRAMES = 33  # shorter clips cannot be halved into parts that the scores are defined for


def value(cell: Cell, name: str) -> float | None:
    return cell["scores"].get(name)


def over_unseen(name: str) -> Callable[[Cell], float | None]:
    """How many times as far from perfect as unseen footage."""

    def figure(cell: Cell) -> float | None:
        floor = cell["floors"].get("unseen", {}).get(name)
        score = value(cell, name)
        return None if score is None or not floor else score / floor

    return figure


def over_control(name: str, control: str) -> Callable[[Cell], float | None]:
    """How many times as far from perfect as a faulty clip; none where the score is blind to the fault."""

    def figure(cell: Cell) -> float | None:
        floor = cell["floors"].get(control, {}).get(name)
        score = value(cell, name)
        is_blind = cell["ranks"].get(name, {}).get(control) is False
        return None if score is None or not floor or is_blind else score / floor

    return figure


def over_real(name: str) -> Callable[[Cell], float | None]:
    """As a multiple of the real video's own value."""

    def figure(cell: Cell) -> float | None:
        real, score = cell["perfect"].get(name), value(cell, name)
        return None if score is None or not real else score / real

    return figure


TARGETS = (
    Target("motion ratio", "0.8 to 1.25", lambda c: value(c, "motion_ratio"), lambda v: 0.8 <= v <= 1.25),
    Target("temporal spectrum / unseen", "≤ 2", over_unseen("temporal_spectrum_distance"), lambda v: v <= 2),
    # of frame differences: training compares the patches themselves
    Target("motion patch SWD / unseen", "≤ 2", over_unseen("sliced_wasserstein_motion"), lambda v: v <= 2),
    Target("SIFID / blurred", "< 1", over_control("sifid", "blurred"), lambda v: v < 1),
    Target("SIFID / shuffled", "< 1", over_control("sifid", "shuffled"), lambda v: v < 1),
    Target("FID-768 / blurred", "< 1", over_control("fid_768", "blurred"), lambda v: v < 1),
    Target("FID-768 / shuffled", "< 1", over_control("fid_768", "shuffled"), lambda v: v < 1),
    Target("sigma-N-LPIPS / real", "0.8 to 1.2", over_real("sigma_n_lpips"), lambda v: 0.8 <= v <= 1.2),
    Target("LPIPS diversity / real", "≥ 0.8", over_real("lpips_diversity"), lambda v: v >= 0.8),
    Target("copy score", "≥ 0.5", lambda c: value(c, "copy_score"), lambda v: v >= 0.5),
    Target("minutes", "", lambda c: c["trained"]["minutes"]),
)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", metavar="DIR", type=Path, required=True, help="where the runs are, or are made")
    p.add_argument(
        "--presets",
        metavar="NAME",
        nargs="+",
        default=[],
        help="recipes to train (default: runs as they are)",
    )
    p.add_argument(
        "--seeds",
        metavar="N",
        nargs="+",
        type=int,
        default=[0],
        help="of learning; videos of seed N are drawn with 1000 N, 1000 N + 1, ... (default: 0)",
    )
    p.add_argument(
        "--clips", metavar="NAME", nargs="+", help="only these (default: all that are long enough)"
    )
    p.add_argument(
        "--num-videos", metavar="N", type=int, default=20, help="samples a run (default: %(default)s)"
    )
    p.add_argument("--scores", metavar="NAME", nargs="+", help="only these scores (default: all)")
    p.add_argument("--threads", metavar="N", type=int, default=0, help="of a training (default: all cores)")
    p.add_argument("--metric-weights", metavar="DIR", type=Path, help="as of dtsgan evaluate")
    p.add_argument("--no-training", action="store_true", help="only evaluate the runs that are there")
    p.add_argument("--device", default="auto", help="of the training (default: %(default)s)")
    p.add_argument("--out", metavar="DIR", type=Path, default=RESULTS, help="default: benchmarks/results")
    arguments = p.parse_args()

    before = machine()
    folder = arguments.out / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(product(clips(arguments.clips), arguments.presets or [""], arguments.seeds))
    failed = []
    for clip, preset, seed in tqdm(wanted, unit="run", file=sys.stderr):
        run = arguments.runs / (f"{preset}/{seed}" if preset else "") / clip.stem
        try:
            trained = finished_run(run, clip, preset, seed, arguments)
            if trained is not None:
                judge(folder / f"{clip.stem}.json", run, trained, before, arguments)
        except DTSGANError as error:
            failed.append(f"{clip.stem} {preset}: {error}")
    cells = read_cells(folder)
    if cells:
        table = "\n".join(markdown(cells))
        with suppress(FileNotFoundError):  # a command beside this one has just written it
            write_text(arguments.out / "quality.md", table)
        print(table)
    for sentence in failed:
        print(f"not evaluated: {sentence}", file=sys.stderr)
    if failed or not cells:
        sys.exit("nothing was evaluated" if not cells else 1)


def judge(
    kept: Path, run: Path, trained: dict[str, Any], machine: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Evaluates a run, unless that was done, and adds it to what is kept of its clip."""
    real, cells = read_kept(kept)
    name = f"{trained['preset']} {trained['seed']}"
    scores = arguments.scores or list(METRICS)
    cell = cells.get(name, {})
    is_known = (cell.get("trained"), cell.get("num_videos")) == (trained, arguments.num_videos)
    if is_known and cell["scores"].keys() >= set(scores):
        return
    model = DTSGAN.from_pretrained(run)
    others = [Evaluation.from_dict(real | other) for other in cells.values()]
    with_floors = [
        other for other in others
        if other.size == model.size and other.perfect.keys() | other.unavailable.keys() >= set(scores)
    ]  # fmt: skip
    found = evaluate(
        model, source_of(run), arguments.num_videos, weights=arguments.metric_weights,
        names=scores, first_seed=1000 * (trained["seed"] or 0), beside=next(iter(with_floors), None),
        on_progress=lambda part, what: tqdm.write(f"{kept.stem} {name}: {part:4.0%} {what}", file=sys.stderr),
    ).to_dict()  # fmt: skip
    found.pop("metrics")  # the same for all
    found["reference"] = kept.stem  # not a path of this machine
    real = real or {key: found[key] for key in REAL}
    own = {key: value for key, value in found.items() if key not in real or real[key] != value}
    cells[name] = {"preset": trained["preset"], "trained": trained, "machine": machine, **own}
    write_json(kept, {"benchmark": "quality", "clip": kept.stem, "real": real, "cells": cells})


def read_kept(kept: Path) -> tuple[dict[str, Any], dict[str, Cell]]:
    """What is the same for all runs of a clip, and what is not, by preset and seed."""
    values = read_json(kept) if kept.exists() else {"real": {}, "cells": {}}
    return values["real"], values["cells"]


def read_cells(folder: Path) -> list[Cell]:
    """Evaluations of all clips, whole."""
    clips = [(path.stem, *read_kept(path)) for path in sorted(folder.glob("*.json"))]
    return [{"clip": clip, **real, **cell} for clip, real, cells in clips for cell in cells.values()]


def clips(names: list[str] | None) -> list[Path]:
    """The evaluation clips that are long enough, or those that are named."""
    root = os.environ.get(DATA)
    if not root or not Path(root).is_dir():
        sys.exit(f"set {DATA} to a folder of video clips, or one with clips/ and manifest.json")
    folder = Path(root) / "clips" if (Path(root) / "clips").is_dir() else Path(root)
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in (".mp4", ".mkv", ".webm")}
    if names:
        if missing := sorted(set(names) - set(found)):
            sys.exit(f"{folder} has no clip named {', '.join(missing)}; there are {', '.join(found)}")
        return [found[name] for name in names]
    manifest = Path(root) / "manifest.json"
    lengths = (
        {entry["name"]: entry["n_frames"] for entry in json.loads(manifest.read_text())}
        if manifest.exists()
        else {}
    )
    return [path for name, path in found.items() if lengths.get(name, MIN_FRAMES) >= MIN_FRAMES]


def finished_run(
    run: Path, clip: Path, preset: str, seed: int, arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """Trains, or goes on, until the run is done; None if it may not. Gives what tells it from another run."""
    folder = RunDir(run)
    if folder.read_status().get("state") != "done":
        if arguments.no_training or not preset:
            tqdm.write(f"{run} is not finished: left out", file=sys.stderr)
            return None
        unfinished = (
            jobs.Run.resume(run)
            if folder.config.exists()
            else jobs.train(
                clip, run, preset, device=arguments.device, seed=seed, settings={"threads": arguments.threads}
            )
        )
        with tqdm(total=1.0, desc=f"{clip.stem} {preset}", file=sys.stderr, leave=False) as bar:
            for progress in unfinished:
                bar.n = progress.work_done
                bar.update(0)
    config = folder.read_config()
    status = folder.read_status()
    recipe = config.get("config", {})
    return {
        "preset": preset or recipe.get("preset", "custom"),
        "steps": recipe.get("train", {}).get("steps"),
        "seed": recipe.get("train", {}).get("seed"),
        "machine": config.get("machine"),
        "minutes": round(status.get("seconds", 0) / 60, 2),
    }


def markdown(cells: Iterable[Cell]) -> list[str]:
    """The tables of all presets, line by line."""
    lines = [
        "# Quality", "",
        "Written by `benchmarks/quality.py`. **Bold**: a target missed; for a median also when a clip is "
        "worse than twice it (≫). –: no number, or the score cannot rank that control on that clip.", "",
    ]  # fmt: skip
    for preset, rows in grouped(cells, lambda cell: cell["preset"]).items():
        m = rows[-1]["machine"]
        by_seed = grouped(rows, lambda cell: cell["trained"]["seed"])
        by_clip = grouped(rows, lambda cell: cell["clip"])
        seeds = f", mean of {len(by_seed)} seeds of learning" if len(by_seed) > 1 else ""
        lines += [
            f"## {preset}", "",
            f"{m['cpu']}, {m['cores']} cores, torch {m['torch']}, {m['date']}; "
            f"{rows[-1]['num_videos']} videos of a clip{seeds}.", "",
            *target_table(map(mean, by_clip.values()), TARGETS),
        ]  # fmt: skip
        if len(by_seed) > 1:
            lines += ["Medians of each seed:", "", *median_table(by_seed, TARGETS), ""]
    return lines


def grouped(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> dict[Any, list[Cell]]:
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return dict(sorted(groups.items()))


def mean(cells: list[Cell]) -> Cell:
    """Runs of one clip with several seeds as one."""
    scores: dict[str, float | None] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell["scores"]):
        values = [value for value in (cell["scores"].get(name) for cell in cells) if value is not None]
        scores[name] = statistics.fmean(values) if values else None
    minutes = statistics.fmean(cell["trained"]["minutes"] for cell in cells)
    return cells[0] | {"scores": scores, "trained": cells[0]["trained"] | {"minutes": minutes}}


if __name__ == "__main__":
    main()
