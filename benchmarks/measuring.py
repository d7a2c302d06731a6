"""What the benchmarks share: what they run on, fresh processes, memory, and results on disk."""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dtsgan.config import Config
from dtsgan.estimate import has_fast_bfloat16
from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator, ScaleGenerator
from dtsgan.pyramid import build_pyramid, scale_sizes
from dtsgan.sampler import CHUNK
from dtsgan.trainer import fit_coarse

RESULTS = Path(__file__).parent / "results"
MB = 2**20


# -- what is run ---


def synthetic_clip(num_frames: int, side: int) -> Tensor:
    """Waves that drift over a square and a little grain, `(1, 3, num_frames, side, side)`."""
    rng = torch.Generator().manual_seed(0)
    t = torch.arange(num_frames).view(-1, 1, 1) / 25
    y, x = torch.arange(side).view(1, -1, 1) / side, torch.arange(side).view(1, 1, -1) / side
    clip = 0.1 * torch.randn(3, num_frames, side, side, generator=rng)
    for channel in clip:
        for _ in range(6):
            down, right, speed, phase = (6.3 * torch.randn(4, generator=rng)).tolist()
            channel += 0.2 * torch.sin(down * y + right * x + speed * t + phase)
    return clip.clamp_(-1, 1)[None]


def random_model(config: Config, num_frames: int, side: int) -> DTSGAN:
    """A model as large as a trained one. Its weights are random: neither time nor memory depends on them. Its
    linear coarse model is fitted, since its poles decide for how long it is run before the first frame."""
    clip = synthetic_clip(num_frames, side)
    sizes = scale_sizes(config.pyramid, side, side)
    torch.manual_seed(0)
    pyramid = PyramidGenerator(config.model, sizes, num_frames)
    pyramid.fit_colors(clip)
    with torch.no_grad():
        for scale in pyramid.scales:
            if isinstance(scale, ScaleGenerator):
                torch.nn.init.normal_(scale.to_rgb.weight, std=0.01)  # zeros, before training
                scale.noise_std.fill_(0.1)
            else:
                fit_coarse(pyramid, build_pyramid(clip, sizes[:1])[0])
    return DTSGAN(pyramid)


def streamed_seconds(model: DTSGAN, num_frames: int, runs: int) -> list[float]:
    """Seconds a frame of one endless stream, `runs` times over the next `num_frames`, after its beginning."""
    frames = model.stream(seed=1)
    skip(frames, 2 * CHUNK)  # the first chunk fills the pyramid, the second has the size of all that follow
    num_frames = CHUNK * max(1, num_frames // CHUNK)
    seconds = []
    for _ in range(runs):
        began = perf_counter()
        skip(frames, num_frames)
        seconds.append((perf_counter() - began) / num_frames)
    return seconds


def skip(frames: Iterator[Tensor], count: int) -> None:
    for _ in islice(frames, count):
        pass


# -- where it is run ---


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a process that has done nothing but the imports."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> float:
    """The most resident memory that this process has held, in MB."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    # elsewhere than on Linux, where ru_maxrss would also count the process that started this one
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)


def resident_memory() -> float:
    """Resident memory of this process now, in MB; the peak where the system does not tell."""
    now = _status("VmRSS")
    return peak_memory() if now is None else now


def machine() -> dict[str, Any]:
    """What a figure depends on beside the code."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    precision = "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32"
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "training_precision": precision,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "date": datetime.date.today().isoformat(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _status(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), None)


def _cpu_model() -> str:
    """The model's name, with its numbers where a virtual machine hides the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = f"family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else ""
    return f"{facts.get('model name', platform.machine())} {numbers}".strip()


# -- what is kept ---


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its value in every run."""

    name: str
    unit: str
    runs: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """With the options that every benchmark has."""
    p = argparse.ArgumentParser(
        description=description,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--quick", action="store_true", help="small and short, to see that it works; not kept")
    p.add_argument("--out", metavar="DIR", type=Path, help="folder for the results (default: results/)")
    return p


def keep(
    benchmark: str, figures: list[Figure], before: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Prints the figures and writes `DIR/benchmark.json` and the table of all benchmarks, `DIR/README.md`.

    Args:
        before: `machine()` as it was when the benchmark began, before its own load.
    """
    for line in _rows(benchmark, [{**asdict(f), "median": f.median} for f in figures]):
        print(line)
    folder = arguments.out or (None if arguments.quick else RESULTS)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    rows = [{"name": f.name, "unit": f.unit, "median": f.median, "runs": list(f.runs)} for f in figures]
    result = {"benchmark": benchmark, "settings": settings, "machine": before, "figures": rows}
    (folder / f"{benchmark}.json").write_text(json.dumps(result, indent=2) + "\n")
    results = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
    (folder / "README.md").write_text(table([result for result in results if "figures" in result]))


def table(results: list[dict[str, Any]]) -> str:
    """All results as one page of Markdown."""
    lines = ["# Results", "", "Written by `make bench`: medians, and the range of all runs beside them.", ""]
    lines += [
        "| benchmark | machine | software | date | load average before |",
        "| --- | --- | --- | --- | --- |",
    ]
    for result in results:
        m = result["machine"]
        name = result["benchmark"] + (" (--quick)" if result["settings"]["quick"] else "")
        software = f"Python {m['python']}, torch {m['torch']}"
        load = " ".join(f"{value:.2f}" for value in m["load_average"])
        lines.append(f"| {name} | {m['cpu']}, {m['cores']} cores | {software} | {m['date']} | {load} |")
    lines += [
        "",
        "| benchmark | figure | median | unit | range | runs |",
        "| --- | --- | ---: | --- | --- | ---: |",
    ]
    for result in results:
        lines += _rows(result["benchmark"], result["figures"])
    return "\n".join(lines) + "\n"


def _rows(benchmark: str, figures: list[dict[str, Any]]) -> list[str]:
    return [
        f"| {benchmark} | {f['name']} | {_short(f['median'])} | {f['unit']} "
        f"| {_short(min(f['runs']))} to {_short(max(f['runs']))} | {len(f['runs'])} |"
        for f in figures
    ]


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
