"""The real clip's part of the scoring, a third of it or so, done once for all cells of a clip.

Cells are processes of their own and pass it on in a file, which goes with their comparer: a later one may
score with other networks.
"""

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dtsgan.compare.folder import ReportDir
from dtsgan.metrics.patches import CopySource, PatchProjections
from dtsgan.metrics.perceptual import InceptionFeatures

Prepared = dict[tuple[str, tuple[Any, ...]], Any]  # `Judge.prepared`
# What a file may hold beside tensors and plain values: no other code runs when it is read.
KINDS: list[Any] = [CopySource, InceptionFeatures, PatchProjections]


def read_prepared(folder: ReportDir, clip: str) -> Prepared:
    """What other cells have prepared so far; nothing where there is none, or no whole one."""
    try:
        with torch.serialization.safe_globals(KINDS):
            return torch.load(folder.prepared(clip), weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return {}


def write_prepared(folder: ReportDir, clip: str, prepared: Prepared) -> None:
    """Puts it in place of what was there, whole: cells read at any time, and several may write."""
    path = folder.prepared(clip)
    partial = path.with_name(f"{os.getpid()}.partial")
    try:
        torch.save(prepared, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError):  # a full disk, or no comparer: the next cell prepares its own
        partial.unlink(missing_ok=True)


@contextmanager
def passing_on(folder: ReportDir) -> Iterator[None]:
    """Cells pass on what they prepare within; before and after there is nothing."""
    place = folder.prepared("any").parent
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)
