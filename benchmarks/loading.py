"""Loading a model: seconds and memory through each way in, from a new process to the first frame.

python benchmarks/loading.py                     # a pyramid of the fast preset with random weights
python benchmarks/loading.py --model runs/fire   # a trained one
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from measuring import MB, Figure, keep, machine, parser, random_model

from dtsgan.config import Config, preset
from dtsgan.folder import BUNDLED, WEIGHTS, bundled_models
from dtsgan.model import DTSGAN

# Each prints: seconds of its imports, of loading, of the processor until the first frame; peak memory in MB.
REPORT = """
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
print(imported - began, loaded - imported, time.process_time(), peak)
"""
START = "import sys, time\nbegan = time.perf_counter()\n"
LIGHT = f"""{START}from dtsgan.model import DTSGAN
imported = time.perf_counter()
model = DTSGAN.from_pretrained(sys.argv[1])
loaded = time.perf_counter()
next(model.stream(seed=7)){REPORT}"""
PIPELINE = f"""{START}import torch
from dtsgan.diffusers_pipeline import DTSGANPipeline
imported = time.perf_counter()
pipe = DTSGANPipeline.from_pretrained(sys.argv[1])
loaded = time.perf_counter()
pipe(num_frames=1, generator=torch.Generator().manual_seed(7))
{REPORT}"""
REMOTE_CODE = PIPELINE.replace(
    "from dtsgan.diffusers_pipeline import DTSGANPipeline", "from diffusers import DiffusionPipeline"
).replace(
    "DTSGANPipeline.from_pretrained(sys.argv[1])",
    "DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)",
)
COMMAND = f"""{START}from dtsgan.cli import main
imported = loaded = time.perf_counter()
main(["sample", sys.argv[1], "--num-frames", "1", "--seed", "7", "--out", sys.argv[2]])
{REPORT}"""
WAYS = {
    "light (DTSGAN)": LIGHT,
    "diffusers (DTSGANPipeline)": PIPELINE,
    "diffusers (trust_remote_code)": REMOTE_CODE,
    "command (dtsgan sample)": COMMAND,
}


def main() -> None:
    p = parser(
        "Seconds and memory of each way to load a model.", "python benchmarks/loading.py --model runs/fire"
    )
    p.add_argument("--model", metavar="MODEL", help="a model folder, a run or a bundled texture")
    arguments = p.parse_args()
    before = machine()
    runs = 1 if arguments.quick else 3
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        if arguments.model:
            DTSGAN.from_pretrained(arguments.model).save_pretrained(folder)  # with what diffusers reads
        else:
            fast = preset("fast")
            side = 64 if arguments.quick else fast.pyramid.max_size
            random_model(
                Config(pyramid=fast.pyramid.resized(side), model=fast.model), 150, side
            ).save_pretrained(folder)
        for name, code in WAYS.items():
            took = [timed(code, folder, Path(scratch) / "frame.png") for _ in range(runs + 1)][1:]
            columns = list(zip(*took, strict=True))
            if code is not COMMAND:  # which imports while it works
                figures.append(Figure(f"{name}: imports", "s", columns[0]))
                figures.append(Figure(f"{name}: loading", "s", columns[1]))
            figures.append(Figure(f"{name}: from the command to the first frame", "s", columns[4]))
            figures.append(Figure(f"{name}: the processor's time in that", "s", columns[2]))
            figures.append(Figure(f"{name}: peak memory", "MB", columns[3]))
        figures.append(Figure("weights", "MB", [(folder / WEIGHTS).stat().st_size / MB]))
    for name in bundled_models():
        size = sum(path.stat().st_size for path in (BUNDLED / name).rglob("*") if path.is_file())
        figures.append(Figure(f"bundled texture {name}, whole folder", "MB", [size / MB]))
    arguments.model = arguments.model and Path(arguments.model).name
    keep("loading", figures, before, arguments)


def timed(code: str, folder: Path, out: Path) -> list[float]:
    """What a new process prints, and the seconds until it has ended."""
    began = perf_counter()
    command = [sys.executable, "-c", code, str(folder), str(out.with_suffix(""))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = perf_counter() - began
    return [*(float(number) for number in done.stdout.split()[-4:]), seconds]


if __name__ == "__main__":
    main()
