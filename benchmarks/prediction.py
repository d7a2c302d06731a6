"""Prediction of frames that no training has seen, and editing, each beside its floors, targets marked.

    DTSGAN_EVAL_DATA=clips DTSGAN_METRIC_WEIGHTS=weights python benchmarks/prediction.py --runs runs70

For each clip a texture and its encoder are learned from the first 70 % of the video (RUNS/CLIP).
Predictions begin at frames of the last 30 %; what really followed is the truth. Floors: the last frame
copied, a random real clip, and the real clip whose first frame is nearest to the picture. LPIPS (AlexNet)
is measured where its weights are at hand. A run that is missing is trained, one that was stopped goes on,
and one that is measured already is left alone: killed at any time, the same command goes on where it was.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import RESULTS, machine
from targets import Cell, Target, target_table
from torch import Tensor
from tqdm import tqdm

from dtsgan import jobs
from dtsgan.edit import Edit, plain_edit
from dtsgan.errors import DTSGANError
from dtsgan.metrics.motion import frame_differences, motion_ratio
from dtsgan.metrics.patches import sliced_wasserstein
from dtsgan.model import DTSGAN
from dtsgan.rundir import RunDir, write_json, write_text
from dtsgan.video import from_uint8, probe, read_clip, to_uint8, write_contact_sheet

LENGTH = 16  # frames of a prediction, the picture included
NEAR = slice(1, 5)  # the four frames after the picture
SEEN = 0.7  # of the video, that is learned from

Values = dict[str, dict[str, list[float]]]  # of every picture and seed, by what is measured and the method

ENCODER, CLOSED = "encoder", "closed form, no encoder"
COPY, NEAREST, RANDOM = "copy of the last frame", "nearest real clip", "random real clip"
TRUTH = "what really came"
ANEW, PASTED, POISSON = "drawn anew", "plain pasting", "Poisson blending"


def median(part: str, what: str, method: str) -> Callable[[Cell], float | None]:
    """Of all pictures and seeds of a cell."""

    def figure(cell: Cell) -> float | None:
        values = cell[part].get(what, {}).get(method)
        return statistics.median(values) if values else None

    return figure


def gain(what: str, method: str, over: str) -> Callable[[Cell], float | None]:
    """How much more the method has than another."""

    def figure(cell: Cell) -> float | None:
        one, other = median("prediction", what, method)(cell), median("prediction", what, over)(cell)
        return None if one is None or other is None else one - other

    return figure


def ratio(what: str, method: str, over: str) -> Callable[[Cell], float | None]:
    def figure(cell: Cell) -> float | None:
        one, other = median("prediction", what, method)(cell), median("prediction", what, over)(cell)
        return None if one is None or not other else one / other

    return figure


PREDICTION = (
    Target("first frame, dB", "≥ 30", median("prediction", "first frame, PSNR", ENCODER), lambda v: v >= 30),
    Target("frames 2 to 5 over the copy, dB", "≥ 1", gain("frames 2 to 5, PSNR", ENCODER, COPY),
           lambda v: v >= 1),
    Target("the same, closed form", "", gain("frames 2 to 5, PSNR", CLOSED, COPY)),
    Target("real steps smaller than the first", "< 0.95", median("prediction", "jump", ENCODER),
           lambda v: v < 0.95),
    Target("motion ratio, 16 frames", "0.8 to 1.25", median("prediction", "motion ratio", ENCODER),
           lambda v: 0.8 <= v <= 1.25),
    Target("sigma-N-LPIPS / real", "", ratio("sigma-N-LPIPS", ENCODER, TRUTH)),
)  # fmt: skip

FLOORS = tuple(
    Target(f"{short}: {name}", "", median("prediction", what, method))
    for what, short in (("frames 2 to 5, PSNR", "dB"), ("frames 2 to 16, LPIPS", "LPIPS"))
    for method, name in ((ENCODER, "encoder"), (CLOSED, "closed form"), (COPY, "copy"),
                         (NEAREST, "nearest"), (RANDOM, "random"))
)  # fmt: skip

EDITING = (
    *(Target(f"seam: {method}", "", median("edit", "seam ratio", method))
      for method in (ANEW, PASTED, POISSON)),
    *(Target(f"motion: {method}", "", median("edit", "motion inside over the source's", method))
      for method in (ANEW, PASTED, POISSON)),
    *(Target(f"patch distance: {method}", "", median("edit", "patch distance", method))
      for method in (ANEW, PASTED, POISSON)),
    Target("unchanged outside, to the last bit", "1", median("edit", "unchanged outside", ANEW),
           lambda v: v == 1),
)  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", metavar="DIR", type=Path, required=True, help="where the runs are, or are made")
    p.add_argument("--clips", metavar="NAME", nargs="+", help="of DTSGAN_EVAL_DATA (default: all)")
    p.add_argument("--no-training", action="store_true", help="only measure the runs that are there")
    p.add_argument("--preset", default="fast", help="recipe of the training (default: %(default)s)")
    p.add_argument(
        "--starts", metavar="N", type=int, default=6, help="pictures of a clip (default: %(default)s)"
    )
    p.add_argument(
        "--seeds", metavar="N", type=int, default=2, help="futures of a picture (default: %(default)s)"
    )
    p.add_argument(
        "--sheets", metavar="DIR", type=Path, help="for contact sheets: the truth above the future"
    )
    p.add_argument("--out", metavar="DIR", type=Path, default=RESULTS, help="default: benchmarks/results")
    arguments = p.parse_args()
    data = os.environ.get("DTSGAN_EVAL_DATA")
    if not data or not Path(data).is_dir():
        sys.exit("set DTSGAN_EVAL_DATA to a folder of video clips: the figures are of real footage")

    folder = Path(data) / "clips" if (Path(data) / "clips").is_dir() else Path(data)
    before = machine()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "prediction.json"
    cells: dict[str, Cell] = json.loads(kept.read_text())["cells"] if kept.exists() else {}
    failed = []
    for name in tqdm(arguments.clips or sorted(path.stem for path in folder.glob("*.mp4")), file=sys.stderr):
        try:
            cell = measure(folder / f"{name}.mp4", cells.get(name), arguments)
        except DTSGANError as error:
            failed.append(f"{name}: {error}")
            continue
        if cell is None:
            continue
        cells[name] = {"machine": before, **cell}
        write_json(kept, {"benchmark": "prediction", "machine": before, "cells": cells})
        write_text(arguments.out / "prediction.md", "\n".join(markdown(cells.values())))
    print("\n".join(markdown(cells.values())))
    for sentence in failed:
        print(f"not measured: {sentence}", file=sys.stderr)
    if failed or not cells:
        sys.exit("nothing was measured" if not cells else 1)


def measure(video: Path, known: Cell | None, arguments: argparse.Namespace) -> Cell | None:
    """What is kept of a clip; None if it is known already, too short, or may not be trained."""
    whole = probe(video)
    learned = round(SEEN * whole.num_frames)
    if whole.num_frames - learned < LENGTH:
        tqdm.write(f"{video.stem}: too short to hold {LENGTH} frames back", file=sys.stderr)
        return None
    run = RunDir(arguments.runs / video.stem)
    if not arguments.no_training:
        train(video, run.path, arguments.preset, learned / whole.fps)
    elif not (run.model / "encoder").exists():
        tqdm.write(f"{run.path} has no encoder yet: left out", file=sys.stderr)
        return None
    recipe = run.read_config()["config"]
    cell = {
        "clip": video.stem, "preset": recipe["preset"], "learned": learned, "starts": arguments.starts,
        "seeds": arguments.seeds, "minutes": round(run.read_status()["seconds"] / 60, 2),
    }  # fmt: skip
    if known and cell.items() <= known.items():
        return None
    model = DTSGAN.from_pretrained(run.path)
    clip, _ = read_clip(video, size=min(model.size))
    prediction, futures = predicted(model, clip, learned, arguments.starts, arguments.seeds)
    edit, edits = edited(model, clip[:, :, :LENGTH])
    if arguments.sheets is not None:
        write_contact_sheet(arguments.sheets / f"{video.stem}.png", futures, 8)
        write_contact_sheet(arguments.sheets / f"{video.stem}_edit.png", edits, 8)
    return {**cell, "prediction": prediction, "edit": edit}


def markdown(cells: Iterable[Cell]) -> list[str]:
    """The tables, line by line."""
    cells = list(cells)
    if not cells:
        return []
    m = cells[-1]["machine"]
    presets = ", ".join(sorted({cell["preset"] for cell in cells}))
    return [
        "# Prediction and editing", "",
        "Written by `benchmarks/prediction.py`: medians of all pictures and seeds of a clip. **Bold**: a "
        "target missed. –: no number.", "",
        f"{m['cpu']}, {m['cores']} cores, torch {m['torch']}, {m['date']}; preset {presets}, learned from "
        f"the first {SEEN:.0%} of each clip; {cells[-1]['starts']} pictures of the rest, "
        f"{cells[-1]['seeds']} futures of each.", "",
        "## Prediction of held-out frames", "", *target_table(cells, PREDICTION),
        "## Beside floors: PSNR of frames 2 to 5, LPIPS of frames 2 to 16", "",
        *target_table(cells, FLOORS)[:-2],
        "## Editing: a patch carried to two other places", "", *target_table(cells, EDITING)[:-2],
    ]  # fmt: skip


def train(video: Path, folder: Path, preset: str, end: float) -> None:
    """Until texture and encoder are learned, or nothing where they are."""
    run = (
        jobs.Run.resume(folder, with_prediction=True)
        if (folder / "config.json").exists()
        else jobs.train(video, folder, preset, end=end, with_prediction=True)
    )
    tqdm.write(run.describe(), file=sys.stderr)
    for _ in run:
        pass


# -- prediction ---


def predicted(
    model: DTSGAN, clip: Tensor, learned: int, num_starts: int, num_seeds: int
) -> tuple[Values, list[Tensor]]:
    """The figures of one clip, and rows of a contact sheet: the truth above the prediction."""
    lpips = load_lpips()
    seen = clip[:, :, :learned]
    rng = torch.Generator().manual_seed(0)
    ordinary = frame_differences(clip)
    closed = DTSGAN(model.pyramid, model.fps)
    values: Values = {}

    def note(what: str, method: str, value: Tensor | float) -> None:
        values.setdefault(what, {}).setdefault(method, []).append(round(float(value), 5))

    sheet = []
    for start in torch.linspace(learned, clip.shape[2] - LENGTH, num_starts).long().tolist():
        real = clip[:, :, start : start + LENGTH]
        picture = real[0, :, 0]
        begins = seen[:, :, : learned - LENGTH]
        nearest = int((begins - picture[None, :, None]).square().mean((0, 1, 3, 4)).argmin())
        random = int(torch.randint(learned - LENGTH, (), generator=rng))
        methods: dict[str, list[Tensor]] = {
            ENCODER: [model.predict(picture, LENGTH, seed) for seed in range(num_seeds)],
            COPY: [real[:, :, :1].expand_as(real)],
            NEAREST: [seen[:, :, nearest : nearest + LENGTH]],
            RANDOM: [seen[:, :, random : random + LENGTH]],
        }
        if closed.can_predict:
            methods[CLOSED] = [closed.predict(picture, LENGTH, seed) for seed in range(num_seeds)]
        sheet += [real[:, :, :8], methods[ENCODER][0][:, :, :8]]
        for method, futures in methods.items():
            for future in futures:
                error = psnr(future, real)
                note("first frame, PSNR", method, min(float(error[0]), 99.0))
                note("frames 2 to 5, PSNR", method, error[NEAR].mean())
                note("frames 2 to 16, PSNR", method, error[1:].mean())
                note("motion ratio", method, motion_ratio(future, real))
                step = frame_differences(torch.cat([picture[None, :, None], future[:, :, 1:2]], 2))
                note("jump", method, (ordinary < step[0]).float().mean())
                if lpips is not None:
                    note("first frame, LPIPS", method, lpips(future[:, :, :1], real[:, :, :1]).mean())
                    note("frames 2 to 16, LPIPS", method, lpips(future[:, :, 1:], real[:, :, 1:]).mean())
                    note("sigma-N-LPIPS", method, sigma_n_lpips(future, lpips))
        if lpips is not None:
            note("sigma-N-LPIPS", TRUTH, sigma_n_lpips(real, lpips))
    return values, sheet[:8]


def psnr(fake: Tensor, real: Tensor) -> Tensor:
    """Of each frame, `(T,)`; the range of values is 2."""
    return 10 * torch.log10(4 / (fake - real).square().mean((0, 1, 3, 4)).clamp(min=1e-12))


def sigma_n_lpips(clip: Tensor, lpips: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Deviation of LPIPS of neighbours over that of the ends (Eq. 6); a loop's ends are kept apart."""
    ends = float(lpips(clip[:, :, :1], clip[:, :, -1:]).mean())
    return float(lpips(clip[:, :, :-1], clip[:, :, 1:]).std()) / max(ends, 1e-3)


def load_lpips() -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS of each pair of frames, where `DTSGAN_METRIC_WEIGHTS` holds AlexNet's features."""
    weights = Path(os.environ.get("DTSGAN_METRIC_WEIGHTS", "")) / "alexnet_features.safetensors"
    if not weights.is_file():
        return None
    import lpips
    from safetensors.torch import load_file

    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    known = load_file(weights)
    net.net.load_state_dict({k: known["features." + k.split(".", 1)[1]] for k in net.net.state_dict()})

    @torch.no_grad()
    def distance(one: Tensor, other: Tensor) -> Tensor:
        return net(*(clip[0].transpose(0, 1) for clip in (one, other))).flatten()

    return distance


# -- editing ---


def edited(model: DTSGAN, clip: Tensor) -> tuple[Values, list[Tensor]]:
    """A patch of the video carried to two other places, beside plain pasting and Poisson blending: the
    figures, and rows of a contact sheet.
    """
    height, width = clip.shape[3:]
    w, h = width // 4, height // 4
    values: Values = {}
    sheet = [clip]
    top, left = peak(clip.std(2).mean((0, 1)), h, w)  # patches are taken from where it moves most

    def note(what: str, method: str, value: float) -> None:
        values.setdefault(what, {}).setdefault(method, []).append(round(value, 5))

    for k, (x, y) in enumerate(((left // 3, top // 3), ((left + width - w) // 2, (top + height - h) // 2))):
        plain, mask = plain_edit(model, clip, Edit(op="copy", box=(left, top, w, h), to=(x, y), delay=2 + k))
        inside = mask[0, 0, 0] > 0
        anew = model.edit(plain, mask)
        results = {ANEW: anew, PASTED: plain, POISSON: poisson(plain, clip, inside)}
        for method, result in results.items():
            patch = result[..., y : y + h, x : x + w]
            source = clip[..., top : top + h, left : left + w]
            moved = frame_differences(patch).mean() / frame_differences(source).mean().clamp(min=1e-6)
            note("seam ratio", method, seam_ratio(result, clip, inside))
            note("motion inside over the source's", method, float(moved))
            note("patch distance", method, sliced_wasserstein(patch, clip, num_levels=2))
        outside = grown(inside, 12) == 0
        note("unchanged outside", ANEW, float(torch.equal(anew[..., outside], clip[..., outside])))
        sheet += list(results.values())
    return values, sheet


def peak(values: Tensor, h: int, w: int) -> tuple[int, int]:
    """Upper left corner of the window of the largest mean."""
    means = torch.nn.functional.avg_pool2d(values[None, None], (h, w), stride=1)[0, 0]
    place = int(means.argmax())
    return place // means.shape[1], place % means.shape[1]


def grown(mask: Tensor, by: int) -> Tensor:
    return torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * by + 1, 1, by)[0, 0]


def seam_ratio(edited: Tensor, clip: Tensor, inside: Tensor) -> float:
    """Steps between neighbours across the mask's border, over ordinary steps of the video at both ends of the
    patch: 1 is as any place."""

    def across(video: Tensor, mask: Tensor) -> Tensor:
        sideways = (video[..., 1:] - video[..., :-1]).abs().mean((0, 1, 2))
        down = (video[..., 1:, :] - video[..., :-1, :]).abs().mean((0, 1, 2))
        return torch.cat([
            sideways[mask[:, 1:] != mask[:, :-1]], down[mask[1:] != mask[:-1]]
        ])  # fmt: skip

    near = grown(inside, 6) > 0
    steps = torch.cat([
        (edited[..., 1:] - edited[..., :-1]).abs().mean((0, 1, 2))[near[:, 1:] & near[:, :-1]],
        (edited[..., 1:, :] - edited[..., :-1, :]).abs().mean((0, 1, 2))[near[1:] & near[:-1]],
    ])  # fmt: skip
    return float(across(edited, inside).mean() / steps.mean().clamp(min=1e-6))


def poisson(plain: Tensor, clip: Tensor, inside: Tensor) -> Tensor:
    """Poisson blending of each frame (Perez et al. 2003), OpenCV's."""
    rows, columns = (torch.nonzero(inside.any(axis)).flatten() for axis in (1, 0))
    centre = (int(columns[0] + columns[-1] + 1) // 2, int(rows[0] + rows[-1] + 1) // 2)
    mask = (inside.numpy() * 255).astype(np.uint8)
    border = [0, -1]
    mask[border, :], mask[:, border] = 0, 0  # it needs a rim to read from
    frames = [
        cv2.seamlessClone(np.ascontiguousarray(p), np.ascontiguousarray(c), mask, centre, cv2.NORMAL_CLONE)
        for p, c in zip(to_uint8(plain)[0], to_uint8(clip)[0], strict=True)
    ]
    return from_uint8(np.stack(frames)[None])


if __name__ == "__main__":
    main()
