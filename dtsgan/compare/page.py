"""One page with everything: tables, plots, and on each clip all methods' videos side by side.

As the page of an evaluation it needs nothing but itself: videos and pictures are inside, nothing is fetched.
"""

import datetime
import math
from dataclasses import dataclass

from markupsafe import Markup
from torch import Tensor

from dtsgan.compare.contestants import OWN
from dtsgan.compare.folder import Cell, ReportDir, Row
from dtsgan.compare.plots import plots
from dtsgan.compare.tables import (
    Results,
    Table,
    cost,
    learned,
    missed,
    notes,
    table_1,
    table_places,
    table_wide,
    tables_3,
    unscored,
)
from dtsgan.evaluate import short
from dtsgan.pyramid import resize
from dtsgan.report import picture_data, render, video_data
from dtsgan.rundir import read_json, write_text
from dtsgan.video import contact_sheet, read_clip, write_contact_sheet

SHOWN = {
    "fid": "FID",
    "sigma": "σ-N-LPIPS",
    "motion": "motion",
    "diversity": "diversity",
    "copy": "copy score",
}


@dataclass(frozen=True)
class Card:
    """One method on one clip as the page shows it."""

    title: str
    kind: str  # "real", "own" or "other"
    video: str | None  # a data address
    numbers: list[tuple[str, str]]
    reason: str = ""  # why there is no video


def write_page(folder: ReportDir) -> None:
    """Writes `index.html`, the plots, and a contact sheet of each clip under `sheets/`; of results that came
    without their videos what can be said of them."""
    results = Results.read(folder)
    seen = [clip for clip in results.clips if folder.source(clip).exists()]
    drawn = plots(results)
    for name, text in drawn.items():
        write_text(folder.path / name, text)
    tables = [table_1(results), table_wide(results), table_places(results), *tables_3(results)]
    html = render(
        "compare/page.html.j2",
        date=datetime.date.today().isoformat(),
        settings=results.settings,
        num_methods=len(results.methods),
        num_clips=len(results.clips),
        facts=facts(results),
        tables=[(table, own_rows(results, table)) for table in tables],
        plots=[Markup(text) for text in drawn.values()],  # our own, its texts escaped already
        clips=[(clip, clip_facts(folder, clip), *show_clip(folder, results, clip)) for clip in seen],
        missed=missed(results),
        unscored=unscored(results),
        notes=notes(results),
        learned=learned(results),
    )
    write_text(folder.page, html)


def own_rows(results: Results, table: Table) -> set[int]:
    own = {results.title(method) for method in results.methods if method.startswith(f"{OWN}_")}
    return {i for i, row in enumerate(table.rows) if row[0] in own}


def facts(results: Results) -> list[tuple[str, str, str]]:
    """What a reader wants first: heading, number, whose it is."""
    found = []
    ranks = results.mean_ranks()

    def add(heading: str, key: str) -> None:
        values = off(key)
        if values:
            winner = min(values, key=lambda method: values[method])
            column = results.columns[key]
            shown = short(results.over_clips(winner, column.figure))
            found.append((heading, shown, f"{results.title(winner)}: {column.title}"))

    def off(key: str) -> dict[str, float]:
        column = results.columns[key]
        values = {m: results.over_clips(m, column.off or column.figure) for m in results.rivals}
        return {method: value for method, value in values.items() if value is not None}

    if ranks:
        best = min(ranks.values())
        winners = " and ".join(
            results.title(method) for method, rank in ranks.items() if math.isclose(rank, best)
        )
        found.append(("Best mean rank", f"{best:.2f}", f"{winners}, of {len(ranks)} methods"))
    add("Frames most like the real", "fid")
    add("Most that is new", "novel")
    # some methods learn nothing and take their time for each video
    waits = {}
    for method in results.rivals:
        minutes, seconds, _ = cost(results, method)
        if minutes is not None and seconds is not None:
            waits[method] = 60 * minutes + seconds
    if waits:
        quickest = min(waits, key=lambda method: waits[method])
        wait = waits[quickest]
        spent = f"{wait:.1f} s" if wait < 120 else f"{wait / 60:.0f} min"
        found.append(("Quickest to a first video", spent, results.title(quickest)))
    return found


def clip_facts(folder: ReportDir, clip: str) -> str:
    path = folder.clip_facts(clip)
    if not path.exists():
        return ""
    known = read_json(path)
    size = f"{known['source_width']}×{known['source_height']}"
    return f"{known['frames']} frames of {size} pixels at {known['fps']:.3g} a second"


def show_clip(folder: ReportDir, results: Results, clip: str) -> tuple[list[Card], str, list[str]]:
    """The clip's cards, its contact sheet as a data address, and the sheet's rows."""
    real, fps = real_clip(folder, results, clip)
    cards = [Card("real", "real", video_data(real, fps), numbers(results, clip))]
    rows, titles = [real], ["real"]
    for method in results.methods:
        title, kind = results.title(method), "own" if method.startswith(f"{OWN}_") else "other"
        done = results.cells(clip, method)
        if done and folder.video(Cell.of(done[0])).exists():
            video, rate = shown_video(folder, done[0])
            cards.append(Card(title, kind, video_data(video, rate), numbers(results, clip, method)))
            rows.append(video)
            titles.append(title)
        else:
            here = [r for r in results.rows if r["method"] == method and r["clip"] == clip]
            reason = here[0].get("reason", "its video is not here") if here else "not run yet"
            cards.append(Card(title, kind, None, [], reason))
    write_contact_sheet(folder.sheets / f"{clip}.png", rows)
    return cards, picture_data(contact_sheet(rows), "JPEG", quality=85), titles


def numbers(results: Results, clip: str, method: str | None = None) -> list[tuple[str, str]]:
    """A method's figures on a clip, or those of another part of the real one."""
    chosen = [(label, results.columns[key].figure) for key, label in SHOWN.items()]
    found = [
        (label, results.floor(clip, "unseen", figure) if method is None else results.at(clip, method, figure))
        for label, figure in chosen
    ]
    return [(label, short(value)) for label, value in found if value is not None]


def real_clip(folder: ReportDir, results: Results, clip: str) -> tuple[Tensor, float]:
    """The clip's first frames, as long and as large as those that are scored."""
    s = results.settings
    real, info = read_clip(folder.source(clip))
    return resize(real[:, :, : s.num_frames], (s.size, s.size)), info.fps


def shown_video(folder: ReportDir, row: Row) -> tuple[Tensor, float]:
    """The first video of a finished cell: nothing is picked."""
    video, info = read_clip(folder.video(Cell.of(row)))
    return video, info.fps
