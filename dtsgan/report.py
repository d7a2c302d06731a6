"""One page that shows an evaluation: videos, contact sheets, slices, spectra, and the table with its floors.

The page needs nothing but itself: videos and pictures are inside, nothing is fetched, it works from a disk
without network and in light and dark.
"""

import base64
import datetime
import io
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtsgan import __version__
from dtsgan.errors import RunError
from dtsgan.evaluate import Evaluation, read_reference, short
from dtsgan.metrics import METRICS, controls
from dtsgan.metrics.motion import welch_spectrum
from dtsgan.metrics.spectra import ROUNDING_POWER, radial_power_spectrum
from dtsgan.model import DTSGAN
from dtsgan.rundir import write_json, write_text
from dtsgan.video import contact_sheet, write_clip

PAGE, NUMBERS = "index.html", "evaluation.json"
NUM_SHOWN = 3  # samples that are shown
MARKS = ("unseen", "blurred", "shuffled", "noise")  # on the strip of each score
WIDTH, HEIGHT, LEFT, BOTTOM = 460, 240, 46, 34  # of a plot, in its own units


@dataclass(frozen=True)
class Line:
    """One curve of a plot."""

    label: str
    style: str  # a class of the page's style sheet
    points: str  # of an SVG polyline


@dataclass(frozen=True)
class Plot:
    """A plot, ready to be drawn: all numbers are places in it."""

    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def check_folder(folder: Path) -> None:
    """Makes the folder, so that it is known to be writable before minutes of work.

    Raises:
        RunError: if it cannot be made, or holds a page that is no report.
    """
    if (folder / PAGE).exists() and not (folder / NUMBERS).exists():
        raise RunError(
            f"{folder} holds an {PAGE} that is no report and would be lost: choose another --report"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise RunError(f"cannot write a report to {folder} ({reason}): choose another --report") from error


def write_report(
    folder: str | os.PathLike[str],
    model: DTSGAN,
    evaluation: Evaluation,
    reference: str | os.PathLike[str] | Tensor,
    name: str = "model",
) -> Path:
    """Writes `index.html` and `evaluation.json`, each whole or not at all.

    Args:
        folder: made where it does not exist.
        model, reference: those that were evaluated; the samples shown are drawn again from their seeds.
        name: what the page calls the model.

    Returns:
        The page's path.

    Raises:
        RunError: if the folder cannot be written.
    """
    folder = Path(folder)
    check_folder(folder)
    real = read_reference(model, reference)
    shown = [model.sample(evaluation.num_frames, seed=seed) for seed in evaluation.seeds[:NUM_SHOWN]]
    titles = ["real", *(f"sample, seed {seed}" for seed in evaluation.seeds)]
    clips = [real[:, :, : evaluation.num_frames], *shown]
    row, column = liveliest(real)
    html = render(
        "report.html.j2",
        name=name,
        e=evaluation,
        date=datetime.date.today().isoformat(),
        layout=model.layout,
        fps=model.fps,
        facts=facts(evaluation),
        videos=[(t, video_data(clip, model.fps)) for t, clip in zip(titles, clips, strict=False)],
        sheet=picture_data(contact_sheet(clips, columns=8), "JPEG", quality=92),
        sheet_titles=titles[: len(clips)],
        slices=[(t, *slices(clip, row, column)) for t, clip in zip(titles, clips, strict=False)],
        row=row,
        column=column,
        plots=[temporal_plot(real, shown, model.fps), spatial_plot(real, shown)],
        plot_size=(WIDTH, HEIGHT, LEFT, BOTTOM),
        rows=[
            table_row(evaluation, n) for n, m in METRICS.items() if _has(evaluation, n) and m.kind != "seam"
        ],
        seams=[
            table_row(evaluation, n) for n, m in METRICS.items() if _has(evaluation, n) and m.kind == "seam"
        ],
        heat=heat_map(evaluation),
        missing=[(n, METRICS[n].says, reason) for n, reason in evaluation.unavailable.items()],
    )
    try:
        write_json(folder / NUMBERS, evaluation.to_dict())
        write_text(folder / PAGE, html)
    except OSError as error:
        raise RunError(
            f"cannot write a report to {folder} ({error.strerror}): choose another --report"
        ) from error
    return folder / PAGE


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; what is put in is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dtsgan", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(version=__version__, **values)


# -- videos and pictures ---


def video_data(clip: Tensor, fps: float) -> str:
    """H.264, which every browser plays, as a data address."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_clip(file, clip, fps)
        return f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"


def picture_data(image: Any, kind: str, **options: Any) -> str:
    """A Pillow picture as a data address."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def liveliest(clip: Tensor) -> tuple[int, int]:
    """The row and the column of pixels that change most over time: where a slice shows something."""
    change = clip[0].float().std(1).mean(0)  # H W
    return int(change.mean(1).argmax()), int(change.mean(0).argmax())


def slices(clip: Tensor, row: int, column: int) -> tuple[str, str]:
    """The row and the column over time, time to the right: `(B, C, T, H, W)` -> two pictures."""
    across = (clip[:, :, :, row].mT, clip[..., column].mT)  # B C W T, B C H T
    pictures = (contact_sheet([picture[:, :, None]], columns=1) for picture in across)
    x_t, y_t = (picture_data(picture, "PNG") for picture in pictures)
    return x_t, y_t


# -- spectra ---


def temporal_plot(real: Tensor, samples: Sequence[Tensor], fps: float) -> Plot:
    """Power of the pixels over temporal frequency, in dB."""
    segment = min(32, real.shape[2] // 2, *(sample.shape[2] for sample in samples))
    frequencies = [fps * k / segment for k in range(1, segment // 2 + 1)]
    spectra = _by_line(real, samples, lambda clip: welch_spectrum(clip, segment))
    return plot("How fast it changes", "cycles per second", "power, dB", frequencies, spectra)


def spatial_plot(real: Tensor, samples: Sequence[Tensor]) -> Plot:
    """Radially averaged power of the frames over spatial frequency, in dB."""
    size = min(real.shape[3:])
    spectra = _by_line(real, samples, lambda clip: radial_power_spectrum(clip, size))
    frequencies = [(k + 1) / size for k in range(size // 2)]  # beyond half a cycle a pixel lie only corners
    return plot("How fine its detail is", "cycles per pixel", "power, dB", frequencies, spectra)


def _by_line(real: Tensor, samples: Sequence[Tensor], spectrum: Any) -> list[tuple[str, str, Tensor]]:
    halves = real.tensor_split(2, dim=2) if real.shape[2] >= 8 else (real, real)
    blurred = controls(halves[0])["blurred"]
    return [
        ("blurred real", "blurred", spectrum(blurred)),
        ("real, first half", "real", spectrum(halves[0])),
        ("real, second half", "real half", spectrum(halves[1])),
        *(("sample", f"sample s{k}", spectrum(sample)) for k, sample in enumerate(samples)),
    ]


def plot(
    title: str, x_label: str, y_label: str, xs: Sequence[float], curves: Sequence[tuple[str, str, Tensor]]
) -> Plot:
    """Curves of power over frequency: both axes logarithmic, the vertical one in dB."""
    levels = [(10 * torch.log10(p[: len(xs)].cpu() + ROUNDING_POWER)).tolist() for _, _, p in curves]
    xs = xs[: min(len(level) for level in levels)]
    low = 10 * math.floor(min(min(level[: len(xs)]) for level in levels) / 10)
    high = 10 * math.ceil(max(max(level[: len(xs)]) for level in levels) / 10 + 1e-9)
    log_low, log_high = math.log10(xs[0]), math.log10(xs[-1])

    def x_at(value: float) -> float:
        return LEFT + (math.log10(value) - log_low) / (log_high - log_low or 1) * (WIDTH - LEFT - 10)

    def y_at(level: float) -> float:
        return 10 + (high - level) / (high - low or 1) * (HEIGHT - BOTTOM - 10)

    step = max(10, 10 * math.ceil((high - low) / 60))
    ticks = [m * 10**e for e in range(-4, 4) for m in (1, 2, 5)]

    def points(level: list[float]) -> str:
        return " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in zip(xs, level, strict=False))

    return Plot(
        title, x_label, y_label,
        [Line(label, style, points(level)) for (label, style, _), level in zip(curves, levels, strict=True)],
        [(x_at(t), f"{t:g}") for t in ticks if xs[0] <= t <= xs[-1]],
        [(y_at(t), f"{t:g}") for t in range(low, high + 1, step)],
    )  # fmt: skip


# -- numbers ---


def facts(e: Evaluation) -> list[tuple[str, str, str]]:
    """The few numbers that a reader wants first: heading, number, what it means."""
    found = []

    def add(name: str, heading: str, number: str, meaning: str) -> None:
        if _has(e, name):
            found.append((heading, number, meaning))

    value = {name: e.scores.get(name) or 0.0 for name in METRICS}
    unseen = e.floors.get("unseen", {})
    add(
        "motion_ratio",
        "Motion",
        f"{value['motion_ratio']:.2f}×",
        "of the real video's; 0.8 to 1.25 looks right",
    )
    detail = unseen.get("spatial_spectrum_distance")
    beside = f"; unseen real footage: {detail:.1f} dB" if detail is not None else ""
    add(
        "spatial_spectrum_distance", "Detail", f"{value['spatial_spectrum_distance']:.1f} dB",
        f"off in power over spatial frequencies{beside}",
    )  # fmt: skip
    add(
        "copy_score",
        "Novelty",
        f"{value['copy_score']:.2f}",
        "0 is a copy of the source, 1 as new as unseen footage",
    )
    if _has(e, "lpips_diversity") and e.perfect.get("lpips_diversity"):
        part = value["lpips_diversity"] / e.perfect["lpips_diversity"]
        add(
            "lpips_diversity",
            "Diversity",
            f"{part:.0%}",
            "of how much parts of the real video differ (LPIPS)",
        )
    else:
        add(
            "diversity",
            "Diversity",
            f"{value['diversity']:.2f}",
            "samples differ as much as the real video changes: 1",
        )
    return found


def table_row(e: Evaluation, name: str) -> dict[str, Any]:
    """One score as the page shows it."""
    metric = METRICS[name]
    floors = {column: e.floors[column][name] for column in e.floors if name in e.floors[column]}
    return {
        "name": name,
        "says": metric.says,
        "variant": metric.variant,
        "unit": metric.unit,
        "value": short(e.scores[name]),
        "spread": short(e.spread[name]) if name in e.spread else "",
        "samples": e.samples_used.get(name, 0),
        "best": short(metric.perfect) if metric.perfect is not None else "as unseen",
        "floors": {column: short(value) for column, value in floors.items()},
        "blind": e.blind_to(name),
        "marks": marks(e, name),
    }


def marks(e: Evaluation, name: str) -> list[tuple[str, float]]:
    """Where the model and its floors lie from perfect (0) to the worst of them (1), logarithmically."""
    perfect, value = e.perfect.get(name), e.scores.get(name)
    if perfect is None or value is None:
        return []
    off = {m: abs(e.floors[m][name] - perfect) for m in MARKS if name in e.floors.get(m, {})}
    off["model"] = abs(value - perfect)
    worst = max(off.values())
    if worst == 0:
        return []
    scaled = {
        mark: max(0.0, 1 + math.log10(max(distance / worst, 1e-12)) / 3) for mark, distance in off.items()
    }
    return list(scaled.items())


def heat_map(e: Evaluation) -> dict[str, Any] | None:
    """LPIPS between samples: `cells` of (row, column, part of the largest, text)."""
    if e.lpips_matrix is None:
        return None
    values = [v for i, row in enumerate(e.lpips_matrix) for j, v in enumerate(row) if i != j]
    top = max(values) or 1.0
    cells = [
        (i, j, v / top, f"seeds {e.seeds[i]} and {e.seeds[j]}: {v:.3f}")
        for i, row in enumerate(e.lpips_matrix)
        for j, v in enumerate(row)
        if i != j
    ]
    return {"cells": cells, "size": len(e.seeds), "low": f"{min(values):.3f}", "top": f"{top:.3f}"}


def _has(e: Evaluation, name: str) -> bool:
    return e.scores.get(name) is not None
