"""Renders the example clips: eight dynamic textures, simulated from scratch.

    python examples/render.py                 # all eight, beside this script
    python examples/render.py fire ocean      # two of them
    python examples/render.py --out /tmp/clips

A seed names one video, to the bit on one machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS = 25
SIZE = 256  # pixels a side
CRF = {  # x264's quality, chosen so that no clip passes 1.5 MB; lower is better
    "ocean": 22,
    "fire": 20,
    "smoke": 16,
    "flag": 16,
    "caustics": 20,
    "rain": 20,
    "clouds": 15,
    "grass": 25,
}
TEXTURES = tuple(CRF)


def write_mp4(path: Path, frames: Iterable[np.ndarray], crf: int) -> int:
    """Writes uint8 H W 3 frames as H.264 that every browser plays; returns how many there were.

    A run that is stopped half-way leaves the file that was there before.
    """
    partial = path.with_suffix(".partial")
    count = 0
    with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        # One thread: the bits of the file do not depend on the machine's number of cores.
        stream.options = {"crf": str(crf), "preset": "slow", "threads": "1"}
        for image in frames:
            if count == 0:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        container.mux(stream.encode())
    partial.replace(path)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Render the example clips (CC0 1.0) by simulation.",
        epilog="example: python examples/render.py fire ocean --out /tmp/clips",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(TEXTURES)}; none means all")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here, help="folder for NAME.mp4", metavar="DIR")
    parser.add_argument("--num-frames", type=int, default=120, help=f"length, at {FPS} frames a second")
    parser.add_argument("--size", type=int, default=SIZE, help="width and height in pixels; even")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another such clip")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TEXTURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(TEXTURES)}")

    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or TEXTURES:
        start = time.perf_counter()
        path = args.out / f"{name}.mp4"
        frames = importlib.import_module(name).render(args.num_frames, args.size, args.seed)
        count = write_mp4(path, frames, CRF[name])
        seconds, kilobytes = time.perf_counter() - start, path.stat().st_size / 1000
        print(f"{path}  {count} frames  {kilobytes:.0f} kB  {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
