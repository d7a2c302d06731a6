"""Scores that look through pretrained networks: LPIPS and the Fréchet distances of Inception features.

The only file that imports lpips, torchvision and pytorch_fid. A network whose weights cannot be had raises
`WeightsUnavailable` with the reason, once and quickly: there are no numbers from random weights.
"""

import hashlib
import json
import os
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtsgan.errors import ConfigError, WeightsUnavailable
from dtsgan.metrics.checks import check_clips
from dtsgan.metrics.similarity import spread_frames

VARIABLE = "DTSGAN_METRIC_WEIGHTS"
FILES = {
    "lpips_alex": "alexnet_features.safetensors",
    "lpips_squeeze": "squeezenet1_1_features.safetensors",
    "inception": "fid_inception_2015_to_mixed6e.safetensors",
}
NETWORKS = tuple(FILES)
PATIENCE = 5.0  # seconds until a server that does not answer counts as out of reach
MAX_FRAMES = 16  # the paper's clips have 16 frames, and a Fréchet distance depends on their number
WINDOW = 16  # frames of Eq. 6
EPS = 1e-6


class Networks:
    """Pretrained networks, each loaded when it is first asked for.

    Args:
        folder: weights in local files (`docs/metrics.md` has their names); the environment variable
            DTSGAN_METRIC_WEIGHTS when not given; without either they come from where torchvision and
            pytorch-fid download theirs, into torch's cache.
        device: where they compute.

    Raises:
        ConfigError: if the folder does not exist.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        named = folder or os.environ.get(VARIABLE)
        if named and not Path(named).is_dir():
            source = "--metric-weights" if folder else VARIABLE
            raise ConfigError(
                f"{source} names {named}, which is not a folder: give one with {FILES['inception']} and "
                "the like, or none, to have the weights downloaded"
            )
        self.folder = Path(named) if named else None
        self.device = device
        self._loaded: dict[str, nn.Module | WeightsUnavailable] = {}

    def get(self, name: str) -> Any:
        """The network `name`, one of `NETWORKS`.

        Raises:
            WeightsUnavailable: if its weights cannot be had; the sentence says why. Asked again, it answers
                at once.
        """
        if name not in self._loaded:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of torchvision, about its own former arguments
                    network = load_lpips if name.startswith("lpips_") else load_inception
                    self._loaded[name] = network(name, self._state(name)).eval().to(self.device)
            except WeightsUnavailable as error:
                self._loaded[name] = error
            except ImportError as error:
                self._loaded[name] = WeightsUnavailable(f"{error.name} is not installed: pip install it")
        found = self._loaded[name]
        if isinstance(found, WeightsUnavailable):
            raise WeightsUnavailable(str(found))
        return found

    def _state(self, name: str) -> dict[str, Tensor]:
        return downloaded_state(name) if self.folder is None else local_state(self.folder, FILES[name])


def local_state(folder: Path, file: str) -> dict[str, Tensor]:
    """The tensors of `folder / file`, checked against the folder's manifest.json where it has one.

    Raises:
        WeightsUnavailable: if the file is missing, damaged or not the one that the manifest lists.
    """
    from safetensors.torch import load_file

    path = folder / file
    if not path.is_file():
        raise WeightsUnavailable(f"{folder} has no {file}")
    try:
        expected = _listed_sha256(folder / "manifest.json", file)
        if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise WeightsUnavailable(f"{path} is not the file that its manifest.json lists: get it again")
        return load_file(path)
    except WeightsUnavailable:
        raise
    except Exception as error:  # safetensors has its own, the disk others
        raise WeightsUnavailable(f"{path} cannot be read ({error}): get it again") from error


def _listed_sha256(manifest: Path, file: str) -> str | None:
    if not manifest.is_file():
        return None
    models = json.loads(manifest.read_text()).get("models", [])
    return next((entry.get("sha256") for entry in models if entry.get("file") == file), None)


def downloaded_state(name: str) -> dict[str, Tensor]:
    """The tensors as torchvision and pytorch-fid download them.

    Raises:
        WeightsUnavailable: if they are in no cache and the server is out of reach.
    """
    import torchvision
    from pytorch_fid.inception import FID_WEIGHTS_URL

    url: str = {
        "lpips_alex": torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url,
        "lpips_squeeze": torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url,
        "inception": FID_WEIGHTS_URL,
    }[name]
    file = url.rpartition("/")[2]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file
    try:
        if not cached.is_file():  # the library would wait for as long as the system lets it
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # the network, the disk, torch and pickle have their own
        reason = getattr(error, "reason", None) or error
        raise WeightsUnavailable(
            f"{file} cannot be downloaded ({reason}): connect to the internet once, or name a folder of "
            f"weights with --metric-weights or {VARIABLE}"
        ) from error


def load_lpips(name: str, state: dict[str, Tensor]) -> nn.Module:
    """LPIPS v0.1 (Zhang et al. 2018): lpips' heads on a torchvision backbone. Takes N C H W in [-1, 1]."""
    import lpips

    # "random" trunk: lpips' way to leave the download to us; every tensor of it is replaced below
    net = lpips.LPIPS(net=name.removeprefix("lpips_"), pnet_rand=True, verbose=False)
    keys = {key: f"features.{key.split('.', 1)[1]}" for key in net.net.state_dict()}
    return _filled(name, net, net.net, lambda: {key: state[source] for key, source in keys.items()})


def load_inception(name: str, state: dict[str, Tensor]) -> nn.Module:
    """The FID network as pytorch-fid builds it, as far as there are weights for it."""
    from pytorch_fid import inception as fid

    net = fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for block, (channels, pooled) in {"5b": (192, 32), "5c": (256, 64), "5d": (288, 64)}.items():
        setattr(net, f"Mixed_{block}", fid.FIDInceptionA(channels, pool_features=pooled))
    for block, channels in {"6b": 128, "6c": 160, "6d": 160, "6e": 192}.items():
        setattr(net, f"Mixed_{block}", fid.FIDInceptionC(768, channels_7x7=channels))
    net.Mixed_7b, net.Mixed_7c = fid.FIDInceptionE_1(1280), fid.FIDInceptionE_2(2048)
    blocks = {
        64: [net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, nn.MaxPool2d(3, 2)],
        192: [net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, nn.MaxPool2d(3, 2)],
        768: [getattr(net, f"Mixed_{b}") for b in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")],
        2048: [net.Mixed_7a, net.Mixed_7b, net.Mixed_7c],
    }
    is_whole = any(key.startswith("Mixed_7c.") for key in state)
    if not is_whole:
        del blocks[2048], net.Mixed_7a, net.Mixed_7b, net.Mixed_7c
    net.fc = None  # classifies; no score looks at it

    def known() -> dict[str, Tensor]:
        tensors = {key: value for key, value in state.items() if not key.startswith(("fc.", "AuxLogits."))}
        counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        return counters | tensors  # of training, and of no use here

    return _filled(name, Inception(blocks), net, known)


def _filled(
    name: str, whole: nn.Module, part: nn.Module, state: Callable[[], dict[str, Tensor]]
) -> nn.Module:
    """`whole`, once every tensor of its `part` has come from `state`."""
    try:
        part.load_state_dict(state(), strict=True)
    except (KeyError, RuntimeError) as error:
        raise WeightsUnavailable(f"the weights for {name} do not fit: {error!s:.120}") from error
    if not all(bool(t.isfinite().all()) for t in part.state_dict().values()):
        raise WeightsUnavailable(f"the weights for {name} hold infinite values: get them again")
    return whole.requires_grad_(False)


class Inception(nn.Module):
    """pytorch-fid's blocks, by the number of features that each ends in."""

    def __init__(self, blocks: dict[int, list[nn.Module]]) -> None:
        super().__init__()
        self.dims = tuple(blocks)
        self.blocks = nn.ModuleList(nn.Sequential(*layers) for layers in blocks.values())

    def forward(self, x: Tensor, last: int = 2048) -> list[Tensor]:
        """Pictures `(N, 3, H, W)` in [-1, 1] -> maps `(N, dims, h, w)` of blocks up to `last` features."""
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for dims, block in zip(self.dims, self.blocks, strict=True):
            if dims > last:
                break
            x = block(x)
            maps.append(x)
        return maps


# -- LPIPS ---


@torch.inference_mode()
def lpips_features(frames: Tensor, net: Any) -> list[Tensor]:
    """What LPIPS compares: pictures `(N, 3, H, W)` in [-1, 1] -> unit-length features of each layer.

    Kept, so that all pairs of N pictures cost N passes instead of N (N - 1).
    """
    from lpips import normalize_tensor

    return [normalize_tensor(x) for x in net.net(net.scaling_layer(frames.float()))]


@torch.inference_mode()
def feature_distance(a: list[Tensor], b: list[Tensor], net: Any) -> Tensor:
    """LPIPS from features, `(N,)`."""
    layers = zip(net.lins, a, b, strict=True)
    return torch.stack([lin((x - y).square()).mean((1, 2, 3)) for lin, x, y in layers]).sum(0)


def lpips_distance(x: Tensor, y: Tensor, net: Any) -> Tensor:
    """LPIPS of pictures `(N, 3, H, W)` in [-1, 1], `(N,)`; 0 looks alike."""
    return feature_distance(lpips_features(x, net), lpips_features(y, net), net)


def lpips_matrix(fake: Tensor, net: Any, max_frames: int = MAX_FRAMES) -> Tensor:
    """Mean LPIPS over corresponding frames, for each pair of samples.

    Args:
        fake: samples `(B, 3, T, H, W)`, values in [-1, 1].
        max_frames: frames compared, evenly spaced.

    Returns:
        `(B, B)`, symmetric, zeros on the diagonal. Memory holds one frame's features of each sample.
    """
    check_clips("lpips_matrix", fake, min_frames=1, min_size=32)
    matrix = torch.zeros(len(fake), len(fake), device=fake.device)
    frames = spread_frames(fake.shape[2], max_frames)
    for t in frames:
        features = lpips_features(fake[:, :, t], net)
        for i in range(len(fake) - 1):  # one sample beside all after it
            ones = [f[i : i + 1] for f in features]
            rest = [f[i + 1 :] for f in features]
            matrix[i, i + 1 :] += feature_distance(ones, rest, net)
    matrix /= len(frames)
    return matrix + matrix.T


def lpips_diversity(fake: Tensor, real: Tensor, net: Any) -> float:
    """The paper's diversity: mean LPIPS over all pairs of samples, frame beside frame.

    Args:
        fake: samples `(B, 3, T, H, W)`, values in [-1, 1], B at least 2.
        real: not looked at; the real clip's own value is that of several parts of it.

    Returns:
        0 is one video again and again. Nearer to the real video's is better, not merely higher; a copy that
        begins elsewhere in the source counts as new: read it beside `copy_score`.

    Raises:
        ValueError: if there is only one sample.
    """
    if len(fake) < 2:
        raise ValueError(f"lpips_diversity needs at least 2 samples, got {len(fake)}")
    return off_diagonal_mean(lpips_matrix(fake, net))


def off_diagonal_mean(matrix: Tensor) -> float:
    """Mean over pairs, `(B, B)` -> a number."""
    n = len(matrix)
    return (matrix.sum() / (n * (n - 1))).item()


def sigma_n_lpips(clip: Tensor, net: Any, window: int = WINDOW) -> float:
    """Eq. 6: deviation over i of LPIPS(x_i, x_i+1) / LPIPS(x_first, x_last).

    On windows of 16 frames, the length of the paper's clips, one after the other; their mean. The
    population's deviation. The last frame of a loop is next to its first, which would make the denominator
    vanish: it is never less than the mean step.

    Args:
        clip: `(1, 3, T, H, W)`, values in [-1, 1], at least 3 frames.

    Returns:
        0 changes evenly, or not at all. Nearer to the real video's value is better, not merely lower.
    """
    check_clips("sigma_n_lpips", clip, min_frames=3, min_size=32)
    frames = clip[0].transpose(0, 1)  # T 3 H W
    window = min(window, len(frames))
    values = []
    for start in range(0, len(frames) - window + 1, window):
        features = lpips_features(frames[start : start + window], net)
        steps = feature_distance([f[:-1] for f in features], [f[1:] for f in features], net)
        span = feature_distance([f[:1] for f in features], [f[-1:] for f in features], net)
        denominator = torch.maximum(span, steps.mean()).clamp(min=EPS)
        values.append((steps / denominator).std(correction=0))
    return torch.stack(values).mean().item()


# -- Fréchet distances ---


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Between the Gaussians of two sets of features (Dowson & Landau 1982): `(N, D)` and `(M, D)`.

    |m_x - m_y|^2 + tr C_x + tr C_y - 2 tr (C_x C_y)^1/2. With C = A^T A the last trace is the nuclear norm of
    A_x A_y^T, which needs no root of a matrix: with fewer features than dimensions (16 frames) pytorch-fid's
    root of a singular product costs seconds and digits.
    """
    x, y = x.double(), y.double()
    mean = (x.mean(0) - y.mean(0)).square().sum()
    a, b = _covariance_factor(x), _covariance_factor(y)
    cross = torch.linalg.matrix_norm(a @ b.T, "nuc")
    return max(0.0, (mean + a.square().sum() + b.square().sum() - 2 * cross).item())


def _covariance_factor(x: Tensor) -> Tensor:
    """A with A^T A the covariance, as small as it can be."""
    centred = (x - x.mean(0)) / max(1, len(x) - 1) ** 0.5
    if len(x) <= x.shape[1]:
        return centred
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


class InceptionFeatures:
    """What the Fréchet distances need of one clip `(1, 3, T, H, W)`: 16 frames and the frame after each."""

    @torch.inference_mode()
    def __init__(self, clip: Tensor, net: Any, max_frames: int = MAX_FRAMES) -> None:
        check_clips("inception_distances", clip, min_frames=2, min_size=32)
        frames = clip[0].transpose(0, 1)  # T 3 H W
        at = torch.tensor(spread_frames(len(frames) - 1, max_frames))
        whole, after = [], []
        for places in at.split(8):  # bounds the memory
            whole.append(net(frames[places].float()))
            after.append(net(frames[places + 1].float(), last=64)[0])
        maps = torch.cat([w[0] for w in whole])  # N 64 h w
        self.positions = maps.flatten(2).mT  # N h*w 64
        self.pairs = torch.cat([self.positions, torch.cat(after).flatten(2).mT], 2).flatten(0, 1)  # N*h*w 128
        self.means = {
            dims: torch.cat([w[k].mean((2, 3)) for w in whole])  # N dims
            for k, dims in enumerate(net.dims)
        }


def inception_distances(fake: Tensor, real: Tensor | InceptionFeatures, net: Any) -> dict[str, float]:
    """FID of the frames, SIFID of single frames, and a SVFID of pairs of neighbouring frames, in one pass.

    - `fid_64`, `fid_192`, `fid_768`, `fid_2048` (Heusel et al. 2017; the paper's is the last): features of 16
      evenly spaced frames, averaged over each, beside those of 16 real frames. Each on a scale of its own.
    - `sifid` (Shaham et al. 2019): the 64-channel map of one frame, a feature for each position, beside that
      of the real frame of the same number; mean over 16 frames.
    - `svfid_64`: the maps of a frame and the next, 128 numbers for each position, pooled over 16 pairs. SVFID
      (Gur et al. 2020) takes features of C3D instead; these see motion only as far as two frames do.

    Args:
        fake, real: clips `(1, 3, T, H, W)`, values in [-1, 1], at least 32 pixels; the real one's features
            will do, too.

    Returns:
        0 is perfect. FID-2048 only if the network has its last blocks; all depend on the number of frames.
    """
    x = InceptionFeatures(fake, net)
    y = real if isinstance(real, InceptionFeatures) else InceptionFeatures(real, net)
    single = [frechet_distance(a, b) for a, b in zip(x.positions, y.positions, strict=False)]
    fids = {f"fid_{dims}": frechet_distance(x.means[dims], y.means[dims]) for dims in x.means}
    if 2048 not in x.means:
        fids = _WithoutLast(fids)
    fids["sifid"] = sum(single) / len(single)
    fids["svfid_64"] = frechet_distance(x.pairs, y.pairs)
    return fids


class _WithoutLast(dict[str, float]):
    """Distances without FID-2048, which says why when it is asked for."""

    def __missing__(self, key: str) -> float:
        raise WeightsUnavailable(
            f"{key} needs the whole Inception network, and the weights at hand end at 768 features: have the "
            "whole network downloaded (no --metric-weights)"
        )
