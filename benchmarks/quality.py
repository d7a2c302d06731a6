"""Quality: runs (or presets, trained first) over real clips, each score beside its floors, targets marked.

DTSGAN_EVAL_DATA=clips python benchmarks/quality.py --presets fast --runs runs/quality
DTSGAN_EVAL_DATA=clips python benchmarks/quality.py --runs runs/quality --no-training --clips flag fountain

The folder of runs holds one run for each clip and preset, RUNS/PRESET/CLIP (or RUNS/CLIP where --presets
names none). A run that is missing is trained, one that was stopped goes on, and one that is evaluated already
is left alone: killed at any time, the same command goes on where it was.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine
from targets import Cell, Target, target_table
from tqdm import tqdm

from dtsgan import jobs
from dtsgan.errors import DTSGANError
from dtsgan.evaluate import evaluate
from dtsgan.rundir import RunDir, write_json, write_text

DATA = "DTSGAN_EVAL_DATA"
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
        "--clips", metavar="NAME", nargs="+", help="only these (default: all that are long enough)"
    )
    p.add_argument(
        "--num-videos", metavar="N", type=int, default=20, help="samples a run (default: %(default)s)"
    )
    p.add_argument("--metric-weights", metavar="DIR", type=Path, help="as of dtsgan evaluate")
    p.add_argument("--no-training", action="store_true", help="only evaluate the runs that are there")
    p.add_argument("--device", default="auto", help="of the training (default: %(default)s)")
    p.add_argument("--out", metavar="DIR", type=Path, default=RESULTS, help="default: benchmarks/results")
    arguments = p.parse_args()

    before = machine()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "quality.json"
    cells: dict[str, Cell] = json.loads(kept.read_text())["cells"] if kept.exists() else {}
    wanted = [(clip, preset) for preset in arguments.presets or [""] for clip in clips(arguments.clips)]
    failed = []
    for clip, preset in tqdm(wanted, unit="run", file=sys.stderr):
        run = arguments.runs / preset / clip.stem
        try:
            trained = finished_run(run, clip, preset, arguments)
            if trained is None:
                continue
            cell = cells.get(f"{clip.stem} {trained['preset']}")
            if cell and (cell["trained"], cell["num_videos"]) == (trained, arguments.num_videos):
                continue
            found = evaluate(
                run, num_videos=arguments.num_videos, weights=arguments.metric_weights,
                on_progress=lambda part, what, name=clip.stem: tqdm.write(
                    f"{name}: {part:4.0%} {what}", file=sys.stderr
                ),
            ).to_dict()  # fmt: skip
        except DTSGANError as error:
            failed.append(f"{clip.stem} {preset}: {error}")
            continue
        found.pop("reference")  # a path of this machine
        metrics = found.pop("metrics")  # the same for all
        cells[f"{clip.stem} {trained['preset']}"] = {
            "clip": clip.stem, "preset": trained["preset"], "trained": trained, "machine": before, **found
        }  # fmt: skip
        write_json(kept, {"benchmark": "quality", "machine": before, "metrics": metrics, "cells": cells})
        write_text(arguments.out / "quality.md", "\n".join(markdown(cells.values())))
    if cells:
        write_text(arguments.out / "quality.md", "\n".join(markdown(cells.values())))
        print("\n".join(markdown(cells.values())))
    for sentence in failed:
        print(f"not evaluated: {sentence}", file=sys.stderr)
    if failed or not cells:
        sys.exit("nothing was evaluated" if not cells else 1)


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


def finished_run(run: Path, clip: Path, preset: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Trains, or goes on, until the run is done; None if it may not. Gives what tells it from another run."""
    folder = RunDir(run)
    if folder.read_status().get("state") != "done":
        if arguments.no_training or not preset:
            tqdm.write(f"{run} is not finished: left out", file=sys.stderr)
            return None
        unfinished = (
            jobs.Run.resume(run)
            if folder.config.exists()
            else jobs.train(clip, run, preset, device=arguments.device)
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
    by_preset: dict[str, list[Cell]] = {}
    for cell in cells:
        by_preset.setdefault(cell["preset"], []).append(cell)
    lines = [
        "# Quality", "",
        "Written by `benchmarks/quality.py`. **Bold**: a target missed; for a median also when a clip is "
        "worse than twice it (≫). –: no number, or the score cannot rank that control on that clip.", "",
    ]  # fmt: skip
    for preset, rows in sorted(by_preset.items()):
        m = rows[-1]["machine"]
        lines += [
            f"## {preset}", "",
            f"{m['cpu']}, {m['cores']} cores, torch {m['torch']}, {m['date']}; "
            f"{rows[-1]['num_videos']} videos of a clip.", "",
            *target_table(rows, TARGETS),
        ]  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
