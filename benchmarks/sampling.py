"""Drawing video: frames a second, memory, the size of a model and the time to its first frame.

python benchmarks/sampling.py                     # a pyramid of the fast preset with random weights
python benchmarks/sampling.py --model runs/fire   # a trained one
"""

import tempfile
from pathlib import Path
from time import perf_counter

from measuring import (
    MB,
    Figure,
    in_fresh_process,
    keep,
    machine,
    parser,
    peak_memory,
    random_model,
    resident_memory,
    skip,
    streamed_seconds,
)

from dtsgan.config import Config, PyramidConfig, preset
from dtsgan.folder import find_model
from dtsgan.jobs import limited_threads
from dtsgan.model import DTSGAN

SMALL = PyramidConfig(num_scales=3, min_size=16, max_size=32)  # whatever leaks a frame leaks at any size
SETTLED = 200  # frames after which a stream holds all that it ever will


def main() -> None:
    p = parser(
        "Frames a second, memory, size and start of a model.",
        "python benchmarks/sampling.py --model runs/fire --long",
    )
    p.add_argument("--model", metavar="MODEL", help="a model folder, a run or a bundled texture")
    p.add_argument("--long", action="store_true", help="draw the 10,000 frames at the model's own size")
    arguments = p.parse_args()
    before = machine()
    count, runs = (16, 3) if arguments.quick else (64, 5)
    side = 64 if arguments.quick else 150
    fast = preset("fast")

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        if arguments.model:
            folder = find_model(arguments.model)
        else:
            random_model(
                Config(pyramid=fast.pyramid.resized(side), model=fast.model), 150, side
            ).save_pretrained(folder)
        model = DTSGAN.from_pretrained(folder)
        height, width = model.size
        at = f"at {width}x{height}"
        figures = []
        for name, threads in (("all cores", 0), ("one thread", 1)):
            with limited_threads(threads):
                seconds = streamed_seconds(model, count, runs)
            figures.append(Figure(f"streamed {at}, float32, {name}", "frames/s", [1 / s for s in seconds]))

        starts = [in_fresh_process(first_frames, folder, count) for _ in range(3)]
        figures += [
            Figure(f"from folder to first frame {at}, imports not counted", "s", [s for s, _, _ in starts]),
            Figure("memory after the imports", "MB", [bare for _, bare, _ in starts]),
            Figure(
                f"peak memory of a process that draws {count} frames {at}", "MB", [m for _, _, m in starts]
            ),
        ]

        small = folder
        if not arguments.long:
            small = Path(scratch) / "small"
            random_model(Config(pyramid=SMALL, model=fast.model), 60, SMALL.max_size).save_pretrained(small)
        many = 1_000 if arguments.quick else 10_000
        early, late = in_fresh_process(memory_of_a_long_stream, small, many)
        at = at if arguments.long else f"at {SMALL.max_size}x{SMALL.max_size}"
        figures += [
            Figure(f"memory after {SETTLED} frames {at}", "MB", [early]),
            Figure(f"memory after {many:,} frames {at}", "MB", [late]),
        ]

        weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        figures.append(Figure("weights in the model folder", "MB", [weights / MB]))
    keep("sampling", figures, before, arguments)


def first_frames(folder: Path, count: int) -> tuple[float, float, float]:
    """Seconds from the folder to the first frame; MB resident before it and at the peak of `count` frames."""
    bare = resident_memory()
    with limited_threads(0):
        began = perf_counter()
        frames = DTSGAN.from_pretrained(folder).stream()
        next(frames)
        seconds = perf_counter() - began
        skip(frames, count)
    return seconds, bare, peak_memory()


def memory_of_a_long_stream(folder: Path, count: int) -> tuple[float, float]:
    """MB resident once a stream has settled, and after `count` frames of it."""
    with limited_threads(0):
        frames = DTSGAN.from_pretrained(folder).stream()
        skip(frames, SETTLED)
        early = resident_memory()
        skip(frames, count - SETTLED)
    return early, resident_memory()


if __name__ == "__main__":
    main()
