"""DTSGAN: learn a dynamic texture from one short video, draw endless new video from it.

The public names load what they need when they are first used: `import dtsgan` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dtsgan.config import PRESETS, Config
    from dtsgan.jobs import train
    from dtsgan.model import DTSGAN
    from dtsgan.video import read_clip, write_clip

_HOMES = {
    "DTSGAN": "dtsgan.model",
    "Config": "dtsgan.config",
    "PRESETS": "dtsgan.config",
    "train": "dtsgan.jobs",
    "read_clip": "dtsgan.video",
    "write_clip": "dtsgan.video",
}

__all__ = ["DTSGAN", "PRESETS", "Config", "read_clip", "train", "write_clip"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dtsgan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
