"""Tables of clips whose figures have targets: what misses one is bold."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Cell = dict[str, Any]  # what is kept of one clip


@dataclass(frozen=True)
class Target:
    """A figure of a cell, and what it must be; without `is_met` it is shown and asks for nothing."""

    name: str
    wanted: str
    figure: Callable[[Cell], float | None]
    is_met: Callable[[float], bool] | None = None


def target_table(cells: Iterable[Cell], targets: Iterable[Target]) -> list[str]:
    """One row for each cell, by its clip, their medians, and a sentence that names the medians that miss."""
    cells, targets = sorted(cells, key=lambda c: c["clip"]), list(targets)
    lines = [
        "| clip | " + " | ".join(t.name for t in targets) + " |",
        "| --- |" + " ---: |" * len(targets),
        "| *wanted* | " + " | ".join(f"*{t.wanted}*" if t.wanted else "" for t in targets) + " |",
    ]
    for cell in cells:
        lines.append(f"| {cell['clip']} | " + " | ".join(_marked(t.figure(cell), t) for t in targets) + " |")
    medians = [_median(cells, t) for t in targets]
    lines.append("| **median** | " + " | ".join(medians) + " |")
    missed = [t.name for t, median in zip(targets, medians, strict=True) if "**" in median]
    return [*lines, "", f"Missed: {', '.join(missed)}." if missed else "Every target is met.", ""]


def median_table(groups: dict[Any, list[Cell]], targets: Iterable[Target]) -> list[str]:
    """One row of medians for each group of cells."""
    targets = list(targets)
    rows = [[str(name), *(_median(cells, t) for t in targets)] for name, cells in groups.items()]
    header = ["", *(t.name for t in targets)]
    return [
        "| " + " | ".join(header) + " |",
        "| --- |" + " ---: |" * len(targets),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _median(cells: list[Cell], target: Target) -> str:
    figures = [v for v in (target.figure(cell) for cell in cells) if v is not None]
    if not figures:
        return "–"
    middle = statistics.median(figures)
    if target.wanted.startswith("≤") and max(figures) > 2 * middle:
        return f"**{middle:.2f} ≫**"
    return _marked(middle, target)


def _marked(figure: float | None, target: Target) -> str:
    if figure is None:
        return "–"
    is_missed = target.is_met is not None and not target.is_met(figure)
    return f"**{figure:.2f}**" if is_missed else f"{figure:.2f}"
