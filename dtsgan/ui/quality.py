"""Diversity and quality: many videos of one texture, how they differ, and the scores beside floors."""

import html
import math
import queue as queues
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from dtsgan.errors import ConfigError, VideoError
from dtsgan.evaluate import evaluate
from dtsgan.report import write_report
from dtsgan.ui.library import Texture
from dtsgan.ui.page import Page, cancellable, empty, lead, plain_errors, progress_bar, texture_picker
from dtsgan.ui.train import check_upload
from dtsgan.ui.visitor import visitor_of
from dtsgan.video import write_clip

SECONDS = 3.0  # of each video in the grid
FLOOR_NAMES = {
    "unseen": "real",
    "copy": "a copy",
    "blurred": "blurred",
    "shuffled": "shuffled",
    "noise": "noise",
    "cut": "cut",
}


class Stopped(Exception):
    """Raised inside a scoring that nobody waits for any longer."""


def quality_tab(page: Page, tab: gr.Tab) -> None:
    """Call inside `gr.Tab`."""
    most = 10 if page.settings.shared else 20
    lead(
        "How different, and how real?",
        "Draw many videos of one texture at once. Below them: how far they are from each other, and "
        "scores that "
        "always stand beside what real footage and broken video get.",
    )
    with gr.Column(elem_classes="dt-panel"):
        with gr.Row(elem_classes="dt-row-tight"):
            picker = texture_picker(page, tab)
            count = gr.Slider(2, most, min(8, most), step=1, label="Videos", min_width=200)
            go = gr.Button("Draw and score", variant="primary", min_width=190)
            cancel = gr.Button("Cancel", visible=False, min_width=90)
        with gr.Accordion("Compare with another clip", open=False):
            reference = gr.File(
                label="Real video (the texture's own source when empty)", type="filepath", height=110
            )
        note = gr.HTML(apply_default_css=False)
    grid = gr.HTML(
        empty(
            "Many of one texture, side by side",
            "Each seed is another video. Draw some, and see how far apart they are and how near to the real.",
        ),
        apply_default_css=False,
    )
    scores = gr.HTML(apply_default_css=False)
    report = gr.File(label="Report", visible=False)

    @plain_errors
    def draw_and_score(
        key: str | None, count: float, reference: str | None, request: gr.Request
    ) -> Iterator[Any]:
        texture = page.library.find(key or "", visitor_of(request))
        number = int(count)
        for done, files in _draw(page, texture, number):
            words = f"Drawing video {min(done + 1, number)} of {number}"
            shown = _grid(texture, files, number)
            yield progress_bar(0.5 * done / number, words), shown, "", gr.File(visible=False)
        shown = _grid(texture, range(number), number)
        for part, words, found in score(page, texture, number, reference):
            if found is None:
                yield progress_bar(0.5 + part / 2, words), shown, "", gr.skip()
                continue
            folder = Path(tempfile.mkdtemp(prefix="dtsgan-"))
            try:
                path = _report(page, texture, found, reference, folder)
                file = gr.File(str(path), visible=True) if path else gr.File(visible=False)
                yield "", shown, scores_html(found.to_dict()), file
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    cancellable(
        go, cancel, note, draw_and_score, [picker, count, reference], [note, grid, scores, report],
        concurrency_limit=1, concurrency_id="score", api_visibility="private",
    )  # fmt: skip

    @plain_errors
    def evaluate(model: str, num_videos: int, request: gr.Request) -> dict[str, Any]:
        """Scores videos of a texture beside their floors.

        Args:
            model: as for `/sample`.
            num_videos: how many to draw.
        """
        if not 1 <= num_videos <= most:
            raise ConfigError(f"num_videos must be 1 to {most} here, got {num_videos}")
        texture = page.library.find(model, visitor_of(request))
        for _, _, found in score(page, texture, int(num_videos), None):
            if found is not None:
                return found.to_dict()
        return {}

    gr.api(evaluate, api_name="evaluate", concurrency_limit=1, concurrency_id="score")


def score(
    page: Page, texture: Texture, count: int, reference: str | None
) -> Iterator[tuple[float, str, Any | None]]:
    """Runs the evaluation in a thread of its own and tells how it goes; the last item holds what it found.

    Raises:
        DTSGANError: whatever the evaluation finds wrong.
    """
    real = _reference(page, texture, reference)
    told: queues.Queue[tuple[str, Any]] = queues.Queue()
    stopped = threading.Event()

    def on_progress(part: float, words: str) -> None:
        if stopped.is_set():
            raise Stopped
        told.put(("progress", (part, words)))

    def work() -> None:
        try:
            model = page.library.model(texture)
            found = evaluate(model, str(real), num_videos=count, on_progress=on_progress)
            told.put(("found", found))
        except Stopped:
            pass
        except Exception as error:  # handed to the visitor's thread, which knows what to do with it
            told.put(("error", error))

    threading.Thread(target=work, name="scoring", daemon=True).start()
    try:
        while True:
            kind, value = told.get()
            if kind == "progress":
                yield value[0], value[1], None
            elif kind == "error":
                raise value
            else:
                yield 1.0, "", value
                return
    finally:
        stopped.set()


def _reference(page: Page, texture: Texture, reference: str | None) -> Path:
    if reference:
        check_upload(Path(reference), page.settings)
        return Path(reference)
    if texture.source is None:
        raise VideoError(
            f"the video that {texture.title} was learned from is not here: give a real clip to compare with"
        )
    return texture.source


def _report(page: Page, texture: Texture, found: Any, reference: str | None, folder: Path) -> Path:
    model = page.library.model(texture)
    return write_report(folder / "report", model, found, _reference(page, texture, reference), texture.title)


def _draw(page: Page, texture: Texture, count: int) -> Iterator[tuple[int, range]]:
    """Draws the grid's videos; those that were drawn before are there already."""
    model = page.library.model(texture)
    frames = max(2, round(SECONDS * model.fps))
    for seed in range(count):
        yield seed, range(seed)
        path = page.library.sample_path(texture, seed)
        if not path.exists():
            write_clip(path, page.library.chunks(model, frames, seed=seed), model.fps)
    yield count, range(count)


def _grid(texture: Texture, seeds: range, count: int) -> str:
    """The videos that are drawn, and room for those that are not."""
    tiles = "".join(
        f'<figure><video src="media/sample/{texture.id}/{seed}.mp4" autoplay muted loop playsinline '
        f'aria-label="seed {seed}"></video><figcaption>seed {seed}</figcaption></figure>'
        for seed in seeds
    )
    room = "".join(
        f'<figure><div class="dt-room"></div><figcaption>seed {seed}</figcaption></figure>'
        for seed in range(len(seeds), count)
    )
    return f'<div class="dt-many">{tiles}{room}</div>'


def scores_html(found: dict[str, Any]) -> str:
    """The heat map of distances and a line a score, with marks where real and broken video stand."""
    parts = [heat_map(found.get("lpips_matrix"))]
    about = found.get("metrics", {})
    rows = []
    for name, value in found.get("scores", {}).items():
        if value is None or not math.isfinite(value):
            continue
        says = about.get(name, {}).get("judges", name.replace("_", " "))
        floors = {
            FLOOR_NAMES.get(clip, clip): values[name]
            for clip, values in found.get("floors", {}).items()
            if values.get(name) is not None and math.isfinite(values[name])
        }
        rows.append(score_row(name, str(says), value, floors))
    if rows:
        parts.append(
            '<h2 class="dt-section">Scores<small>the dot is this texture; the marks are real footage that '
            "it never "
            f'saw, and broken video</small></h2><div class="dt-scores">{"".join(rows)}</div>'
        )
    missing = found.get("unavailable") or {}
    if missing:
        items = "".join(
            f"<li><b>{html.escape(name.replace('_', ' '))}</b>: {html.escape(str(why))}</li>"
            for name, why in missing.items()
        )
        parts.append(
            f'<details class="dt-note"><summary>{len(missing)} scores are not available here</summary><ul>'
            f"{items}</ul></details>"
        )
    return "".join(parts)


def score_row(name: str, says: str, value: float, floors: dict[str, float]) -> str:
    """One score: its value on a line on which the floors are marked."""
    everything = [value, *floors.values()]
    low, high = min(everything), max(everything)
    span = (high - low) or 1.0

    def at(number: float) -> float:
        return 3 + 94 * (number - low) / span

    # A name stands under its mark, the outer ones inside the line, and on a lower row where it would cover
    # another: a letter takes 1.8 % of the line on a phone.
    marks, ends = "", list[float]()
    for clip, number in sorted(floors.items(), key=lambda item: item[1]):
        place, wide = at(number), 1.8 * len(clip)
        left = place - wide * place / 100
        row = next((k for k, end in enumerate(ends) if left > end), len(ends))
        ends[row : row + 1] = [left + wide + 1.5]
        kind = ' class="real"' if clip == "real" else ""
        marks += (
            f'<i{kind} style="left:{place:.1f}%" title="{html.escape(clip)}: {number:.4g}"></i>'
            f'<em{kind} style="--at:{place:.1f}%;top:{27 + 13 * row}px">{html.escape(clip)}</em>'
        )
    return (
        f'<div class="dt-score"><div><b>{html.escape(name.replace("_", " "))}</b><span>'
        f"{html.escape(says)}</span></div>"
        f'<div class="line" style="height:{30 + 13 * max(1, len(ends))}px" role="img" '
        f'aria-label="{value:.4g}; '
        f'{"; ".join(f"{c} {v:.4g}" for c, v in floors.items())}">'
        f'<u style="left:{at(value):.1f}%"></u>{marks}</div><strong>{value:.3g}</strong></div>'
    )


def heat_map(matrix: list[list[float]] | None) -> str:
    """Pairwise LPIPS: the stronger the ink, the more two videos differ."""
    if not matrix:
        return ""
    off = [v for r, row in enumerate(matrix) for c, v in enumerate(row) if r != c and math.isfinite(v)]
    if not off:
        return ""
    high = max(off) or 1.0
    size = len(matrix)
    cells = "".join(
        f'<rect x="{c}" y="{r}" width="1" height="1" style="opacity:{0.06 + 0.94 * value / high:.3f}">'
        f"<title>seeds {r} and {c}: {value:.3f}</title></rect>"
        for r, row in enumerate(matrix)
        for c, value in enumerate(row)
        if r != c and math.isfinite(value)
    )
    mean = sum(off) / len(off)
    return (
        f'<h2 class="dt-section">How far apart<small>mean distance {mean:.3f} (LPIPS): the stronger '
        f"the ink, the more two videos "
        f'differ</small></h2><svg class="dt-heat" style="width:min({56 * size}px, 340px, 100%)" '
        f'viewBox="0 0 {size} {size}" role="img" '
        f'aria-label="Pairwise distances, mean '
        f'{mean:.3f}">{cells}</svg>'
    )
