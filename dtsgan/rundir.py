"""The names inside a run's folder, and how its files are written: whole or not at all."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtsgan.errors import RunError


@dataclass(frozen=True)
class RunDir:
    """One training run on disk. Everything that follows a run reads these files and nothing else."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def encoder_state(self) -> Path:
        """As `state`, of the encoder of prediction."""
        return self.path / "encoder_state.pt"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains, as long as it lives."""
        return self.path / "lock"

    @property
    def source(self) -> Path:
        """The clip as it is learned (trimmed, cropped, resized), without loss."""
        return self.path / "source.mkv"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def previews(self) -> Path:
        return self.path / "previews"

    def preview(self, scale: int) -> Path:
        return self.previews / f"scale_{scale}.mp4"

    @property
    def prediction_preview(self) -> Path:
        return self.previews / "prediction.mp4"

    def create(self) -> None:
        """Makes the folder.

        Raises:
            RunError: if there is a run, or anything else, in it already, or it cannot be written.
        """
        if self.config.exists():
            raise RunError(
                f"{self.path} holds a run already: go on with it (dtsgan train --resume {self.path}) "
                "or choose another --out"
            )
        if self.path.exists() and not self._is_unborn():
            raise RunError(f"{self.path} exists and is not an empty folder: choose another --out")
        try:
            self.previews.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path} ({error.strerror}): choose another --out") from error

    def _is_unborn(self) -> bool:
        """Whether there is nothing in the folder but what `create` and a kill before `config.json` leave."""
        leftovers = {self.previews.name, self.source.name}
        return self.path.is_dir() and all(
            item.name in leftovers or item.name.endswith(".partial") for item in self.path.iterdir()
        )

    def check(self) -> None:
        """Raises `RunError` unless this is the folder of a run that can be resumed."""
        if not self.config.exists():
            raise RunError(f"{self.path} is not a run's folder: it has no config.json")
        if not self.source.exists():
            raise RunError(
                f"{self.path} has lost its {self.source.name}: start the training again from the video"
            )

    def read_config(self) -> dict[str, Any]:
        return read_json(self.config)

    def read_status(self) -> dict[str, Any]:
        return read_json(self.status) if self.status.exists() else {}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes one JSON object, whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes to a neighbour and renames, so that a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """
    Raises:
        RunError: if the file is not one JSON object.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} does not hold a JSON object")
    return values
