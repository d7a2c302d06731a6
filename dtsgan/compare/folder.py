"""The names inside a comparison's folder, what is fixed for all its cells, and how its results are kept.

REPORT/
  comparison.json                    the settings that every cell shares
  results.jsonl                      one line for each finished cell; of two for one cell the later counts
  clips/CLIP/                        source.mkv, the clip as methods are given it, and clip.json
  cells/CLIP/METHOD/SEED/            0.mkv, 1.mkv, ... without loss, drawn.json, result.json, log.txt, run/
  prepared/CLIP.pt                   while it runs: what the scoring of all cells of a clip shares
  table1.md table1.tex ...           written from all these, again and again
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dtsgan.errors import ConfigError, RunError
from dtsgan.jobs import try_lock
from dtsgan.rundir import read_json, write_json

Row = dict[str, Any]  # one line of results.jsonl
REAL = "real"  # in a method's place: the cell that scores the clip's own floors


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all cells of a comparison share: whatever would change a number."""

    size: int = 150  # side in pixels of every clip that is scored
    num_frames: int = 16  # its length
    num_videos: int = 20  # drawn by each method for each clip and seed
    budget: float | None = None  # minutes that a cell may take to learn and draw; None: as long as it takes
    quick: bool = False  # the methods' quick settings
    changes: dict[str, str] = field(default_factory=dict)  # of the settings of DTSGAN's presets

    def __post_init__(self) -> None:
        for name, low, high in (("size", 14, 1024), ("num_frames", 6, 1024), ("num_videos", 1, 1000)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be between {low} and {high}, got {getattr(self, name)}")
        if self.budget is not None and not 0 < self.budget < 10**6:
            raise ConfigError(f"the budget must be a positive number of minutes, got {self.budget:g}")


QUICK = Settings(num_videos=2, budget=0.6, quick=True)  # two clips in about eleven minutes on two cores


@dataclass(frozen=True)
class Cell:
    """One method on one clip with one seed."""

    clip: str
    method: str
    seed: int = 0

    @classmethod
    def of(cls, row: Row) -> "Cell":
        return cls(row["clip"], row["method"], row["seed"])

    def __str__(self) -> str:
        return (
            f"{self.clip}, floors" if self.method == REAL else f"{self.clip}, {self.method}, seed {self.seed}"
        )


@dataclass(frozen=True)
class ReportDir:
    """A comparison on disk."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "comparison.json"

    @property
    def results(self) -> Path:
        return self.path / "results.jsonl"

    @property
    def page(self) -> Path:
        return self.path / "index.html"

    @property
    def votes(self) -> Path:
        return self.path / "votes.sqlite"

    @property
    def sheets(self) -> Path:
        return self.path / "sheets"

    def source(self, clip: str) -> Path:
        return self.path / "clips" / clip / "source.mkv"

    def prepared(self, clip: str) -> Path:
        return self.path / "prepared" / f"{clip}.pt"

    def clip_facts(self, clip: str) -> Path:
        return self.path / "clips" / clip / "clip.json"

    def cell(self, cell: Cell) -> Path:
        return self.path / "cells" / cell.clip / cell.method / str(cell.seed)

    def video(self, cell: Cell, number: int = 0) -> Path:
        return self.cell(cell) / f"{number}.mkv"

    def open(self, settings: Settings) -> None:
        """Makes the folder, or goes on with one of the same settings.

        Raises:
            RunError: a folder that holds something else, or cannot be written.
            ConfigError: a comparison with other settings.
        """
        if self.settings.exists():
            before = self.read_settings()
            for name, value in asdict(settings).items():
                if getattr(before, name) != value:
                    raise ConfigError(
                        f"{self.path} was begun with {name}={getattr(before, name)}, not {value}, and its "
                        "cells must be alike: give the same again, or choose another --out"
                    )
            return
        try:
            if self.path.exists() and any(self.path.iterdir()):
                raise RunError(f"{self.path} is not empty and holds no comparison: choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.settings, {"format_version": 1, **asdict(settings)})
        except OSError as error:
            reason = "it is a file" if self.path.is_file() else error.strerror
            raise RunError(f"cannot write to {self.path} ({reason}): choose another --out") from error

    def read_settings(self) -> Settings:
        """
        Raises:
            RunError: if there is no comparison in the folder, or its settings are damaged.
        """
        if not self.settings.exists():
            raise RunError(
                f"{self.path} holds no comparison: dtsgan compare CLIPS --out {self.path} makes one"
            )
        values = read_json(self.settings)
        try:
            values = {"changes": {}, **values}  # without, in one made before they could be changed
            return Settings(**{name: values[name] for name in Settings.__dataclass_fields__})
        except (KeyError, TypeError, ConfigError) as error:
            raise RunError(f"{self.settings} is damaged: {error}") from error

    def read_rows(self) -> dict[Cell, Row]:
        """The finished cells, in the order in which they were first finished."""
        rows: dict[Cell, Row] = {}
        if self.results.exists():
            for line in self.results.read_bytes().split(b"\n"):
                try:
                    row = json.loads(line)
                    rows[Cell.of(row)] = row
                except (ValueError, KeyError, TypeError):
                    continue  # the line that a kill cut short: its cell counts as not run
        return rows

    def append(self, row: Row) -> None:
        """Adds one line, on the disk before this returns."""
        with self.results.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # cut short by a kill
                    file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One comparer at a time; the lock is the operating system's, so a kill leaves none behind.

        Raises:
            RunError: if another process works on this folder.
        """
        with (self.path / "lock").open("w") as file:
            if not try_lock(file):
                raise RunError(f"{self.path} is being worked on by another dtsgan compare")
            yield
