"""What the tests share: two threads at most, a tiny clip that moves, tiny pyramids of both kinds."""

import os

# read when torch loads: idle threads sleep, and processes side by side take a core each
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import atexit
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

# read when the Hub's client and diffusers load: no test sees or touches the caches of whoever runs it
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="dtsgan-tests-")
os.environ.pop("HF_HUB_CACHE", None)
os.environ.pop("HF_MODULES_CACHE", None)
os.environ.pop("HF_ENDPOINT", None)
os.environ.pop("HF_HUB_OFFLINE", None)

import pytest
import torch
from torch import Tensor, nn

from dtsgan import video
from dtsgan.config import ModelConfig, PyramidConfig
from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator, ScaleGenerator
from dtsgan.pyramid import build_pyramid, scale_sizes
from dtsgan.trainer import fit_coarse

atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
torch.set_num_threads(min(2, torch.get_num_threads()))

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium, or set CHROMIUM"
)
QUIET = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

FPS = 10.0
LADDER = PyramidConfig(num_scales=3, min_size=9, max_size=20, num_frames=8)
# every setting that a tiny run needs, so that no preset's numbers matter
TINY = {
    "num_scales": 3, "min_size": 16, "max_size": 24, "num_frames": 6, "num_layers": 2, "features": (4,),
    "crop": 0, "steps": (12, 8, 8), "batch_size": 1, "num_components": 6, "threads": 1, "d_features": (0,),
    "d_steps": 1, "g_steps": 1, "pool_frames": 0, "update": "neighbour", "update_every": 2,
    "update_stride": 3,
}  # fmt: skip
ADVERSARIAL = {
    **TINY, "coarse": "adversarial", "patch_transport": False, "patch_agreement": False,
    "matched_seams": False, "guided_fades": False, "aligned_fades": False, "restore_contrast": False,
    "steady_contrast": False, "norm": "batch", "output": "tanh",
    "adversary": ("wgan-gp",),
    "rec_weight": (10.0,), "swd_weight": (0.0,), "teacher_forced": False, "whiten": False, "on_detail": False,
    "forced_fakes": 0.0, "position_maps": False, "static_layer": False,
}  # fmt: skip
LINEAR = {
    **TINY, "coarse": "linear", "norm": "none", "output": "linear", "adversary": ("hinge",),
    "rec_weight": (1.0,), "swd_weight": (1.0,),
    "teacher_forced": True, "whiten": True, "on_detail": True, "forced_fakes": 0.5,
    "position_maps": True, "static_layer": True, "pool_frames": 30, "crop": 12, "update": "random",
    "patch_transport": True, "patch_agreement": True, "matched_seams": True, "guided_fades": True,
    "aligned_fades": True, "restore_contrast": True, "steady_contrast": True,
}  # fmt: skip
KINDS = {"adversarial": (ADVERSARIAL, "free"), "linear": (LINEAR, "anchored")}  # settings, layout


def make_clip(num_frames: int = 40, height: int = 24, width: int = 32, seed: int = 0) -> Tensor:
    """Waves that travel, stronger at the bottom, with a little noise, `(1, 3, T, H, W)`."""
    t, y, x = torch.meshgrid(
        torch.arange(num_frames), torch.arange(height), torch.arange(width), indexing="ij"
    )
    rng = torch.Generator().manual_seed(seed)
    channels = []
    for c in range(3):
        waves = torch.sin(2 * math.pi * (x / 16 - t / 10 + c / 5)) * (0.15 + 0.35 * y / height)
        waves = waves + 0.2 * torch.sin(2 * math.pi * (y / 9 + t / 14 - c / 7)) - 0.1 * c
        channels.append(waves + 0.05 * torch.randn(waves.shape, generator=rng))
    return torch.stack(channels)[None].clamp(-1, 1)


@pytest.fixture(scope="session")
def clip() -> Tensor:
    return make_clip()


@pytest.fixture(scope="session")
def clip_file(clip, tmp_path_factory):
    """The clip as a file without loss (but for 8 bits)."""
    path = tmp_path_factory.mktemp("source") / "waves.mkv"
    video.write_clip(path, clip, FPS)
    return path


@pytest.fixture(scope="session")
def anchored_pyramid(clip) -> PyramidGenerator:
    """A scene: linear model fitted to the clip, still detail and maps above it, whitened colours."""
    config = ModelConfig(
        coarse="linear", layout="anchored", features=(8,), norm="none", output="linear", whiten=True,
        position_maps=True, static_layer=True, num_components=10, patch_transport=True,
        patch_agreement=True, matched_seams=True, guided_fades=True, aligned_fades=True,
        restore_contrast=True, steady_contrast=True,
    )  # fmt: skip
    sizes = scale_sizes(LADDER, *clip.shape[3:])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        pyramid = PyramidGenerator(config, sizes, clip.shape[2])
        pyramid.fit_colors(clip)
        fit_coarse(pyramid, build_pyramid(clip, sizes)[0])
        for net in pyramid.scales[1:]:
            assert isinstance(net, ScaleGenerator)
            assert net.position is not None and net.static is not None
            net.position.normal_(0, 0.5)
            net.static.normal_(0, 0.05)
            net.to_rgb.weight.normal_(0, 0.01)
            net.to_rgb.bias.normal_(0, 0.05)
            net.noise_std.fill_(0.1)
    return pyramid.eval()


@pytest.fixture(scope="session")
def free_pyramid() -> PyramidGenerator:
    """A texture: adversarial networks with batch norm, whose statistics are not those of a new norm."""
    config = ModelConfig(coarse="adversarial", layout="free", features=(8,), norm="batch", output="tanh")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        pyramid = PyramidGenerator(config, scale_sizes(LADDER, 24, 32), 40)
        for n, net in enumerate(pyramid.scales):
            assert isinstance(net, ScaleGenerator)
            for conv in net.convs:  # an average over time, so that what it draws moves smoothly
                conv.weight.copy_(conv.weight.mean(2, keepdim=True).expand_as(conv.weight) * 3**0.5)
            for norm in net.norms:
                assert isinstance(norm, nn.BatchNorm3d)
                norm.running_mean.normal_(0, 0.3)
                norm.running_var.uniform_(0.5, 2)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.2)
            net.to_rgb.weight.normal_(0, 0.012 if n == 0 else 0.002)
            net.noise_std.fill_(1.0 if n == 0 else 0.05)
    return pyramid.eval()


@pytest.fixture(scope="session", params=["anchored", "free"])
def pyramid(request) -> PyramidGenerator:
    """Each of the two in turn."""
    return request.getfixturevalue(f"{request.param}_pyramid")


@pytest.fixture
def anchored_model(anchored_pyramid) -> DTSGAN:
    return DTSGAN(anchored_pyramid, FPS, {"preset": "tiny"})


@pytest.fixture
def free_model(free_pyramid) -> DTSGAN:
    return DTSGAN(free_pyramid, FPS, {"preset": "tiny"})


def close(got: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


@pytest.fixture(scope="session")
def hub_server():
    from loopback_hub import LoopbackHub

    server = LoopbackHub()
    yield server
    server.close()


@pytest.fixture
def loopback(hub_server, tmp_path, monkeypatch):
    """A Hub of our own for the real client, with a cache of its own and a user who is logged in."""
    from huggingface_hub import constants, hf_api
    from loopback_hub import TOKEN

    hub_server.reset()
    template = hub_server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    monkeypatch.setattr(hf_api.api, "endpoint", hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setattr(constants, name, True)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


def wait_until(tab: Any, expression: str, seconds: float = 30.0) -> None:
    """Waits for a condition on a page, asked from outside: playwright's own `wait_for_function` asks again
    from within, where a page that forbids `eval` refuses it.
    """
    until = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < until, f"not true after {seconds:g} seconds: {expression}"
        tab.wait_for_timeout(50)
