"""Two scatter plots as SVG: quality beside diversity, and beside the time to learn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dtsgan.compare.contestants import OWN
from dtsgan.compare.tables import Results, Values, mean, relative_diversity
from dtsgan.report import render

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 360, 58, 18, 16, 46
LETTER, BOLD, LINE = 6.2, 7.2, 13  # width and height that a letter of a label takes
Box = tuple[float, float, float, float]  # left, right, top, bottom
LIFTS = sorted((k * LINE / 2 for k in range(-8, 9)), key=abs)  # of a label above or below its mark


class Mark(NamedTuple):
    """One method: its name and its place in the plot's values."""

    title: str
    kind: str  # "own", "other" or "real": a class of the style sheet
    x: float
    y: float


@dataclass(frozen=True)
class Placed:
    """A mark and its label, in the drawing's units."""

    title: str
    kind: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str

    @property
    def is_apart(self) -> bool:
        """Whether a line has to say which mark the label is of."""
        return abs(self.label_y - 4 - self.y) > LINE


@dataclass(frozen=True)
class Axis:
    """From values to places along one side of the drawing."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, is_log: bool) -> "Axis":
        low, high = min(values), max(values)
        if is_log:
            low, high = low / 1.25, high * 1.25
        else:
            room = 0.08 * (high - low) or 0.1
            low, high = min(0.0, low), high + room
        return cls(low, high, start, end, is_log)

    def at(self, value: float) -> float:
        part = (
            math.log(value / self.low) / math.log(self.high / self.low)
            if self.is_log
            else (value - self.low) / (self.high - self.low)
        )
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        if self.is_log:
            wide = self.high / self.low > 30
            steps = (1,) if self.high / self.low > 10**4 else (1, 3) if wide else (1, 1.5, 2, 3, 5, 7)
            values = [m * 10.0**e for e in range(-6, 7) for m in steps]
        else:
            step = 10 ** math.floor(math.log10(self.high - self.low))
            step = next(step * m for m in (0.1, 0.2, 0.5, 1, 2) if (self.high - self.low) / (step * m) <= 6)
            values = [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(round(self.at(v), 1), f"{v:g}") for v in values if self.low <= v <= self.high]


def overlap(one: Box, other: Box) -> float:
    width = min(one[1], other[1]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[2], other[2])
    return max(0, width) * max(0, height)


def labelled(marks: Sequence[Mark], x_axis: Axis, y_axis: Axis) -> list[Placed]:
    """Puts each label beside its mark, where it covers no other label or mark, as far as there is room."""
    spots = [(x_axis.at(m.x), y_axis.at(m.y)) for m in marks]
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in spots]
    placed = []
    for mark, (x, y) in zip(marks, spots, strict=True):
        length = (BOLD if mark.kind == "own" else LETTER) * len(mark.title)
        choices = [
            (x + side * 9, y + 4 + lift, anchor, x + 8 if side > 0 else x - 8 - length)
            for lift in LIFTS
            for side, anchor in ((1, "start"), (-1, "end"))
        ]

        def trouble(choice: tuple[float, float, str, float], length: float = length) -> float:
            _, label_y, _, left = choice
            box = (left, left + length, label_y - 10, label_y + 3)
            outside = max(0, LEFT - box[0]) + max(0, box[1] - WIDTH + 2) + max(0, TOP - box[2])
            return sum(overlap(box, other) for other in taken) + LINE * outside

        label_x, label_y, anchor, left = min(choices, key=trouble)  # the first of the best
        taken.append((left, left + length, label_y - 10, label_y + 3))
        placed.append(Placed(mark.title, mark.kind, x, y, label_x, label_y, anchor))
    return placed


def scatter(
    title: str, x_label: str, y_label: str, marks: Sequence[Mark], log_x: bool, log_y: bool
) -> str | None:
    """The plot as SVG text, which shows itself in light and dark, in a page or alone; None without marks."""
    if not marks:
        return None
    x_axis = Axis.over([m.x for m in marks], LEFT, WIDTH - RIGHT, log_x)
    y_axis = Axis.over([m.y for m in marks], HEIGHT - BOTTOM, TOP, log_y)
    return render(
        "compare/scatter.svg.j2", title=title, x_label=x_label, y_label=y_label,
        marks=labelled(marks, x_axis, y_axis), x_ticks=x_axis.ticks(), y_ticks=y_axis.ticks(),
        box=(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
    )  # fmt: skip


def over_unseen(values: Values, real: Values) -> float | None:
    """Sliced Wasserstein distance in units of that of another real part."""
    value, floor = values.get("sliced_wasserstein"), real.get("sliced_wasserstein")
    return None if value is None else value / floor if floor else value


def plots(results: Results) -> dict[str, str]:
    """SVG texts by file name: those that have something to show."""
    diversity, time = [], []
    for method in [*results.rivals, "unseen"]:
        kind = "real" if method == "unseen" else "own" if method.startswith(f"{OWN}_") else "other"
        title = "another real part" if kind == "real" else results.title(method)
        over = results.floor_over_clips if kind == "real" else results.over_clips
        quality, spread = over(method, over_unseen), over(method, relative_diversity)
        seconds = mean(row["fit_seconds"] + row["sample_seconds"] for row in results.cells(None, method))
        if quality is None or quality <= 0:  # a copy that is exact has no place on this axis
            continue
        if spread is not None:
            diversity.append(Mark(title, kind, quality, spread))
        if seconds:
            time.append(Mark(title, kind, max(seconds, 0.1) / 60, quality))
    worse = "sliced Wasserstein ÷ another real part's ← better"
    drawn = {
        "quality_diversity.svg": scatter(
            "Quality and diversity", worse, "diversity ÷ the real clip's", diversity, True, False
        ),
        "quality_time.svg": scatter(
            "Quality and time", "minutes to learn and to draw one video ← better", worse, time, True, True
        ),
    }
    return {name: text for name, text in drawn.items() if text}
