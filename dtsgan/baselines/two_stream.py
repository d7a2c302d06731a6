"""Two-Stream, Tesfaldet, Brubaker & Derpanis, "Two-Stream Convolutional Networks for Dynamic Texture
Synthesis", CVPR 2018.

    L(x) = alpha |G_app(x) - G_app(clip)|^2 + beta |G_dyn(x) - G_dyn(clip)|^2

Nothing is learnt: each video is noise that L-BFGS changes until its statistics are the clip's. How a frame
looks is the Gram matrices of a network for object recognition (Gatys, Ecker & Bethge 2015), how two frames in
a row move those of a network for optical flow, MSOE. The clip's are averaged over its frames.

Longer video is made by windows, each of which begins with the last frame of the one before, held fixed.
A loop adds the dynamics from its last frame to its first.
"""

import hashlib
import json
import math
import os
import time
import urllib.request
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length
from dtsgan.errors import WeightsUnavailable

VARIABLE = "DTSGAN_METRIC_WEIGHTS"
MSOE_FILE = "msoenet.safetensors"
VGG16_FILE = "vgg16_features_to_relu2_2.safetensors"
SQUEEZENET_FILE = "squeezenet1_1_features.safetensors"
APPEARANCES = ("vgg19", "lite")
PATIENCE = 5.0  # seconds until a server that does not answer counts as out of reach
SMALLEST = 32  # pixels that leave the coarsest layer a place
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY = (0.2989, 0.5870, 0.1140)  # of red, green, blue
NOISE_STD = 1 / 127.5  # of the noise that a video begins as: one step of 8 bits, around ImageNet's mean
GROUP = 2**17  # pixels that pass the networks at once: memory does not grow with the length
HISTORY = 20  # of L-BFGS
BURST = 10  # iterations between two looks at the progress
SCALES = 5  # of MSOE


# -- How a frame looks ---


class Appearance(nn.Module):
    """Networks for object recognition in stages; the Gram matrix of each stage's output is a statistic."""

    mean: Tensor
    std: Tensor

    def __init__(self, *networks: list[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage for stages in networks for stage in stages)
        self.entries = {0, *accumulate(map(len, networks))}  # of the stages, those that see the frames
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(3, 1, 1))
        self.scales: list[float] = []  # of each stage, so that its activations average one

    def forward(self, frames: Tensor) -> Iterator[Tensor]:
        """The maps `(N, C, h, w)` of every stage, of frames `(N, 3, H, W)` in [-1, 1]."""
        entry = ((frames + 1) / 2 - self.mean) / self.std
        x = entry
        for n, stage in enumerate(self.stages):
            x = stage(entry if n in self.entries else x)
            yield x

    def grams(self, frames: Tensor) -> list[Tensor]:
        return [gram(x * s) for x, s in zip(self(frames), self.scales, strict=True)]

    @torch.no_grad()
    def fit_scales(self, frames: Tensor) -> None:
        """Makes the activations of `frames` average one in each stage, as Gatys' normalised VGG does for
        ImageNet: the weights of the two streams hold for such."""
        sums = [0.0] * len(self.stages)
        for group in frames.split(group_size(frames)):
            for n, x in enumerate(self(group)):
                sums[n] += x.mean().item() * len(group)
        self.scales = [len(frames) / max(s, 1e-12) for s in sums]


def vgg_stages(layers: nn.Sequential, ends: list[int]) -> list[nn.Module]:
    """Cuts a VGG after its layers `ends`, with average pooling in place of max pooling (Gatys et al.)."""
    smooth = [nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in layers]
    starts = [0, *(end + 1 for end in ends)]
    return [nn.Sequential(*smooth[a : b + 1]) for a, b in zip(starts, ends, strict=False)]


def load_vgg19() -> Appearance:
    """VGG-19's conv1_1 and pool1 to pool4, as torchvision downloads it.

    Raises:
        WeightsUnavailable: if it is in no cache and the server is out of reach.
    """
    try:
        from torchvision.models import VGG19_Weights, vgg19

        weights = VGG19_Weights.IMAGENET1K_V1
        cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
        if not cached.is_file():  # the library would wait for as long as the system lets it
            ask = urllib.request.Request(weights.url, method="HEAD")
            urllib.request.urlopen(ask, timeout=PATIENCE).close()
        layers = vgg19(weights=weights, progress=False).features
    except ImportError as error:
        raise WeightsUnavailable(f"{error.name} is not installed: pip install it") from error
    except Exception as error:  # the network, the disk, torch and pickle have their own
        reason = getattr(error, "reason", None) or error
        raise WeightsUnavailable(
            f"torchvision's VGG-19 cannot be downloaded ({reason}): connect to the internet once, or take "
            "two_stream_lite, which needs a folder of weights only"
        ) from error
    return Appearance(vgg_stages(layers, [1, 4, 9, 18, 27]))


def load_lite(folder: Path) -> Appearance:
    """VGG-16's conv1_1, pool1 and pool2 for detail, SqueezeNet's pools 5 and 8 for what is larger: these see
    31 and 79 pixels, VGG-19's pool3 and pool4 about 44 and 100."""
    try:
        from torchvision.models import squeezenet1_1
    except ImportError as error:
        raise WeightsUnavailable(f"{error.name} is not installed: pip install it") from error

    with torch.random.fork_rng(devices=[]):  # torch's own start, of which nothing stays
        vgg = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        squeeze = squeezenet1_1(weights=None).features
    fill(vgg, VGG16_FILE, read_weights(folder, VGG16_FILE), "features.")
    fill(squeeze, SQUEEZENET_FILE, read_weights(folder, SQUEEZENET_FILE), "features.")
    return Appearance(vgg_stages(vgg, [1, 4, 9]), [squeeze[:6], squeeze[6:9]])


# -- How two frames move ---


class MSOE(nn.Module):
    """Marginalized spatio-temporal oriented energies: the authors' network for optical flow.

    Frames in a row -> oriented filters of 2 x 11 x 11, squared, the strongest nearby, mixed, L1-normalised;
    on five scales; then two layers decode the flow. What enters the last two is the dynamics' statistic.
    """

    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(2, 32, 11)  # two frames as two channels
        self.mix = nn.Conv2d(32, 64, 1)
        self.decode1 = nn.Conv2d(64 * SCALES, 64, 3)
        self.decode2 = nn.Conv2d(64, 2, 1)
        bell = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * 2.0**2))
        kernel = bell[:, None] * bell
        self.register_buffer("blur", (kernel / kernel.sum()).expand(2, 1, 5, 5).clone())

    def features(self, pairs: Tensor) -> Tensor:
        """Maps `(N, 320, H, W)` of pairs `(N, 2, H, W)` of gray frames, whatever their brightness and
        contrast."""
        size = pairs.shape[2:]
        mean = pairs.mean((1, 2, 3), keepdim=True)
        x = (pairs - mean) / (pairs.var((1, 2, 3), keepdim=True, unbiased=False) + 1e-12).sqrt()
        maps = []
        for n in range(SCALES):
            if n:
                x = F.conv2d(mirrored(x, 2), self.blur, stride=2, groups=2)
            energy = self.filters(mirrored(x, 5)).square()
            energy = energy.contiguous(memory_format=torch.channels_last)  # pooling is much faster so
            energy = F.normalize(self.mix(F.max_pool2d(energy, 5, 1, 2)), p=1, dim=1)
            maps.append(energy if not n else F.interpolate(energy, size, mode="bilinear"))
        return torch.cat(maps, 1)

    def flow(self, pairs: Tensor) -> Tensor:
        """Motion from the first to the second frame, `(N, 2, H, W)`, in pixels to the right and down."""
        x = torch.relu(self.decode1(mirrored(self.features(pairs), 1)))
        return self.decode2(x) * torch.tensor([1.0, -1.0])[:, None, None]  # the network's y points up


def mirrored(x: Tensor, margin: int) -> Tensor:
    """Pads `(N, C, H, W)` by reflection that repeats the edge, however small it is."""
    for axis in (2, 3):
        n = x.shape[axis]
        place = torch.arange(-margin, n + margin) % (2 * n)
        x = x.index_select(axis, torch.minimum(place, 2 * n - 1 - place))
    return x


def load_msoe(folder: Path) -> MSOE:
    state = read_weights(folder, MSOE_FILE)
    names = {"msoenet.conv1": "filters", "msoenet.conv2": "mix", "decode_conv1": "decode1"}
    names["decode_conv2"] = "decode2"
    tensors = {f"{names.get(k.rpartition('.')[0])}.{k.rpartition('.')[2]}": v for k, v in state.items()}
    if "filters.weight" in tensors:  # 32 1 11 11 2: time is last
        tensors["filters.weight"] = tensors["filters.weight"][:, 0].permute(0, 3, 1, 2).contiguous()
    with torch.random.fork_rng(devices=[]):  # torch's own start, of which nothing stays
        net = MSOE()
    fill(net, MSOE_FILE, {"blur": net.blur, **tensors})
    return net


def gray(frames: Tensor) -> Tensor:
    """Brightness `(N, H, W)` in [0, 1] of frames `(N, 3, H, W)` in [-1, 1]."""
    return torch.einsum("nchw,c->nhw", (frames + 1) / 2, torch.tensor(GRAY))


# -- Weights ---


def weights_folder(named: str | os.PathLike[str] | None) -> Path:
    """The folder of pretrained weights: `named`, or what the environment names.

    Raises:
        WeightsUnavailable: if there is none.
    """
    found = named or os.environ.get(VARIABLE)
    if not found or not Path(found).is_dir():
        given = f"{found} is not a folder" if found else "no folder of weights is named"
        raise WeightsUnavailable(f"{given}: give one that holds {MSOE_FILE} as `weights` or in {VARIABLE}")
    return Path(found)


def read_weights(folder: Path, file: str) -> dict[str, Tensor]:
    """The tensors of `folder / file`, checked against the folder's manifest.json where it has one.

    Raises:
        WeightsUnavailable: if the file is missing, damaged or not the one that the manifest lists.
    """
    from safetensors.torch import load_file

    path = folder / file
    if not path.is_file():
        raise WeightsUnavailable(f"{folder} has no {file}: name a folder that has it as `weights`")
    try:
        manifest = folder / "manifest.json"
        models = json.loads(manifest.read_text()).get("models", []) if manifest.is_file() else []
        expected = next((entry.get("sha256") for entry in models if entry.get("file") == file), None)
        is_listed = not expected or hashlib.sha256(path.read_bytes()).hexdigest() == expected
        tensors: dict[str, Tensor] = load_file(path)
    except Exception as error:  # safetensors has its own, the disk others
        raise WeightsUnavailable(f"{path} cannot be read ({error}): get it again") from error
    if not is_listed:
        raise WeightsUnavailable(f"{path} is not the file that its manifest.json lists: get it again")
    return tensors


def fill(net: nn.Module, file: str, tensors: dict[str, Tensor], prefix: str = "") -> None:
    """Gives every parameter of `net` its tensor.

    Raises:
        WeightsUnavailable: if one is missing, left over or of another shape.
    """
    try:
        net.load_state_dict({key.removeprefix(prefix): value for key, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise WeightsUnavailable(f"the weights in {file} do not fit: {error!s:.120}") from error


# -- The method ---


class TwoStream:
    """Matches the statistics of two pretrained networks, each sample by an optimisation of its own.

    Args:
        weights: folder of the pretrained networks; the environment variable DTSGAN_METRIC_WEIGHTS when not
            given.
        appearance: "vgg19", as torchvision downloads it, or "lite", from the folder.
        iterations: of L-BFGS, for each window.
        window: frames that are optimised together; a longer video continues from its last frame.
        loop: whether the last frame is to lead to the first.
        appearance_weight, dynamics_weight: alpha and beta.

    Raises:
        ValueError: an appearance that does not exist.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        appearance: str = "vgg19",
        iterations: int = 6000,
        window: int = 12,
        loop: bool = False,
        appearance_weight: float = 1e9,
        dynamics_weight: float = 1e15,
    ) -> None:
        if appearance not in APPEARANCES:
            raise ValueError(f"appearance must be one of {' and '.join(APPEARANCES)}, got {appearance!r}")
        if window < 2:
            raise ValueError(f"window must be 2 frames or more, got {window}")
        self.weights = weights
        self.appearance = appearance
        self.iterations = iterations
        self.window = window
        self.loop = loop
        self.appearance_weight = appearance_weight
        self.dynamics_weight = dynamics_weight

    @torch.no_grad()
    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """As every baseline's.

        Raises:
            WeightsUnavailable: a ValueError: pretrained weights that cannot be had; the sentence says why.
        """
        check_clip(clip, "Two-Stream", num_frames=2, side=SMALLEST)
        folder = weights_folder(self.weights)
        self.msoe = load_msoe(folder).eval().requires_grad_(False)
        look = load_lite(folder) if self.appearance == "lite" else load_vgg19()
        self.look = look.eval().requires_grad_(False)
        frames = clip[0].transpose(0, 1).float()  # T 3 H W
        self.size = (clip.shape[3], clip.shape[4])
        self.look.fit_scales(frames)
        self.looks, self.moves = self.statistics(frames)
        if on_progress:
            on_progress(1.0, "the clip's statistics")

    @torch.no_grad()
    def statistics(self, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """Gram matrices of each stage of the appearance, and of the dynamics, of frames `(T, 3, H, W)`: means
        over frames and over pairs in a row."""
        groups = frames.split(group_size(frames))
        looks = [self.look.grams(group) for group in groups]
        pairs = in_pairs(gray(frames)).split(group_size(frames))
        moves = [gram(self.msoe.features(group)) for group in pairs]
        return [torch.cat(stage).mean(0) for stage in zip(*looks, strict=True)], torch.cat(moves).mean(0)

    def losses(self, frames: Tensor) -> tuple[float, float]:
        """How far frames `(T, 3, H, W)` are from the clip in appearance and in dynamics, weighted."""
        with torch.no_grad():
            parts = list(self._parts(frames, None, None))
        return sum(p.item() for k, p in parts if k == "look"), sum(p.item() for k, p in parts if k == "move")

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """As every baseline's.

        Raises:
            ValueError: a loop of fewer than two frames.
        """
        check_length(num_frames)
        if self.loop and num_frames < 2:
            raise ValueError(f"a loop needs at least 2 frames, got num_frames={num_frames}")
        until = math.inf if seconds is None else time.monotonic() + seconds
        # the first window has no frame to begin with: it makes all of its own
        rest = max(0, num_frames - self.window)
        lengths = [min(num_frames, self.window)]
        lengths += [min(self.window - 1, rest - k) for k in range(0, rest, self.window - 1)]
        frames = torch.empty(0, 3, *self.size)
        for k, length in enumerate(lengths):
            before = frames[-1:] if k else None
            after = None
            if self.loop and k == len(lengths) - 1:
                after = frames[:1]  # empty in the first window, whose own first frame it then is

            def tell(iteration: int, loss: float, k: int = k) -> None:
                if on_progress:
                    done = (k + iteration / self.iterations) / len(lengths)
                    where = f"window {k + 1} of {len(lengths)}, iteration {iteration}"
                    on_progress(done, f"{where}, loss {loss:.3g}")

            noise = NOISE_STD * torch.randn(length, 3, *self.size, generator=generator)
            start = 2 * self.look.mean - 1 + noise
            left = (until - time.monotonic()) / (len(lengths) - k)
            frames = torch.cat([frames, self._descend(start, before, after, time.monotonic() + left, tell)])
        if on_progress:
            on_progress(1.0, f"{num_frames} frames")
        return frames.transpose(0, 1)[None].clamp(-1, 1)

    def _descend(
        self, start: Tensor, before: Tensor | None, after: Tensor | None, until: float, tell: Any
    ) -> Tensor:
        """L-BFGS from `start`; the best frames when the iterations or the time are over."""
        x = start.clone().requires_grad_(True)
        best, lowest = start, float("inf")

        def loss() -> float:
            nonlocal best, lowest
            if time.monotonic() > until and lowest < float("inf"):
                raise _TimeIsUp
            x.grad = None
            total = 0.0
            for _, part in self._parts(x, before, after):
                part.backward()
                total += part.item()
            if total < lowest:
                best, lowest = x.detach().clone(), total
            return total

        lbfgs = torch.optim.LBFGS(
            [x], max_iter=BURST, tolerance_grad=0, tolerance_change=0, history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )  # fmt: skip
        done = 0
        while done < self.iterations:
            lbfgs.param_groups[0]["max_iter"] = min(BURST, self.iterations - done)
            try:
                lbfgs.step(loss)
            except _TimeIsUp:
                break
            if lbfgs.state[x]["n_iter"] == done:  # no slope is left
                break
            done = lbfgs.state[x]["n_iter"]
            tell(done, lowest)
        return best

    def _parts(self, x: Tensor, before: Tensor | None, after: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        """The loss of frames `(T, 3, H, W)`, in parts of a few frames: "look" and "move"."""
        size = group_size(x)
        for group in x.split(size):
            grams = self.look.grams(group)
            gaps = [(g - goal).square().sum() for g, goal in zip(grams, self.looks, strict=True)]
            yield "look", self.appearance_weight * torch.stack(gaps).sum() / (len(gaps) * len(x))
        ends = x[:1] if after is not None and not len(after) else after
        num_pairs = len(x) - 1 + (before is not None) + (after is not None)
        for start in range(0, num_pairs, size):
            # anew for each part, whose graph is gone after its gradient
            chain = torch.cat([part for part in (before, x, ends) if part is not None])
            pairs = in_pairs(gray(chain[start : start + size + 1]))
            gap = (gram(self.msoe.features(pairs)) - self.moves).square().sum()
            yield "move", self.dynamics_weight * gap / num_pairs


class _TimeIsUp(Exception):
    """Ends L-BFGS in the middle of a line search."""


def gram(x: Tensor) -> Tensor:
    """Mean products of channels, `(N, C, C)`, of maps `(N, C, h, w)`, over the number of channels too.

    Of a loss that treats (i, j) and (j, i) alike, the gradient through either factor is the same: it is taken
    through one and doubled, which spares the largest product of all.
    """
    flat = x.flatten(2)  # N C hw
    products = flat @ flat.detach().transpose(1, 2) / (flat.shape[1] * flat.shape[2])
    return 2 * products - products.detach()


def in_pairs(frames: Tensor) -> Tensor:
    """Every two gray frames in a row, `(T - 1, 2, H, W)`, of `(T, H, W)`."""
    return torch.stack([frames[:-1], frames[1:]], 1)


def group_size(frames: Tensor) -> int:
    return max(1, GROUP // (frames.shape[-2] * frames.shape[-1]))
