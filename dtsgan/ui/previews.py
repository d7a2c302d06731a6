"""Makes the gallery's loops: `python -m dtsgan.ui.previews MODEL FILE [MODEL FILE ...]`. One that a model
brings is taken, others are drawn.

A process of its own, with which the memory goes that drawing takes: a page that nobody has visited yet stays
as small as its imports.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from dtsgan.errors import DTSGANError
from dtsgan.model import DTSGAN
from dtsgan.ui.settings import ROOT
from dtsgan.video import read_clip, write_clip

LOOP_SECONDS = 3.0
MOST_FRAMES, MOST_PIXELS = 256, 1024 * 1024  # of a loop that is taken: it may come from a stranger


def draw_apart(files: Mapping[Path, Path]) -> None:
    """Draws the loops of model folders into files; one that cannot be drawn is told on stderr."""
    pairs = [str(path) for pair in files.items() for path in pair]
    subprocess.run(
        [sys.executable, "-m", "dtsgan.ui.previews", *pairs],
        # one thread, so that a visitor finds a core free
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def while_asked(chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """The chunks, until the page that asked is gone."""
    page = os.getppid()
    for chunk in chunks:
        if os.getppid() != page:
            sys.exit(1)
        yield chunk


def taken(folder: Path, file: Path) -> bool:
    """Whether the model brought a loop, small enough to be one, which is now in the file."""
    try:
        clip, info = read_clip(folder / "preview.webp", max_frames=MOST_FRAMES, max_pixels=MOST_PIXELS)
    except (DTSGANError, OSError):
        return False
    write_clip(file, clip, info.fps)
    return True


def main(arguments: list[str]) -> None:
    if hasattr(os, "nice"):  # visitors come first
        os.nice(10)
    for folder, file in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            if not taken(Path(folder), Path(file)):
                model = DTSGAN.from_pretrained(folder)
                frames = max(2, round(LOOP_SECONDS * model.fps))
                write_clip(file, while_asked(model.chunks(frames, loop=True)), model.fps)
        except (DTSGANError, OSError) as error:
            print(f"no preview of {folder}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
