"""From cells to tables: the paper's Tables 1 and 3 with its own numbers beside ours, and the wider one.

A number of a method is the mean over seeds, then over clips. Ranks are taken on each clip by itself, so that
no clip weighs more because its numbers are larger.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtsgan.baselines import BASELINES
from dtsgan.compare.contestants import OWN, UPDATES, Contestant, contestant
from dtsgan.compare.folder import REAL, ReportDir, Row, Settings
from dtsgan.errors import ConfigError
from dtsgan.evaluate import short as short_number
from dtsgan.metrics import CONTROLS, METRICS
from dtsgan.rundir import write_text

FLOORS = ("unseen", *CONTROLS)
FLOOR_TITLES = {"unseen": "another real part", **{name: f"real, {name}" for name in CONTROLS}}

# -- the paper's numbers ---

PAPER_TABLE_1 = {  # MS-SSIM, FID, sigma-N-LPIPS: means over 18 clips of DTDB
    "two_stream": ("Two-Stream", 0.150, 229.464, 0.471),
    "dynamic_generator": ("DG", 0.609, 223.232, 0.768),
    "cgcnn_gram": ("cgCNN-Gram", 0.217, 240.834, 0.864),
    "cgcnn_mean": ("cgCNN-Mean", 0.231, 255.231, 0.912),
    OWN: ("DTSGAN", 0.621, 193.063, 0.223),
}
PAPER_TABLE_3 = {  # diversity (LPIPS) with the data update, and without
    "geyser": (0.312, 0.236),
    "escalator": (0.177, 0.103),
    "candy": (0.416, 0.368),
    "coral": (0.143, 0.091),
    "flag": (0.179, 0.146),
}

# -- figures: what is said of one method on one clip ---

Values = Mapping[str, float | None]  # scores by name
Figure = Callable[[Values, Values], float | None]  # of a method's scores and of unseen footage's


def score(name: str) -> Figure:
    return lambda values, real: values.get(name)


def off_real(name: str) -> Figure:
    """How far from the real clip's own value."""

    def figure(values: Values, real: Values) -> float | None:
        value, own = values.get(name), real.get(name)
        return None if value is None or own is None else abs(value - own)

    return figure


def off_motion(values: Values, real: Values) -> float | None:
    """Half as much motion is as wrong as twice as much."""
    value = values.get("motion_ratio")
    return None if value is None else abs(math.log(max(value, 1e-6)))


def relative_diversity(values: Values, real: Values) -> float | None:
    """Of how much parts of the real clip differ: LPIPS, or pixels where there is no network."""
    value, own = values.get("lpips_diversity"), real.get("lpips_diversity")
    if value is not None and own:
        return value / own
    return values.get("diversity")


def new_diversity(values: Values, real: Values) -> float | None:
    """Diversity, counted up to that of real footage, times novelty, of which twice as much as unseen
    footage's is as wrong as half: copies that begin elsewhere in the clip differ from each other and are
    nothing new, and noise is new and nothing of the clip."""
    diversity, novelty = relative_diversity(values, real), values.get("copy_score")
    if diversity is None or novelty is None:
        return None
    return min(diversity, 1.0) * min(novelty, 1.0 / max(novelty, 1e-6))


@dataclass(frozen=True)
class Column:
    """A figure as a table shows it."""

    title: str
    figure: Figure
    off: Figure | None = None  # how far from perfect, where that is not the figure itself; lower is better


def columns(fid: str) -> dict[str, Column]:
    """All figures by key; `fid` is the Fréchet distance that the clips have."""
    dims = fid.removeprefix("fid_")
    return {
        "ms_ssim": Column("MS-SSIM ↑", score("ms_ssim"), lambda v, r: _minus(v.get("ms_ssim"))),
        "fid": Column("FID ↓" if dims == "2048" else f"FID-{dims} ↓", score(fid)),
        "sigma": Column("σ-N-LPIPS (as real)", score("sigma_n_lpips"), off_real("sigma_n_lpips")),
        "swd": Column("sliced Wasserstein ↓", score("sliced_wasserstein")),
        "motion": Column("motion (1)", score("motion_ratio"), off_motion),
        "rates": Column("motion rates, dB ↓", score("temporal_spectrum_distance")),
        "diversity": Column(
            "diversity (1)", relative_diversity, lambda v, r: _off(relative_diversity(v, r), 1.0)
        ),
        "copy": Column("copy score (1)", score("copy_score"), lambda v, r: _off(v.get("copy_score"), 1.0)),
        "novel": Column("new diversity ↑", new_diversity, lambda v, r: _minus(new_diversity(v, r))),
    }


RANKED = {  # what the mean rank is the mean of
    "fid": "FID",
    "swd": "sliced Wasserstein",
    "sigma": "σ-N-LPIPS",
    "motion": "motion",
    "novel": "new diversity",
}


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _off(value: float | None, target: float) -> float | None:
    return None if value is None else abs(value - target)


# -- results: all cells, put in order ---


@dataclass(frozen=True)
class Results:
    """The finished cells of a comparison."""

    settings: Settings
    rows: list[Row]  # of methods
    floors: dict[str, dict[str, Values]]  # by clip and floor
    clip_frames: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: ReportDir) -> "Results":
        rows = [*folder.read_rows().values()]
        real = {row["clip"]: row for row in rows if row["method"] == REAL and row["status"] == "done"}
        return cls(
            folder.read_settings(),
            [row for row in rows if row["method"] != REAL],
            {clip: row["floors"] for clip, row in real.items()},
            {clip: row["num_frames"] for clip, row in real.items()},
        )

    @property
    def clips(self) -> list[str]:
        return sorted({row["clip"] for row in self.rows} | set(self.floors))

    @property
    def methods(self) -> list[str]:
        """Other methods first and DTSGAN last, as in the paper; then the controls."""
        names = {row["method"] for row in self.rows}
        order = [*BASELINES, *sorted(names - set(BASELINES))]

        def place(name: str) -> tuple[bool, bool, int]:
            return self.is_control(name), name.startswith(f"{OWN}_"), order.index(name)

        return sorted(names, key=place)

    def about(self, method: str, fact: str, unknown: Any = "") -> Any:
        """What the method's lines say of it: title, citation, deviations, is_control."""
        return next((row[fact] for row in self.rows if row["method"] == method and fact in row), unknown)

    def title(self, method: str) -> str:
        return str(self.about(method, "title", method))

    def is_control(self, method: str) -> bool:
        """Real footage under another name, there to be compared with."""
        return bool(self.about(method, "is_control", False))

    @property
    def rivals(self) -> list[str]:
        """The methods less the controls."""
        return [method for method in self.methods if not self.is_control(method)]

    def cells(self, clip: str | None, method: str, status: str = "done") -> list[Row]:
        return [
            row for row in self.rows
            if row["method"] == method and row["status"] == status and clip in (None, row["clip"])
        ]  # fmt: skip

    def real(self, clip: str) -> Values:
        return self.floors.get(clip, {}).get("unseen", {})

    def floor(self, clip: str, name: str, figure: Figure) -> float | None:
        """What a figure is for real footage, one of `FLOORS`."""
        values = self.floors.get(clip, {}).get(name)
        return None if values is None else figure(values, self.real(clip))

    def floor_over_clips(self, name: str, figure: Figure) -> float | None:
        return mean(self.floor(clip, name, figure) for clip in self.clips)

    def at(self, clip: str, method: str, figure: Figure) -> float | None:
        """A method's figure on one clip, mean over seeds."""
        return mean(figure(row["scores"], self.real(clip)) for row in self.cells(clip, method))

    def over_clips(self, method: str, figure: Figure) -> float | None:
        return mean(self.at(clip, method, figure) for clip in self.clips)

    @property
    def fid(self) -> str:
        """The paper's, of 2048 features, if the network at hand has them."""
        has_all = any(row["scores"].get("fid_2048") is not None for row in self.rows if "scores" in row)
        return "fid_2048" if has_all else "fid_768"

    @property
    def columns(self) -> dict[str, Column]:
        return columns(self.fid)

    def places(self) -> dict[tuple[str, str], dict[str, float]]:
        """By clip and `RANKED` figure the place of each method, 1 the best.

        Methods that are equal share the mean of their places. One that failed on a clip, or drew what cannot
        be scored, comes last there; one that never finished, or is not yet run on a clip, has no place, and
        controls have none.
        """
        finished = [method for method in self.rivals if self.cells(None, method)]
        places = {}
        for clip in self.clips:
            here = [
                m for m in finished
                if any(row["clip"] == clip and row["method"] == m for row in self.rows)
            ]  # fmt: skip
            for key in RANKED:
                column = self.columns[key]
                off = {m: self.at(clip, m, column.off or column.figure) for m in here}
                if all(value is None for value in off.values()):
                    continue  # nobody has this number here
                places[clip, key] = ranked({m: math.inf if v is None else v for m, v in off.items()})
        return places

    def mean_ranks(self) -> dict[str, float]:
        """Mean over clips and the `RANKED` figures of each method's place, 1 the best; see `places`."""
        return mean_places(self.places().values())


def mean(values: Iterable[float | None]) -> float | None:
    """Of the numbers among the values; None where there is none."""
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers else None


def ranked(off: Mapping[str, float]) -> dict[str, float]:
    """Places from 1 on, the least first; equals, to six digits, share the mean of theirs."""
    off = {name: float(f"{value:.6g}") for name, value in off.items()}
    return {
        name: 1 + sum(other < value for other in off.values())
        + (sum(other == value for other in off.values()) - 1) / 2
        for name, value in off.items()
    }  # fmt: skip


def mean_places(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of the places that each name has."""
    by_name: dict[str, list[float]] = {}
    for places in found:
        for name, place in places.items():
            by_name.setdefault(name, []).append(place)
    return {name: statistics.fmean(places) for name, places in by_name.items()}


# -- tables, in whatever form ---


@dataclass(frozen=True)
class Table:
    """Rows of text; a cell may be the best of its column."""

    title: str
    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]] = field(default_factory=set)  # (row, column)
    quiet: set[int] = field(default_factory=set)  # rows that are no methods: floors, the paper's

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", "| " + " | ".join(self.header) + " |"]
        lines.append("| --- |" + " ---: |" * (len(self.header) - 1))
        for i, row in enumerate(self.rows):
            marked = [f"**{text}**" if (i, j) in self.best else text for j, text in enumerate(row)]
            if i in self.quiet:
                marked[0] = f"*{marked[0]}*"
            lines.append("| " + " | ".join(text.replace("|", "\\|") for text in marked) + " |")
        return "\n".join(lines)

    def latex(self) -> str:
        lines = [
            f"% {self.title}", rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}", r"\toprule",
            " & ".join(map(latex_text, self.header)) + r" \\", r"\midrule",
        ]  # fmt: skip
        for i, row in enumerate(self.rows):
            if i in self.quiet and i - 1 not in self.quiet and i:
                lines.append(r"\midrule")
            texts = map(latex_text, row)
            marked = [rf"\textbf{{{t}}}" if (i, j) in self.best else t for j, t in enumerate(texts)]
            lines.append(" & ".join(marked) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


LATEX = {
    "\\": r"\textbackslash{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "σ": r"$\sigma$", "–": "--",
    **{c: "\\" + c for c in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex_text(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


def paper_name(method: str) -> str:
    """The method's name in the paper's Table 1, "" if it is not there; a variant of DTSGAN is not."""
    if not method.startswith(f"{OWN}_"):
        return method if method in PAPER_TABLE_1 else ""
    return "" if method.endswith(UPDATES) else OWN


def short(value: float | None) -> str:
    return "–" if value is None else short_number(value)


def best_cells(results: Results, methods: list[str], chosen: list[Column]) -> set[tuple[int, int]]:
    """The best of each column, whose first is the second of the table; only methods that are done on as many
    clips as any are comparable."""
    clips = [len({r["clip"] for r in results.cells(None, m)}) if m in results.rivals else 0 for m in methods]
    best = set()
    for j, column in enumerate(chosen, start=1):
        offs = {
            i: results.over_clips(method, column.off or column.figure)
            for i, method in enumerate(methods)
            if clips[i] == max(clips) > 0
        }
        found = [value for value in offs.values() if value is not None]
        best |= {(i, j) for i, value in offs.items() if value is not None and value == min(found)}
    return best


def row_title(results: Results, method: str) -> str:
    return results.title(method) + " (control)" * results.is_control(method)


def table_1(results: Results) -> Table:
    """The paper's Table 1: ours, and beside it what the paper says of the same method."""
    keys = ("ms_ssim", "fid", "sigma")
    chosen = [results.columns[key] for key in keys]
    methods = results.methods
    rows = []
    for method in methods:
        said = PAPER_TABLE_1.get(paper_name(method))
        rows.append([
            row_title(results, method), *(short(results.over_clips(method, c.figure)) for c in chosen),
            *(f"{value:.3f}" if value is not None else "–" for value in (said[1:] if said else (None,) * 3)),
            clips_done(results, method),
        ])  # fmt: skip
    best = best_cells(results, methods, chosen)
    ours = {paper_name(method) for method in methods}
    for name, said in PAPER_TABLE_1.items():
        if name not in ours:
            rows.append([f"{said[0]} (not run here)", *["–"] * 3, *(f"{v:.3f}" for v in said[1:]), "–"])
    for floor in FLOORS:
        if any(floor in by for by in results.floors.values()):
            values = [short(results.floor_over_clips(floor, column.figure)) for column in chosen]
            rows.append([FLOOR_TITLES[floor], *values, "–", "–", "–", str(len(results.floors))])
    header = [
        "method",
        *(c.title for c in chosen),
        "paper: MS-SSIM",
        "paper: FID",
        "paper: σ-N-LPIPS",
        "clips",
    ]
    return Table("Table 1", header, rows, best, set(range(len(results.rivals), len(rows))))


def table_wide(results: Results) -> Table:
    """What the paper does not ask: detail, motion, diversity, copies, time, memory, and the mean rank."""
    keys = ("swd", "motion", "rates", "diversity", "copy", "novel")
    chosen = [results.columns[key] for key in keys]
    ranks, methods = results.mean_ranks(), results.methods
    methods = sorted(methods, key=lambda m: (ranks.get(m, math.inf), methods.index(m)))
    rows = []
    for method in methods:
        values = [results.over_clips(method, column.figure) for column in chosen]
        rows.append([
            row_title(results, method), *map(short, values), *map(short, cost(results, method)),
            f"{ranks[method]:.2f}" if method in ranks else "–", clips_done(results, method),
        ])  # fmt: skip
    best = best_cells(results, methods, chosen)
    best |= {
        (i, len(keys) + 4) for i, m in enumerate(methods) if m in ranks and ranks[m] == min(ranks.values())
    }
    for floor in FLOORS:
        if any(floor in by for by in results.floors.values()):
            values = [results.floor_over_clips(floor, column.figure) for column in chosen]
            rows.append([
                FLOOR_TITLES[floor], *map(short, values), *["–"] * 4, str(len(results.floors))
            ])  # fmt: skip
    header = [
        "method", *(c.title for c in chosen), "minutes to learn", "seconds a video", "memory, GB",
        "mean rank", "clips",
    ]  # fmt: skip
    return Table("All scores", header, rows, best, set(range(len(results.rivals), len(rows))))


def table_places(results: Results) -> Table:
    """What the mean rank is made of: mean places by figure, and on how many clips a method is first."""
    places = results.places()
    means = [mean_places(p for (_, key), p in places.items() if key == wanted) for wanted in RANKED]
    means.append(ranks := mean_places(places.values()))
    by_clip = [mean_places(p for (at, _), p in places.items() if at == clip) for clip in results.clips]
    rows, best = [], set()
    for i, method in enumerate(sorted(ranks, key=lambda m: (ranks[m], results.methods.index(m)))):
        here = [found for found in by_clip if method in found]
        first = sum(found[method] == min(found.values()) for found in here)
        texts = [f"{found[method]:.2f}" if method in found else "–" for found in means]
        rows.append([results.title(method), *texts, f"{first} of {len(here)}"])
        best |= {
            (i, j) for j, found in enumerate(means, start=1)
            if method in found and found[method] == min(found.values())
        }  # fmt: skip
    return Table("Mean places", ["method", *RANKED.values(), "mean rank", "first on clips"], rows, best)


def cost(results: Results, method: str) -> tuple[float | None, float | None, float | None]:
    """Minutes to learn, seconds to draw one video, and the most memory of both in GB; means over cells."""
    cells = results.cells(None, method)
    seconds = mean(row.get("fit_seconds") for row in cells)
    memory = mean(max(row["fit_memory"], row["sample_memory"]) for row in cells)
    return (
        None if seconds is None else seconds / 60,
        mean(row.get("sample_seconds") for row in cells),
        None if memory is None else memory / 1024,
    )


def clips_done(results: Results, method: str) -> str:
    done = {row["clip"] for row in results.cells(None, method)}
    return f"{len(done)}" if len(done) == len(results.clips) else f"{len(done)} of {len(results.clips)}"


def own(method: str) -> Contestant | None:
    try:
        return contestant(method) if method.startswith(f"{OWN}_") else None
    except ConfigError:  # a preset of another version
        return None


def tables_3(results: Results) -> list[Table]:
    """The paper's Table 3 for each preset of which several data updates were run: diversity by clip."""
    by_preset: dict[str, dict[str, str]] = {}
    for one in filter(None, map(own, results.methods)):
        by_preset.setdefault(one.preset, {})[one.update] = one.name
    lpips, copies = score("lpips_diversity"), score("copy_score")
    tables = []
    for preset, named in by_preset.items():
        updates = [update for update in UPDATES if update in named]
        if len(updates) < 2:
            continue
        rows = []
        for clip in results.clips:
            said = next((v for category, v in PAPER_TABLE_3.items() if category in clip.lower()), None)
            rows.append([
                clip, *(short(results.at(clip, named[u], lpips)) for u in updates),
                short(results.floor(clip, "unseen", lpips)),
                *(short(results.at(clip, named[u], copies)) for u in updates),
                *(f"{v:.3f}" for v in said or ()), *["–"] * (0 if said else 2),
            ])  # fmt: skip
        rows.append([
            "mean", *(short(results.over_clips(named[u], lpips)) for u in updates),
            short(results.floor_over_clips("unseen", lpips)),
            *(short(results.over_clips(named[u], copies)) for u in updates), "–", "–",
        ])  # fmt: skip
        header = [
            "clip", *(f"diversity, {u}" for u in updates), "parts of the real clip",
            *(f"copy score, {u}" for u in updates), "paper: with update", "paper: without",
        ]  # fmt: skip
        tables.append(
            Table(f"Table 3: the data update, preset {preset}", header, rows, quiet={len(rows) - 1})
        )
    return tables


# -- what a reader must know ---


def missed(results: Results) -> list[tuple[str, str, str]]:
    """Cells that are not done: method, where, and the reason; one line where all have one reason."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for row in results.rows:
        if row["status"] != "done":
            key = results.title(row["method"]), row["status"], row["reason"]
            lines.setdefault(key, []).append(f"{row['clip']} (seed {row['seed']})")
    return [
        (title, f"{status}: {', '.join(where)}", reason) for (title, status, reason), where in lines.items()
    ]


def unscored(results: Results) -> list[tuple[str, str]]:
    """Scores without a number, and why: at most one reason each."""
    reasons: dict[str, str] = {}
    for row in results.rows:
        for name, reason in row.get("unavailable", {}).items():
            reasons.setdefault(name, reason)
    return [(name, reason) for name, reason in reasons.items() if name in METRICS]


def notes(results: Results) -> list[str]:
    """How the numbers were made, in sentences."""
    s = results.settings
    first = next((row for row in results.rows if "machine" in row), None)
    seeds = sorted({row["seed"] for row in results.rows})
    found = [
        f"{s.num_videos} video{'s' * (s.num_videos != 1)} of {s.num_frames} frames for each method, clip and "
        f"seed ({', '.join(map(str, seeds))}), all scored at {s.size}x{s.size} pixels; what a method draws "
        "at another size is resized, with antialiasing.",
        "Means over seeds, then over clips. Bold: the best of the methods. σ-N-LPIPS, motion, diversity and "
        "copy score are best near the real video's value, not highest or lowest.",
        "The mean rank is over clips and five figures: FID, sliced Wasserstein, distance of σ-N-LPIPS "
        "from the real clip's, motion, and new "
        "diversity (diversity up to 1, times the copy score or, where that is above 1, its inverse). Methods "
        "that are equal share a rank; one that failed on a clip comes last there.",
        "The paper's numbers are means over 18 clips of DTDB that it does not name: its columns compare with "
        "each other, and only in order with ours.",
    ]
    if results.fid != "fid_2048":
        found.append(
            "FID is of 768 features, as the weights at hand end there; the paper's, of 2048, lies on another "
            "scale."
        )
    if s.budget is not None:
        found.append(
            f"Each cell had {s.budget:g} minutes to learn and draw; methods that end by themselves took less."
        )
    if s.changes:
        changes = ", ".join(f"{name}={value}" for name, value in s.changes.items())
        found.append(f"DTSGAN's presets are not as they are, but with {changes}.")
    if s.quick:
        found.append(
            "Quick settings: far fewer steps than the methods' papers take. No method is judged by this."
        )
    if first:
        threads = sorted({row["threads"] for row in results.rows if "threads" in row})
        found.append(
            f"Time and memory: {first['machine']}, {' or '.join(map(str, threads))} threads; memory is the "
            "peak of the whole process, libraries (about 0.3 GB) included."
        )
    return found


def learned(results: Results) -> list[tuple[str, str, str]]:
    """What each method was given and drew, and its deviations: title, sentence, citation."""
    found = []
    for method in results.methods:
        row = next(iter(results.cells(None, method)), None)
        said = []
        if row is not None:
            height, width = row["learned"]["size"]
            frames = sorted({r["learned"]["frames"] for r in results.cells(None, method)})
            span = f"{frames[0]}" if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
            said.append(f"Learned {span} frames of {width}x{height} pixels.")
        if deviations := results.about(method, "deviations"):
            said.append(f"Differs from its paper: {deviations}")
        found.append((results.title(method), " ".join(said), str(results.about(method, "citation"))))
    return found


# -- files ---


def write_tables(folder: ReportDir) -> None:
    """Writes table1.md and .tex, and table3.md and .tex where data updates were compared."""
    results = Results.read(folder)
    first, third = [table_1(results), table_wide(results), table_places(results)], tables_3(results)
    _write(folder, "table1", first, results, _ending(results))
    if third:
        _write(folder, "table3", third, results, [])


def _write(folder: ReportDir, name: str, tables: list[Table], results: Results, ending: list[str]) -> None:
    said = notes(results)
    parts = ["# Dynamic texture synthesis", *(table.markdown() for table in tables)]
    parts += ["## Notes", "\n".join(f"- {note}" for note in said), *ending]
    write_text(folder.path / f"{name}.md", "\n\n".join(parts) + "\n")
    comments = "\n".join(f"% {note}" for note in said)
    text = "\n\n".join([comments, *(table.latex() for table in tables)])
    write_text(folder.path / f"{name}.tex", text + "\n")


def _ending(results: Results) -> list[str]:
    parts = ["## Methods", "\n".join(f"- **{t}** {said} {cited}" for t, said, cited in learned(results))]
    if lines := missed(results):
        parts += ["## Not done", "\n".join(f"- **{t}** {where}. {reason}" for t, where, reason in lines)]
    if lines_2 := unscored(results):
        parts += ["## Scores without a number", "\n".join(f"- `{n}`: {reason}" for n, reason in lines_2)]
    return parts


def as_dicts(results: Results) -> list[dict[str, Any]]:
    """The main figures of each method, for JSON."""
    ranks = results.mean_ranks()
    return [
        {
            "method": method,
            "mean_rank": ranks.get(method),
            **{key: results.over_clips(method, c.figure) for key, c in results.columns.items()},
        }
        for method in results.methods
    ]
