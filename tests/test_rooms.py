"""Who may import whom: the floors of the house, read from the sources."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dtsgan

PACKAGE = Path(dtsgan.__file__).parent
ROOMS = [
    {"config", "errors"},
    {"video", "packing", "pyramid", "noise", "alignment"},
    {"networks", "linear_dynamics", "patch_transport", "losses"},
    {"data_update", "sampler", "steering", "metrics", "baselines"},
    {"trainer", "budget", "checkpoint", "rundir", "estimate"},
    {"folder", "model", "transfer", "card", "diffusers_pipeline"},
    {"predict", "edit", "hub", "evaluate"},
    {"compare", "jobs", "report", "study"},
    {"cli", "ui"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
OWNERS = {  # libraries that only these may import
    "av": {"video"},
    "PIL": {"video", "packing"},
    "moviepy": {"video"},
    "cv2": {"edit"},
    "gradio": {"ui"},
    "diffusers": {"diffusers_pipeline"},
    "huggingface_hub": {"transfer"},
    "httpx2": {"transfer"},
    "lpips": {"metrics.perceptual"},
    "torchvision": {"metrics.perceptual", "baselines.two_stream"},
    "pytorch_fid": {"metrics.perceptual"},
    "jinja2": {"report"},
}
EVERYWHERE = {"torch", "numpy", "safetensors", "tqdm"}  # all that a room below floor 5 may ask of a machine
STRANGERS = {  # a judge must not know the judged
    "metrics": {"baselines", "model", "networks", "sampler", "linear_dynamics"},
    "baselines": {"metrics", "model", "networks", "sampler"},
}


def sources() -> dict[str, str]:
    """Every module's text by its name within the package; `metrics` is `metrics/__init__.py`."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = path.read_text()
    return modules


def imports(source: str, module: str = "") -> Iterator[str]:
    """Dotted names that a module imports anywhere in its text; those of the package begin with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                start = ".".join(["dtsgan", *module.split(".")[: -node.level], start]).rstrip(".")
            names = [f"{start}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
        else:
            continue
        for name in names:
            head, _, tail = name.partition(".")
            # a public name stands for the module that it comes from
            yield "." + dtsgan._HOMES.get(tail, name).partition(".")[2] if head == "dtsgan" else name


def faults(modules: dict[str, str]) -> list[str]:
    """Every rule that an import breaks, as a sentence that names it."""
    found = []
    for module, source in modules.items():
        room = module.partition(".")[0]
        if room not in FLOOR:
            found.append(f"{module} has no floor: give it one in ROOMS")
            continue
        for name in imports(source, module):
            top = name.partition(".")[0]
            if name.startswith("."):
                other = name.split(".")[1]
                if other == "__version__" or other == room:
                    continue
                if other not in FLOOR:
                    found.append(f"{module} imports {name[1:] or 'the whole package'}, which is no room")
                elif FLOOR[other] > FLOOR[room]:
                    here, there = FLOOR[room], FLOOR[other]
                    found.append(f"{module} (floor {here}) imports {other} (floor {there}) above it")
                elif other in STRANGERS.get(room, ()):
                    found.append(f"{module} imports {other}, which it must not know")
            elif top in OWNERS:
                if not {module, room} & OWNERS[top]:
                    owners = " and ".join(sorted(OWNERS[top]))
                    found.append(f"{module} imports {top}, which only {owners} may")
            elif FLOOR[room] < 5 and top not in EVERYWHERE | set(sys.stdlib_module_names):
                found.append(f"{module} imports {top}, which below floor 5 no machine need have")
    return found


def test_every_module_imports_only_from_its_own_floor_or_below():
    modules = sources()
    del modules[""]  # the door, which loads each public name when it is first used
    assert {"config", "cli", "sampler", "metrics.motion"} <= set(modules)
    assert faults(modules) == []


@pytest.mark.parametrize(
    "module, source, culprit",
    [
        ("noise", "from dtsgan import model", "model (floor 5)"),
        ("noise", "def f():\n    from dtsgan.trainer import Training", "trainer (floor 4)"),
        ("noise", "import dtsgan.jobs", "jobs (floor 7)"),
        ("noise", "from dtsgan import DTSGAN", "model (floor 5)"),
        ("noise", "from . import sampler", "sampler (floor 3)"),
        ("noise", "from .sampler import Stream", "sampler (floor 3)"),
        ("noise", "from importlib import import_module\nimport_module('dtsgan.cli')", "cli (floor 8)"),
        ("noise", "import dtsgan", "the whole package"),
        ("noise", "if x:\n    import scipy.signal", "scipy"),
        ("jobs", "import av", "av"),
        ("jobs", "from PIL import Image", "PIL"),
        ("cli", "import moviepy.editor", "moviepy"),
        ("metrics.motion", "from dtsgan.baselines import BASELINES", "baselines"),
        ("metrics.motion", "from dtsgan.networks import PyramidGenerator", "networks"),
        ("metrics.motion", "import torchvision", "torchvision"),
        ("baselines.lds", "from dtsgan import metrics", "metrics"),
        ("baselines", "from dtsgan import model", "model"),
        ("baselines.lds", "import torchvision", "torchvision"),
        ("attic", "", "attic has no floor"),
    ],
)
def test_a_broken_rule_is_named(module, source, culprit):
    (fault,) = faults({module: source})
    assert module in fault and culprit in fault


@pytest.mark.parametrize(
    "module, source",
    [
        ("sampler", "from dtsgan import noise\nfrom dtsgan.networks import Place"),
        ("trainer", "from dtsgan.estimate import estimate"),
        ("metrics.motion", "from dtsgan.metrics.checks import check_clips\nfrom .checks import check_clips"),
        ("metrics.perceptual", "import lpips"),
        ("baselines.lds", "from dtsgan.linear_dynamics import fit_linear_system"),
        ("jobs", "from dtsgan import __version__\nfrom dtsgan import DTSGAN\nimport json, torch"),
        ("video.reading", "import av\nfrom dtsgan.video.pixels import from_uint8"),
        ("ui.app", "import gradio\nfrom dtsgan import jobs"),
    ],
)
def test_what_the_rules_allow_is_no_fault(module, source):
    assert faults({module: source}) == []


def test_importing_dtsgan_is_quick_and_loads_no_heavy_library():
    code = (
        "import sys, time\nbegan = time.perf_counter()\n"
        "import dtsgan\nseconds = time.perf_counter() - began\nimport dtsgan.cli\n"
        "print(seconds, *sorted({'torch', 'numpy', 'av', 'gradio', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 0.3
