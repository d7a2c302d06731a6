"""A model's folder, on disk as on the Hub: found by name, read strictly and safely, written whole or not at
all.

Reading takes JSON and safetensors only and believes neither: a size that nothing explains, a tensor that is
missing, unknown, of another shape or no number, a link out of the folder and a newer format are refused with
one sentence, before they cost memory.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dtsgan.config import FORMAT_VERSION, EncoderConfig, ModelConfig, parse_settings
from dtsgan.errors import ConfigError, HubError, ModelFileError, nearest
from dtsgan.linear_dynamics import MAX_COLORS, LinearDynamics
from dtsgan.networks import FrameEncoder, PyramidGenerator
from dtsgan.packing import pack, unpack
from dtsgan.pyramid import Size
from dtsgan.rundir import RunDir, write_json, write_text

_PACKAGE = Path(__file__).resolve().parent
# beside the package in a checkout, inside it where a wheel is installed
BUNDLED = _PACKAGE / "weights" if (_PACKAGE / "weights").is_dir() else _PACKAGE.parent / "weights"
WEIGHTS = "pyramid/diffusion_pytorch_model.safetensors"
ENCODER = "encoder/diffusion_pytorch_model.safetensors"  # where prediction was trained
NEEDED = ("config.json", "pyramid/config.json", WEIGHTS)
# go where the model goes
COMPANIONS = ("README.md", "preview.mp4", "preview.webp", "prediction.webp", "scores.json")
MAX_HEADER = 2**20  # bytes of the list of tensors in a file of weights
# what is read of a model on the Hub and the most bytes that it may have; no program is among it
LIMITS = {
    "config.json": 2**20,
    "pyramid/config.json": 2**20,
    "training.json": 2**20,
    "scores.json": 2**20,
    "README.md": 2**20,
    "preview.mp4": 2**26,
    "preview.webp": 2**26,
    "prediction.webp": 2**26,
    WEIGHTS: 4 * 200_000_000 + 2**20,
    "encoder/config.json": 2**20,
    ENCODER: 2**28,
}
# diffusers reads these: where its two classes are. They import, and do nothing else.
SHIMS = {
    "pipeline.py": "from dtsgan.diffusers_pipeline import DTSGANPipeline  # noqa: F401\n",
    "pyramid/modeling_dtsgan.py": "from dtsgan.diffusers_pipeline import DTSGANPyramid  # noqa: F401\n",
}
MODEL_INDEX = {"_class_name": ["pipeline", "DTSGANPipeline"], "pyramid": ["modeling_dtsgan", "DTSGANPyramid"]}
MAX_PARAMETERS = 200_000_000  # no texture needs more; a config that asks for it is damaged or hostile


# -- finding ---


def resolve_model(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> Path:
    """The folder that `model` names: as `find_model`, else the snapshot of a repository on the Hub."""
    from dtsgan import transfer

    name = os.fspath(model)
    is_repo = isinstance(model, str) and transfer.is_repo_id(name)
    if revision is None:
        try:
            return find_model(model)
        except ModelFileError:
            if not is_repo or Path(name).exists():
                raise
    if not is_repo:
        raise ModelFileError(f'only a repository on the Hub, "user/name", has revisions; got "{name}"')
    try:
        return transfer.download(
            name,
            {file: LIMITS[file] for file in (*NEEDED, "training.json")},
            NEEDED,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            local_files_only=local_files_only,
            on_progress=on_progress,
        )
    except HubError as error:
        if revision is not None or not Path(name).parent.is_dir():
            raise
        raise HubError(f"there is no folder {name}, and as a name on the Hub: {error}") from None


def find_model(model: str | os.PathLike[str]) -> Path:
    """The folder on this machine that `model` names: a model folder, a run's folder or a bundled texture."""
    path = Path(model)
    for candidate in (path, RunDir(path).model, BUNDLED / path):
        if (candidate / "pyramid").is_dir() and (candidate / "config.json").is_file():
            return candidate
    if (path / "status.json").exists():
        raise ModelFileError(f"the run {path} has no finished scale yet: wait, or go on with --resume")
    if path.is_dir():
        raise ModelFileError(f"{path} is not a model folder: it has no config.json and pyramid/")
    names = bundled_models()
    known = f"; bundled: {', '.join(names)}" if names else ""
    raise ModelFileError(
        f'there is no model folder, run or texture "{model}"{nearest(str(model), names)}{known}'
    )


def bundled_models() -> list[str]:
    """Names of the textures that come with the package."""
    return sorted(p.parent.name for p in BUNDLED.glob("*/config.json")) if BUNDLED.is_dir() else []


# -- reading ---


def read_model(folder: Path) -> tuple[PyramidGenerator, float, dict[str, Any], FrameEncoder | None]:
    """The networks, the frame rate, the training record and the encoder of prediction, if it has one.

    Raises:
        ModelFileError: missing, damaged, unsafe, too large, or from a newer version.
    """
    pyramid, fps = read_pyramid(folder / "config.json", folder / WEIGHTS)
    record = _read_config(folder / "training.json") if (folder / "training.json").exists() else {}
    return pyramid, fps, record, read_encoder(folder, pyramid.config, pyramid.num_scales)


def read_pyramid(config: Path, weights: Path) -> tuple[PyramidGenerator, float]:
    """The networks and the frame rate that a configuration and a file of weights hold: the only way in.

    Raises:
        ModelFileError: missing, damaged, unsafe, too large, or from a newer version.
    """
    root = _read_config(config)
    _check_link(weights, config.parent)
    model, sizes, num_frames, fps = parse_config(root, config)
    with torch.device("meta"):
        pyramid = PyramidGenerator(model, sizes, num_frames)
    pyramid.load_state_dict(_read_tensors(weights, pyramid), strict=True, assign=True)
    return pyramid, fps


def parse_config(root: dict[str, Any], where: Path | str) -> tuple[ModelConfig, list[Size], int, float]:
    """What a model's `config.json` says: its networks, sizes, length and frame rate.

    Raises:
        ModelFileError: it is damaged, absurd or from a newer version.
    """
    version = root.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        advice = "update dtsgan" if newer else "it is not a DTSGAN model folder"
        raise ModelFileError(
            f"{where} has format version {version!r:.40}; this dtsgan reads {FORMAT_VERSION}: {advice}"
        )
    try:
        model = ModelConfig(**parse_settings(ModelConfig, root["model"]))
        sizes = _read_sizes(root["sizes"])
        num_frames = _whole(root, "num_frames", 1, 10**6)
        fps = float(root["fps"])
        if not 0 < fps <= 1000:
            raise ConfigError(f"fps must be between 0 and 1000, got {fps:g}")
        if estimated_parameters(model, sizes, num_frames) > MAX_PARAMETERS:
            raise ConfigError("its sizes are absurd")
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{where} is damaged: {error}") from error
    return model, sizes, num_frames, fps


def estimated_parameters(model: ModelConfig, sizes: list[Size], num_frames: int) -> int:
    """An upper estimate of the numbers in a model, from its configuration alone."""
    width = max(model.features)
    nets = len(sizes) * 27 * width * (width * model.num_layers + 12) + 9 * sum(h * w for h, w in sizes)
    if model.coarse == "adversarial":
        return nets
    states = LinearDynamics.num_states(num_frames, model.num_components)
    values = 3 * sizes[0][0] * sizes[0][1]
    if model.patch_transport:
        nets += min(num_frames, model.patch_frames) * (values + 3 * sizes[0][0] * sizes[0][1])
    return nets + values * (states + 2 * MAX_COLORS) + states**2 * (model.num_lags + 1) + states * num_frames


def read_encoder(folder: Path, model: ModelConfig, num_scales: int) -> FrameEncoder | None:
    """The encoder of prediction, if the model folder has one, as strictly read as the pyramid."""
    home = (folder / ENCODER).parent
    if not home.is_dir():
        return None
    values = _read_config(home / "config.json")
    if values.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{home} has format version {values.get('format_version')!r}; this dtsgan reads "
            f"{FORMAT_VERSION}: update dtsgan, or delete the folder to go without prediction"
        )
    try:
        config = EncoderConfig(**parse_settings(EncoderConfig, values["encoder"]))
        if config.features**2 * 200 * num_scales > MAX_PARAMETERS:
            raise ConfigError("its features are absurd")
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{home / 'config.json'} is damaged: {error}") from error
    with torch.device("meta"):
        encoder = FrameEncoder(config, model, num_scales)
    _check_link(folder / ENCODER, folder)
    encoder.load_state_dict(_read_tensors(folder / ENCODER, encoder), strict=True, assign=True)
    return encoder


def _read_config(path: Path) -> dict[str, Any]:
    _check_link(path, path.parent)
    try:
        if path.stat().st_size > 2**20:
            raise ModelFileError(f"{path} is too large for a configuration")
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} does not hold a JSON object")
    return values


def _read_sizes(values: Any) -> list[Size]:
    sizes = [(h, w) for h, w in values]
    sides = [side for size in sizes for side in size]
    growing = all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(sizes))
    if not 1 <= len(sizes) <= 16 or not growing or not all(type(s) is int and 8 <= s <= 4096 for s in sides):
        raise ConfigError(f"sizes must be 1 to 16 growing pairs of 8 to 4096 pixels, got {values!r:.80}")
    return sizes


def _whole(values: dict[str, Any], key: str, low: int, high: int) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{key} must be a whole number from {low} to {high}, got {value!r}")
    return value


def _check_link(path: Path, folder: Path) -> None:
    """Refuses a file that is a link out of its folder: who unpacks a model does not expect it to reach out.

    The Hub's cache is made of links, from `snapshots/<commit>/` to `blobs/`; those are its own.
    """
    home = folder.resolve()
    snapshots = next((p for p in home.parents if p.name == "snapshots"), None)
    places = [home] if snapshots is None else [home, snapshots.parent / "blobs"]
    if not any(path.resolve().is_relative_to(place) for place in places):
        raise ModelFileError(
            f"{path} is a link to a place outside of its folder and is refused: copy the file"
        )


def _read_tensors(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The weights, each checked against what the configuration explains before it is read."""
    if not path.is_file():
        others = [
            p.name
            for p in (path.parent.iterdir() if path.parent.is_dir() else ())
            if p.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl")
        ]
        found = f"; {others[0]} can run code when loaded and is refused" if others else ""
        raise ModelFileError(f"{path} is missing{found}")
    expected = network.state_dict()
    with path.open("rb") as head:
        length = int.from_bytes(head.read(8), "little")
    if length > MAX_HEADER:  # or what it lists would be read before anything could be compared
        raise ModelFileError(f"{path} is damaged: it says that its list of tensors has {length} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            packed = [name for name in expected if _is_film(expected[name]) and {*_packed(name)} <= names]
            names = {*names, *packed}.difference(*map(_packed, packed))
            missing, extra = sorted(set(expected) - names), sorted(names - set(expected))
            if missing or extra:
                what = (
                    f'lacks the tensor "{missing[0]}"' if missing else f'has an unknown tensor "{extra[0]}"'
                )
                raise ModelFileError(f"{path} {what}: it does not belong to this config.json")
            tensors = {}
            for name, like in expected.items():
                if name in packed:
                    tensors[name] = _read_film(path, file, name, tuple(like.shape))
                    continue
                found_shape, dtype = tuple(file.get_slice(name).get_shape()), file.get_slice(name).get_dtype()
                if found_shape != tuple(like.shape):
                    raise ModelFileError(
                        f'{path}: the tensor "{name}" has shape {found_shape}, '
                        f"config.json explains {tuple(like.shape)}"
                    )
                tensor = file.get_tensor(name)
                if tensor.dtype != like.dtype:
                    raise ModelFileError(f'{path}: the tensor "{name}" is {dtype}, expected {like.dtype}')
                if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                    raise ModelFileError(f'{path}: the tensor "{name}" holds values that are not numbers')
                tensors[name] = tensor
    except SafetensorError as error:
        raise ModelFileError(f"{path} is damaged or is no safetensors file: {error}") from error
    return tensors


def _is_film(tensor: Tensor) -> bool:
    """Whether these are the frames of a clip, which a file has as pictures (files of before: as they are)."""
    return tensor.dtype == torch.uint8 and tensor.ndim == 4 and len(tensor) == 3


def _packed(name: str) -> tuple[str, str]:
    """What a file calls the pictures of such frames, and their lengths."""
    return f"{name}.pictures", f"{name}.lengths"


def _read_film(path: Path, file: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """Frames of `shape`, `(3, K, h, w)`, from their pictures."""
    name_of_pictures, name_of_lengths = _packed(name)
    pictures, lengths = file.get_slice(name_of_pictures), file.get_slice(name_of_lengths)
    _, count, height, width = shape
    # a picture is hardly larger than its pixels
    room = count * (2 * 3 * height * width + 4096)
    kinds = (pictures.get_dtype(), lengths.get_dtype(), lengths.get_shape())
    if kinds != ("U8", "I32", [count]) or len(pictures.get_shape()) != 1 or pictures.get_shape()[0] > room:
        raise ModelFileError(f'{path}: the pictures of "{name}" are not those that config.json explains')
    try:
        return unpack(file.get_tensor(name_of_pictures), file.get_tensor(name_of_lengths), height, width)
    except ValueError as error:
        raise ModelFileError(f'{path}: "{name}": {error}') from error


# -- writing ---


def write_parts(
    folder: Path, pyramid: PyramidGenerator, fps: float, record: dict[str, Any], encoder: FrameEncoder | None
) -> dict[str, Any]:
    """Writes all of a model but its card and what the card shows, a file at a time, and returns what the root
    `config.json` is to hold: that comes last, since it makes a folder a model."""
    config = write_pyramid(folder / "pyramid", pyramid, fps)
    if encoder is not None:
        _write_tensors(folder / ENCODER, encoder.state_dict())
        made = {"format_version": FORMAT_VERSION, "encoder": asdict(encoder.config)}
        write_json(folder / "encoder" / "config.json", made)
    write_json(folder / "training.json", record)
    write_json(folder / "model_index.json", MODEL_INDEX)
    for name, text in SHIMS.items():
        write_text(folder / name, text)
    return {"library_name": "dtsgan", **config}


def write_pyramid(folder: Path, pyramid: PyramidGenerator, fps: float) -> dict[str, Any]:
    """Writes the weights and their `config.json`, in the types that the format has; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        stored = PyramidGenerator(pyramid.config, pyramid.sizes, pyramid.num_frames).state_dict()
    tensors: dict[str, Tensor] = {}
    for name, tensor in pyramid.state_dict().items():
        if _is_film(tensor):
            tensors |= zip(_packed(name), pack(tensor), strict=True)
        else:
            tensors[name] = tensor.to(stored[name].dtype)
    _write_tensors(folder / Path(WEIGHTS).name, tensors)
    config = {
        "format_version": FORMAT_VERSION,
        "sizes": [list(size) for size in pyramid.sizes],
        "num_frames": pyramid.num_frames,
        "fps": fps,
        "model": asdict(pyramid.config),
    }
    write_json(folder / "config.json", {"_class_name": "DTSGANPyramid", **config})
    return config


def copy_companions(origin: Path, folder: Path) -> None:
    """Copies what lies beside a model, its card, previews and scores, to where the model now goes."""
    if origin.resolve() == folder.resolve():
        return
    for name in COMPANIONS:
        if (origin / name).is_file():
            partial = folder / f"{name}.partial"
            shutil.copyfile(origin / name, partial)
            os.replace(partial, folder / name)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A file of weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # not save_file, whose files their owner alone may read; one key, as several come in any order
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial.write_bytes(save(whole, {"format": "pt"}))
    os.replace(partial, path)
