"""The state of an unfinished training, on disk: one file, whole or not at all, loaded without unpickling
code."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from dtsgan.errors import RunError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes to a neighbour and renames: a crash half-way leaves the previous file whole."""
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """
    Raises:
        RunError: if the file is missing, damaged or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(
            f"{path} is damaged or is not a training state: delete it to start this run anew"
        ) from error
