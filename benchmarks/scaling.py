"""How training and drawing grow: as the side of the picture doubles, and as the clip gets longer.

python benchmarks/scaling.py
"""

from dataclasses import replace

from measuring import Figure, in_fresh_process, keep, machine, parser, peak_memory, streamed_seconds
from training import time_scales, training_of

from dtsgan.config import preset
from dtsgan.jobs import limited_threads
from dtsgan.model import DTSGAN

POOL_FRAMES = 32  # the pool is drawn before the steps that are timed; what it costs, the frames a second tell


def main() -> None:
    p = parser(
        "Training and drawing against the side of the picture and the length of the clip.",
        "python benchmarks/scaling.py --quick",
    )
    arguments = p.parse_args()
    before = machine()
    middle = (64, 60) if arguments.quick else (150, 150)  # pixels, frames
    sides = (48,) if arguments.quick else (75, 300)
    lengths = (30,) if arguments.quick else (60, 600)
    cases = sorted({middle, *((side, middle[1]) for side in sides), *((middle[0], n) for n in lengths)})

    figures = []
    for side, num_frames in cases:
        case = f"{side} px, {num_frames} frames"
        fit, sets, seconds, memory = in_fresh_process(measure, side, num_frames, 3 if arguments.quick else 7)
        figures += [
            Figure(f"{case}: fit of the linear coarse model", "s", [fit]),
            Figure(f"{case}: one training step of every other scale", "s", sets),
            Figure(f"{case}: streaming a frame", "s", seconds),
            Figure(f"{case}: peak memory", "MB", [memory]),
        ]
    keep("scaling", figures, before, arguments)


def measure(side: int, num_frames: int, steps: int) -> tuple[float, list[float], list[float], float]:
    """Seconds of the fit, of a step of every learned scale together, of a frame, and peak memory in MB."""
    config = preset("learned").with_settings({"pool_frames": POOL_FRAMES})
    with limited_threads(0):
        training = training_of(replace(config, pyramid=config.pyramid.resized(side)), num_frames, steps)
        linear, *learned = time_scales(training, steps)
        sets = [sum(seconds) for seconds in zip(*(scale.steps for scale in learned), strict=True)]
        frames = streamed_seconds(DTSGAN(training.finished_pyramid()), 24, 3)
    return linear.setup, sets, frames, peak_memory()


if __name__ == "__main__":
    main()
