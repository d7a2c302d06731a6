"""How a training is doing, as HTML: the list, the scales, the loss curves, the preview."""

import html
from itertools import groupby, islice, pairwise
from typing import Any

from dtsgan.ui.page import Page, empty
from dtsgan.ui.queue import Job, read_losses

STATES = {
    "waiting": "in line", "starting": "starting", "running": "learning", "stopping": "stopping",
    "stopped": "stopped", "failed": "failed", "done": "done",
}  # fmt: skip
LOSSES = {
    "swd": "difference of patches", "reconstruction": "reconstruction", "discriminator": "discriminator",
    "generator": "generator", "future": "what comes next",
}  # fmt: skip
ACTIVE = ("waiting", "starting", "running", "stopping")


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 50:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < 3000:
        return f"about {max(1, round(seconds / 60))} min"
    if seconds < 36 * 3600:
        return f"about {round(seconds / 3600)} h"
    return f"about {round(seconds / 86400)} days"


def show(
    page: Page, found: list[Job], states: dict[str, dict[str, Any]], chosen: Job | None
) -> dict[str, Any]:
    """The HTML of the list, of the chosen training's progress and preview, and which buttons fit."""
    rows = "".join(_row(job, states[job.id], chosen is not None and job.id == chosen.id) for job in found)
    if chosen is None:
        words = empty("Nothing has been trained yet", "Choose a clip above; it takes a few minutes.")
        return {"list": words, "text": "", "clip": "", "buttons": []}
    run, status = page.queue.run(chosen), states[chosen.id]
    state = status["state"]
    has_model = (run.model / "config.json").exists()
    buttons = ["play"] if has_model else []
    buttons += ["stop"] if state in ACTIVE and state != "stopping" else []
    buttons += ["resume"] if state in ("stopped", "failed") else []
    buttons += ["delete"] if state not in ACTIVE else []
    scales = sorted(run.previews.glob("scale_*.mp4"), key=lambda p: int(p.stem.rpartition("_")[2]))
    clip = ""
    if scales:
        stamp = int(scales[-1].stat().st_mtime)
        number = scales[-1].stem.rpartition("_")[2]
        clip = (
            f'<figure class="dt-pair"><video src="media/preview/{chosen.id}/{number}.mp4?{stamp}" '
            f"autoplay muted loop "
            'playsinline aria-label="the clip, and beside it new video, so far"></video>'
            "<figcaption><span>the clip</span><span>new video, so far</span>"
            "</figcaption></figure>"
        )
    return {
        "list": f'<div class="dt-jobs">{rows}</div>',
        "text": _progress(chosen, status, read_losses(run)),
        "clip": clip,
        "buttons": buttons,
    }


def _row(job: Job, status: dict[str, Any], selected: bool) -> str:
    done = 1.0 if status["state"] == "done" else float(status.get("work_done") or 0)
    return (
        f'<button type="button" class="dt-job" data-job="{html.escape(job.id)}" '
        f'aria-pressed="{str(selected).lower()}">'
        f'<span class="name">{html.escape(job.name)}</span><span class="dt-state {status["state"]}">'
        f"{STATES[status['state']]}"
        f'</span><span class="dt-track"><i style="width:{100 * done:.0f}%"></i></span></button>'
    )


def _progress(job: Job, status: dict[str, Any], losses: list[dict[str, float]]) -> str:
    state = status["state"]
    words = {
        "waiting": f"{status.get('position', 0)} before it; it begins by itself, and you may close this page",
        "starting": "reading the clip",
        "stopping": "saving",
        "stopped": "saved; it goes on where it was",
        "failed": html.escape(status.get("error") or "it failed without a word"),
        "done": f"learned in {duration(float(status.get('seconds') or 0))}",
    }.get(state, "")
    if state == "running":
        left = status.get("eta_seconds")
        words = f"{duration(left)} to go" if left is not None else "measuring how long it takes"
        words += "; you may close this page, it goes on"
    count = int(status.get("num_scales") or 0)
    segments = ""
    for scale in range(count):
        here = scale == status.get("scale") and state != "done"
        part = 1.0 if state == "done" or scale < int(status.get("scale") or 0) else 0.0
        if here and status.get("num_steps"):
            part = int(status["step"]) / int(status["num_steps"])
        segments += (
            f'<span class="dt-track{" here" if here else ""}"><i style="width:{100 * part:.0f}%"></i></span>'
        )
    detail = ""
    if count and state != "done":
        num_steps = status["num_steps"]
        step = f"step {status['step']:,} of {num_steps:,}" if num_steps else "in closed form"
        detail = f"scale {int(status['scale']) + 1} of {count}, {step}"
    return (
        f'<div class="dt-detail"><div class="head"><h3>{html.escape(job.name)}</h3>'
        f'<span class="dt-state {state}">{STATES[state]}</span></div><p role="status">{words}</p>'
        f'<div class="dt-scales" role="img" aria-label="{detail or STATES[state]}">{segments}</div><small>'
        f"{detail}</small>"
        f"{loss_curves(losses)}</div>"
    )


def loss_curves(lines: list[dict[str, float]], width: int = 640, height: int = 120) -> str:
    """The losses from line to line of the log as an inline SVG, each drawn to its own range.

    Finer scales stand to the right and are not joined: each has losses of its own. A long log is drawn as
    means of neighbouring lines, since crops differ more than steps do. Where a run learns to predict after
    the texture, the losses are those of what is learned now.
    """
    stage = lines[-1].get("stage") if lines else None
    lines = [line for line in lines if line.get("stage") == stage]
    names = [name for name in LOSSES if any(name in line for line in lines)]
    if len(lines) < 4 or not names:
        return ""
    across = width / (len(lines) - 1)
    curves, legend = [], []
    for k, name in enumerate(names[:3]):
        points = _means(
            [
                (k * across, float(line[name]), line.get("scale"))
                for k, line in enumerate(lines)
                if name in line
            ]
        )
        values = sorted(v for _, v, _ in points)
        low, high = values[0], values[min(len(values) - 1, int(0.97 * len(values)))]
        reach = max(high - low, 1e-9) / (height - 12)
        drawn, before = "", None
        for x, v, scale in points:
            y = height - 6 - (min(v, high) - low) / reach
            drawn += f"{'L' if scale == before else 'M'}{x:.1f} {y:.1f}"
            before = scale
        curves.append(f'<path class="c{k}" d="{drawn}"/>')
        latest = next(line[name] for line in reversed(lines) if name in line)
        legend.append(f'<span class="c{k}">{LOSSES[name]} {latest:.3g}</span>')
    pairs = enumerate(pairwise(lines))
    changes = [(k + 0.5) * across for k, (a, b) in pairs if a.get("scale") != b.get("scale")]
    marks = "".join(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>' for x in changes)
    return (
        f'<svg class="dt-curves" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="Loss curves">{marks}{"".join(curves)}</svg><div class="dt-legend">{"".join(legend)}'
        f"</div>"
    )


def _means(points: list[tuple[float, float, Any]], most: int = 90) -> list[tuple[float, float, Any]]:
    """About `most` means of neighbouring points (x, value, scale), of one scale each."""
    window = max(1, len(points) // most)
    means = []
    for scale, same in groupby(points, key=lambda point: point[2]):
        while few := list(islice(same, window)):
            xs, values, _ = zip(*few, strict=True)
            means.append((sum(xs) / len(xs), sum(values) / len(values), scale))
    return means
