"""Training: its rate of arithmetic beside the machine's own, seconds a step, memory, whole minutes.

python benchmarks/training.py
python benchmarks/training.py --layout anchored
"""

from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import torch
from measuring import Figure, in_fresh_process, keep, machine, parser, peak_memory, synthetic_clip
from torch.utils.flop_counter import FlopCounterMode

from dtsgan.config import Config, at_scale, preset
from dtsgan.estimate import convolution_rate, estimate
from dtsgan.jobs import limited_threads
from dtsgan.trainer import Training

CPU = torch.device("cpu")


@dataclass
class Scale:
    """What one scale's training costs."""

    setup: float  # seconds before the first step: the pool of fakes, what is known in closed form
    steps: list[float]  # seconds of each step; none in closed form
    flops: float  # of one step


def main() -> None:
    p = parser(
        "Arithmetic rate, seconds a step, memory and minutes of training.",
        "python benchmarks/training.py --layout anchored",
    )
    p.add_argument(
        "--layout", choices=("anchored", "free", "both"), default="both", help="default: %(default)s"
    )
    arguments = p.parse_args()
    before = machine()
    layouts = ("anchored", "free") if arguments.layout == "both" else (arguments.layout,)
    side, num_frames, steps = (64, 60, 3) if arguments.quick else (150, 150, 8)

    figures, rates = [], []
    for layout in layouts:
        config = preset("learned", layout)  # of scenes; of textures the same as fast
        config = replace(config, pyramid=config.pyramid.resized(side))
        if arguments.quick:
            config = config.with_settings({"pool_frames": 48})
        scales, rate, memory = in_fresh_process(measure, config, num_frames, steps)
        rates += rate
        known = [(n, scale) for n, scale in enumerate(scales) if scale.steps]
        for n, scale in known:
            figures.append(Figure(f"{layout}, {side} px: a step of scale {n}", "s", scale.steps))
        work = sum(at_scale(config.train.steps, n) * scale.flops for n, scale in known)
        passes = zip(
            *([at_scale(config.train.steps, n) * s for s in scale.steps] for n, scale in known), strict=True
        )
        own = [
            work / sum(seconds) for seconds in passes
        ]  # of the whole recipe, as each measured step predicts
        figures += [
            Figure(f"{layout}, {side} px: arithmetic", "GFLOP/s", [r / 1e9 for r in own]),
            Figure(
                f"{layout}, {side} px: part of the convolution's rate", "", [r / median(rate) for r in own]
            ),
            Figure(f"{layout}, {side} px: peak memory", "MB", [memory]),
        ]
        for name in ("learned",) if layout == "anchored" else ("preview", "fast"):  # one but for its steps
            recipe = replace(preset(name, layout), pyramid=config.pyramid)
            counts = [at_scale(recipe.train.steps, n) for n in range(len(scales))]
            setup = sum(scale.setup for scale in scales)
            loops = zip(*([counts[n] * s for s in scale.steps] for n, scale in known), strict=True)
            minutes = [(setup + sum(seconds)) / 60 for seconds in loops]
            announced = estimate(recipe, num_frames, (side, side), CPU).seconds / 60
            figures += [
                Figure(f"{layout}, {side} px: whole {name} training, predicted", "min", minutes),
                Figure(f"{layout}, {side} px: whole {name} training, as announced", "min", [announced]),
            ]
        if layout == "anchored":
            for name in ("preview", "fast", "quality"):  # all of it in closed form
                recipe = preset(name)
                recipe = replace(recipe, pyramid=recipe.pyramid.resized(side))
                (fit,), _, memory = in_fresh_process(measure, recipe, num_frames, 0)
                announced = estimate(recipe, num_frames, (side, side), CPU).seconds / 60
                figures += [
                    Figure(f"{layout}, {side} px: whole {name} training", "min", [fit.setup / 60]),
                    Figure(f"{layout}, {side} px: whole {name} training, as announced", "min", [announced]),
                    Figure(f"{layout}, {side} px: peak memory of {name}", "MB", [memory]),
                ]
    figures.insert(0, Figure("convolution, forward and backward", "GFLOP/s", [r / 1e9 for r in rates]))
    keep("training", figures, before, arguments)


def measure(config: Config, num_frames: int, steps: int) -> tuple[list[Scale], list[float], float]:
    """The cost of every scale, the machine's rate of convolution before and after, and peak memory in MB."""
    with limited_threads(0):
        rates = [convolution_rate(CPU)]
        scales = time_scales(training_of(config, num_frames, steps), steps)
        memory = peak_memory()
        rates += [convolution_rate(CPU) for _ in range(2)]
    return scales, rates, memory


def training_of(config: Config, num_frames: int, steps: int) -> Training:
    """A training of `config` that is over as soon as each scale has been timed for `steps`."""
    config = config.with_settings({"steps": (steps + 2,)})
    return Training(synthetic_clip(num_frames, config.pyramid.max_size), config)


def time_scales(training: Training, steps: int) -> list[Scale]:
    """Runs all of a `training_of`. Of each scale's steps the first also sets the scale up, and the second is
    counted instead of timed."""
    scales = []
    progress = iter(training)
    for n in range(training.pyramid.num_scales):
        began = perf_counter()
        next(progress)
        if not training.num_steps(n):
            while training.finished_scales <= n:  # a fit says how far it is, rung by rung
                next(progress)
            scales.append(Scale(perf_counter() - began, [], 0.0))
            continue
        first = perf_counter() - began
        with FlopCounterMode(display=False) as counter:
            next(progress)
        seconds = []
        for _ in range(steps):
            began = perf_counter()
            next(progress)
            seconds.append(perf_counter() - began)
        scales.append(Scale(max(0.0, first - median(seconds)), seconds, counter.get_total_flops()))
    return scales


if __name__ == "__main__":
    main()
