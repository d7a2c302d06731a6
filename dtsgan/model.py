"""`DTSGAN`: a trained texture, from and to a folder, and the video it draws."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
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
from dtsgan.estimate import has_fast_bfloat16
from dtsgan.linear_dynamics import MAX_COLORS, LinearDynamics
from dtsgan.networks import FrameEncoder, PyramidGenerator
from dtsgan.patch_transport import MAX_FRAMES
from dtsgan.pyramid import Size, fit_picture, resize
from dtsgan.rundir import RunDir, write_json, write_text
from dtsgan.sampler import Draw, Stream, coarse_to_fine, tiled_chunks
from dtsgan.steering import Harmony, Steering, feathered, joined

_PACKAGE = Path(__file__).resolve().parent
# beside the package in a checkout, inside it where a wheel is installed
BUNDLED = _PACKAGE / "weights" if (_PACKAGE / "weights").is_dir() else _PACKAGE.parent / "weights"
WEIGHTS = "pyramid/diffusion_pytorch_model.safetensors"
ENCODER = "encoder/diffusion_pytorch_model.safetensors"  # where prediction was trained
NEEDED = ("config.json", "pyramid/config.json", WEIGHTS)
COMPANIONS = ("README.md", "preview.mp4", "preview.webp", "scores.json")  # go where the model goes
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
TILE = 256  # side of the tiles in which large canvases are drawn
MAX_SIDE = 16384
RIM = 0.03  # of the shorter side: width of the feathered rim of an edit
MAX_PARAMETERS = 200_000_000  # no texture needs more; a config that asks for it is damaged or hostile


class DTSGAN:
    """A dynamic texture that draws new video of itself.

    Videos are `(B, 3, T, H, W)`, float32 in [-1, 1]. One seed names one endless video: whatever part of it is
    drawn, in whatever chunks, batch or on whatever device, its frames are the same.

    `from_pretrained`, `save_pretrained` and `push_to_hub` have the names and arguments of huggingface_hub's
    `ModelHubMixin`, but not its code: the mixin fills missing tensors with random ones, falls back to pickles
    and reports a missing repository as a TypeError, and all that would have to be undone again.
    """

    def __init__(
        self,
        pyramid: PyramidGenerator,
        fps: float = 25.0,
        record: dict[str, Any] | None = None,
        encoder: FrameEncoder | None = None,
    ) -> None:
        self.pyramid = pyramid.eval()
        self.encoder = None if encoder is None else encoder.eval()  # trained for prediction
        self.fps = fps
        self.record = record or {}  # how it was trained; written to training.json
        self.dtype = torch.float32  # of the convolutions; weights and statistics stay as they are stored
        self.folder: Path | None = None  # where it was read from

    # -- what it is ---

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that it was trained at, in pixels."""
        return self.pyramid.sizes[-1]

    @property
    def layout(self) -> str:
        """`"anchored"`: a scene, drawn at its own size. `"free"`: a texture, drawn at any size."""
        return self.pyramid.config.layout

    @property
    def has_encoder(self) -> bool:
        """Whether an encoder was trained for prediction."""
        return self.encoder is not None

    @property
    def can_predict(self) -> bool:
        """Whether `predict` works: with an encoder, or with a linear coarse model, which does without."""
        return self.has_encoder or self.pyramid.config.coarse == "linear"

    @property
    def device(self) -> torch.device:
        return self.pyramid.color_mean.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "DTSGAN":
        """Moves it; `dtype` is the precision of its convolutions (the weights are kept in full)."""
        if device is not None:
            self.pyramid.to(device)
        self.dtype = dtype or self.dtype
        if self.encoder is not None and device is not None:
            self.encoder.to(device)
        return self

    # -- drawing ---

    def sample(
        self,
        num_frames: int = 64,
        height: int | None = None,
        width: int | None = None,
        seed: int = 0,
        num_videos: int = 1,
        start_frame: int = 0,
        loop: bool = False,
        tile: str = "",
        speed: float = 1.0,
        diversity: float = 1.0,
    ) -> Tensor:
        """New video, `(num_videos, 3, num_frames, height, width)`.

        Args:
            num_frames: length; with `loop` the period, which then repeats without a seam.
            height, width: in pixels; as trained when not given. Only free textures take other sizes.
            seed: 0 or more; video k of the batch is the one that `seed + k` names.
            start_frame: where in the endless video to begin, at no cost.
            tile: `"x"`, `"y"` or `"xy"`: what repeats without a seam in space; free textures only.
            speed: frames of the texture's own time from one frame to the next, 0.1 to 4.
            diversity: 0 plays the source's own coarse motion back, 1 is all new, up to 2 wilder.

        Raises:
            ConfigError: a value out of its range, or a size or tile that an anchored scene cannot have.
        """
        chunks = self.chunks(
            num_frames, height, width, seed, num_videos, start_frame, loop, tile, speed, diversity
        )
        return torch.cat(list(chunks), 2)

    def chunks(
        self,
        num_frames: int | None,
        height: int | None = None,
        width: int | None = None,
        seed: int = 0,
        num_videos: int = 1,
        start_frame: int = 0,
        loop: bool = False,
        tile: str = "",
        speed: float = 1.0,
        diversity: float = 1.0,
    ) -> Iterator[Tensor]:
        """The frames of `sample`, a few at a time in constant memory; endless when `num_frames` is None."""
        canvas = (height or self._follow(width, 0), width or self._follow(height, 1))
        self._check_draw(num_frames, canvas, seed, num_videos, start_frame, loop, tile, speed, diversity)
        draw = Draw(
            seeds=range(seed, seed + num_videos),
            start_frame=start_frame,
            period=(num_frames or 0) if loop else 0,
            tile=("y" in tile, "x" in tile),
            speed=speed,
            diversity=diversity,
        )
        if max(canvas) > 2 * TILE and num_frames is not None and not self.pyramid.config.anchored:
            return tiled_chunks(self.pyramid, draw, canvas, num_frames, TILE, dtype=self._precision())
        return Stream(self.pyramid, draw, canvas, dtype=self._precision()).chunks(num_frames)

    def scale_by_scale(
        self,
        num_frames: int = 64,
        height: int | None = None,
        width: int | None = None,
        seed: int = 0,
        start_frame: int = 0,
        loop: bool = False,
        tile: str = "",
        speed: float = 1.0,
        diversity: float = 1.0,
    ) -> Iterator[Tensor]:
        """The video at each scale, coarse to fine, `(1, 3, num_frames, h, w)`; the last is that of `sample`,
        bit for bit. Holds a whole scale at a time; a canvas that is drawn by tiles comes at the finest scale
        alone."""
        canvas = (height or self._follow(width, 0), width or self._follow(height, 1))
        settings = (start_frame, loop, tile, speed, diversity)
        self._check_draw(num_frames, canvas, seed, 1, *settings)
        if max(canvas) > 2 * TILE and not self.pyramid.config.anchored:
            yield self.sample(num_frames, height, width, seed, 1, *settings)
            return
        draw = Draw(
            seeds=[seed],
            start_frame=start_frame,
            period=num_frames if loop else 0,
            tile=("y" in tile, "x" in tile),
            speed=speed,
            diversity=diversity,
        )
        yield from coarse_to_fine(self.pyramid, draw, canvas, num_frames, self._precision())

    def stream(self, seed: int = 0, **settings: Any) -> Iterator[Tensor]:
        """Endless frames `(B, 3, H, W)`, one at a time, in constant memory; settings as of `sample`."""
        for chunk in self.chunks(None, seed=seed, **settings):
            yield from chunk.unbind(2)

    def reconstruct(self) -> Tensor:
        """The training video as the model remembers it (Eq. 4), `(1, 3, N, H, W)`."""
        return self.sample(self.pyramid.num_frames, diversity=0)

    def _precision(self) -> torch.dtype:
        """`dtype` where the device can compute in it: processors draw in float32 what they cannot halve."""
        if self.device.type != "cpu" or self.dtype == torch.float32:
            return self.dtype
        halves = self.dtype == torch.bfloat16 and has_fast_bfloat16(self.device)
        return torch.bfloat16 if halves else torch.float32

    def predict(
        self, image: Tensor, num_frames: int = 64, seed: int = 0, loop: bool = False, speed: float = 1.0
    ) -> Tensor:
        """The future of a picture, `(B, 3, num_frames, height, width)`; its first frame is the picture.

        Args:
            image: `(3, H, W)` or `(B, 3, H, W)`, values in [-1, 1], of any size: it is made as large as the
                texture, and what is too wide or too high is cut off.
            num_frames: length; with `loop` the period of a loop that begins and ends at the picture.
            seed: 0 or more; each names another future. Picture and seed name one endless prediction: after
                some frames it is the texture's own video of that seed.
            speed: frames of the texture's own time from one frame to the next, 0.1 to 4; 1/2 and 1/4 draw
                once or three times as many frames of the same future.

        Raises:
            ConfigError: an image that is none, a value out of its range, or a texture that cannot predict.
        """
        return torch.cat(list(self.predict_chunks(image, num_frames, seed, loop, speed)), 2)

    def predict_chunks(
        self, image: Tensor, num_frames: int | None, seed: int = 0, loop: bool = False, speed: float = 1.0
    ) -> Iterator[Tensor]:
        """The frames of `predict`, a few at a time in constant memory; endless when `num_frames` is None."""
        self._check_draw(num_frames, self.size, seed, 1, 0, loop, "", speed, 1.0)
        if not self.can_predict:
            raise ConfigError(
                "this texture was learned without prediction: train its encoder with "
                "dtsgan train --resume RUN --with-prediction"
            )
        picture = fit_picture(check_image(image), self.size)
        period = (num_frames or 0) if loop else 0
        draw = Draw(seeds=[seed] * len(picture), period=period, speed=speed)
        steering = Steering(self.pyramid, picture.to(self.device), self.encoder)
        return Stream(self.pyramid, draw, guidance=steering).chunks(num_frames)

    # -- editing ---

    def edit(self, clip: Tensor, mask: Tensor, start_scale: int | None = None, seed: int = 0) -> Tensor:
        """Makes what was edited plainly, by pasting or painting, part of the texture.

        The clip enters the pyramid at `start_scale`; the scales above draw it anew inside the mask, while all
        around it, at every scale, it stays.

        Args:
            clip: the edited video, `(1, 3, T, H, W)` in [-1, 1], of the texture's own size (any size, if it
                is free).
            mask: where it was edited, `(H, W)` or `(T, H, W)`; above 0 is inside. It gets a feathered rim.
            start_scale: the coarser, the more is drawn anew: 0 keeps the edit's layout alone, the finest
                scale but one nearly all that was edited. The default is the first of half the finest size.
            seed: of the detail that is drawn.

        Returns:
            `(1, 3, T, H, W)`; outside the mask and its rim it is `clip` to the last bit.

        Raises:
            ConfigError: a mask that is empty or of another size, a clip that does not fit the texture, or no
                such scale.
        """
        clip = self._check_clip(clip)
        mask = check_mask(mask, clip)
        sizes = self.pyramid.canvas(*clip.shape[3:])
        last = len(sizes) - 2
        if last < 0:
            raise ConfigError("this model has one scale, and an edit is drawn anew by those above the first")
        half = next(n for n, size in enumerate(sizes) if 2 * size[0] >= sizes[-1][0])
        scale = min(half, last) if start_scale is None else start_scale
        if not 0 <= scale <= last:
            raise ConfigError(
                f"the start scale is 0 to {last} (the finest draws nothing anew), got {start_scale}"
            )
        rim = max(2, round(min(clip.shape[3:]) * RIM))
        soft = feathered(mask, rim)
        masks = [resize(soft, size).clamp(0, 1).to(self.device) for size in sizes]
        clips = [self.pyramid.whiten(resize(clip.to(self.device), size)) for size in sizes]
        touched = (resize(mask, sizes[scale]).abs() > 0.01).float().to(self.device)
        clips[scale] = joined(clips[scale], touched)
        stream = Stream(
            self.pyramid,
            Draw(seeds=[seed]),
            (clip.shape[3], clip.shape[4]),
            guidance=Harmony(clips, masks),
            below=(scale, clips[scale]),
        )
        drawn = torch.cat(list(stream.chunks(clip.shape[2])), 2).to(clip)
        return torch.where(soft > 0, drawn, clip)

    def _check_clip(self, clip: Tensor) -> Tensor:
        if clip.ndim != 5 or clip.shape[:2] != (1, 3) or clip.shape[2] < 1 or not clip.is_floating_point():
            raise ConfigError(f"a clip to edit is (1, 3, T, H, W) in [-1, 1], got {[*clip.shape]}")
        height, width = self.size
        size = (clip.shape[3], clip.shape[4])
        if self.pyramid.config.anchored and size != self.size:
            raise ConfigError(
                f"the clip is {size[1]}x{size[0]} and this texture is a scene of {width}x{height}: edit the "
                "video that it was trained on, or one that it drew"
            )
        if min(size) < 16 or max(size) > MAX_SIDE:
            raise ConfigError(
                f"a clip must be 16 to {MAX_SIDE} pixels high and wide, got {size[1]}x{size[0]}"
            )
        return clip.float()

    def _follow(self, other: int | None, axis: int) -> int:
        """The side that keeps the trained aspect when only the other one is given."""
        own, opposite = self.size[axis], self.size[1 - axis]
        return own if other is None else max(1, round(other * own / opposite))

    def _check_draw(
        self, num_frames: int | None, canvas: tuple[int, int], seed: int, num_videos: int,
        start_frame: int, loop: bool, tile: str, speed: float, diversity: float,
    ) -> None:  # fmt: skip
        if num_frames is not None and num_frames < 1:
            raise ConfigError(f"num_frames must be at least 1, got {num_frames}")
        if loop and (num_frames is None or num_frames < 2):
            raise ConfigError("a loop needs a length of at least 2 frames")
        if not 0 <= seed < 2**40 or num_videos < 1:
            raise ConfigError(
                f"the seed must be 0 to 2^40 and num_videos at least 1, got {seed} and {num_videos}"
            )
        if not 0 <= start_frame < 2**53:
            raise ConfigError(f"start_frame must be 0 or more, got {start_frame}")
        if not 0.1 <= speed <= 4:
            raise ConfigError(f"speed must be between 0.1 and 4, got {speed:g}")
        if not 0 <= diversity <= 2:
            raise ConfigError(f"diversity must be between 0 and 2, got {diversity:g}")
        if not set(tile) <= {"x", "y"}:
            raise ConfigError(f'tile must be "x", "y" or "xy", got "{tile}"')
        if canvas != self.size and (min(canvas) < 16 or max(canvas) > MAX_SIDE):
            raise ConfigError(
                f"height and width must be 16 to {MAX_SIDE} pixels, got {canvas[0]}x{canvas[1]}"
            )
        if self.pyramid.config.anchored and (tile or canvas != self.size):
            height, width = self.size
            raise ConfigError(
                f"this texture is a scene anchored at {width}x{height} pixels and cannot be "
                f"{'tiled' if tile else 'drawn at another size'}: train with --layout free for that"
            )

    # -- folders ---

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        device: torch.device | str = "cpu",
        *,
        revision: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> "DTSGAN":
        """Loads a model folder, a run's folder, a bundled texture by its name or one from the Hub by its id.

        Strict and safe: reads JSON and safetensors only, and every tensor must be there, of the right shape
        and finite. Of a repository on the Hub nothing else is even downloaded; what is in the Hub's cache
        already loads without a network.

        Args:
            model: a folder or a name, or `"user/name"` on the Hub where there is no such folder.
            revision: a branch, tag or commit of a repository on the Hub.
            token: of the Hub; the saved one or HF_TOKEN when not given. Kept nowhere.
            local_files_only: look in the cache only.
            cache_dir: the Hub's cache; its default when not given.

        Raises:
            ModelFileError: nothing there, or a folder that is damaged, unsafe or from a newer version.
            HubError: the Hub has no such repository or revision, or it cannot be had.
        """
        folder = resolve_model(
            model, revision=revision, token=token, local_files_only=local_files_only, cache_dir=cache_dir
        )
        pyramid, fps = read_pyramid(folder / "config.json", folder / WEIGHTS)
        record = _read_config(folder / "training.json") if (folder / "training.json").exists() else {}
        encoder = _read_encoder(folder, pyramid.config, pyramid.num_scales)
        loaded = cls(pyramid, fps, record, encoder).to(device)
        loaded.folder = folder
        return loaded

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes a model folder, a file at a time, each whole or not at all.

        With the weights go the model card, which is written anew unless someone has changed it by hand, and
        what lay beside the model where it was read from: previews and scores.
        """
        from dtsgan.card import write_card

        folder = Path(folder)
        try:
            config = write_pyramid(folder / "pyramid", self.pyramid, self.fps)
            if self.encoder is not None:
                _write_tensors(folder / ENCODER, self.encoder.state_dict())
                made = {"format_version": FORMAT_VERSION, "encoder": asdict(self.encoder.config)}
                write_json(folder / "encoder" / "config.json", made)
            write_json(folder / "training.json", self.record)
            write_json(folder / "model_index.json", MODEL_INDEX)
            for name, text in SHIMS.items():
                write_text(folder / name, text)
            if self.folder is not None and self.folder.resolve() != folder.resolve():
                for name in COMPANIONS:
                    if (self.folder / name).is_file():
                        _copy(self.folder / name, folder / name)
            write_card(folder, self)
            write_json(
                folder / "config.json", {"library_name": "dtsgan", **config}
            )  # last: it makes a folder a model
        except OSError as error:
            raise ModelFileError(f"cannot write the model to {folder}: {error.strerror or error}") from error

    def push_to_hub(
        self,
        repo: str,
        private: bool = False,
        token: str | None = None,
        *,
        licence: str | None = None,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> str:
        """Puts the model, its card, previews and training record on the Hub and returns their address.

        Previews are drawn if there are none yet (some seconds). One commit holds all; a push that broke off
        can be repeated.

        Args:
            repo: `"user/name"`, made if there is none.
            private: make it private; refused if it is public already.
            token: one that may write; the saved one or HF_TOKEN when not given. Kept nowhere.
            licence: as the Hub names licences, e.g. `"cc0-1.0"`; what the record says when not given.
            on_progress: told how much is done, 0 to 1, and what is being done.

        Raises:
            HubError: the Hub does not take it; the sentence says why.
        """
        from tempfile import TemporaryDirectory

        from dtsgan import transfer
        from dtsgan.card import draw_previews, write_card

        transfer.check_repo_id(repo)
        with TemporaryDirectory(prefix="dtsgan-push-") as scratch:
            staged = Path(scratch)
            record = {**self.record, **({"licence": licence} if licence else {})}
            model = DTSGAN(self.pyramid, self.fps, record, self.encoder)
            model.folder = self.folder
            model.save_pretrained(staged)
            if on_progress:
                on_progress(0.0, "drawing previews")
            draw_previews(staged, model)
            write_card(staged, model, repo)
            names = [*LIMITS, *SHIMS, "model_index.json"]
            files: dict[str, Path | bytes] = {n: staged / n for n in names if (staged / n).is_file()}
            return transfer.upload(
                files,
                repo,
                private=private,
                token=token,
                ours=lambda there: (
                    NEEDED[2] in there or not there - {".gitattributes", "README.md", "LICENSE"}
                ),
                stale=COMPANIONS,
                message=f"Upload a dynamic texture of {self.size[1]}x{self.size[0]} pixels",
                on_progress=on_progress,
            )


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


def write_pyramid(folder: Path, pyramid: PyramidGenerator, fps: float) -> dict[str, Any]:
    """Writes the weights and their `config.json`, in the types that the format has; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        stored = PyramidGenerator(pyramid.config, pyramid.sizes, pyramid.num_frames).state_dict()
    tensors = {name: tensor.to(stored[name].dtype) for name, tensor in pyramid.state_dict().items()}
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


def bundled_models() -> list[str]:
    """Names of the textures that come with the package."""
    return sorted(p.parent.name for p in BUNDLED.glob("*/config.json")) if BUNDLED.is_dir() else []


def estimated_parameters(model: ModelConfig, sizes: list[Size], num_frames: int) -> int:
    """An upper estimate of the numbers in a model, from its configuration alone."""
    width = max(model.features)
    nets = len(sizes) * 27 * width * (width * model.num_layers + 12) + 9 * sum(h * w for h, w in sizes)
    if model.coarse == "adversarial":
        return nets
    states = LinearDynamics.num_states(num_frames, model.num_components)
    values = 3 * sizes[0][0] * sizes[0][1]
    if model.patch_transport:
        nets += MAX_FRAMES * (values + 3 * sizes[0][0] * sizes[0][1])
    return nets + values * (states + 2 * MAX_COLORS) + states**2 * (model.num_lags + 1) + states * num_frames


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


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def check_image(image: Tensor) -> Tensor:
    """`(B, 3, H, W)` of an image `(3, H, W)` or of several.

    Raises:
        ConfigError: if it is no image in [-1, 1].
    """
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or batch.shape[1] != 3 or not batch.is_floating_point() or min(batch.shape) < 1:
        raise ConfigError(
            f"an image is (3, H, W) or (B, 3, H, W) of floating point numbers, got {[*image.shape]} of "
            f"{str(image.dtype).removeprefix('torch.')}"
        )
    low, high = float(batch.min()), float(batch.max())
    if not -1.001 <= low <= high <= 1.001:  # also refuses NaN
        raise ConfigError(f"an image has values in [-1, 1], got {low:.4g} to {high:.4g}: scale it first")
    if min(batch.shape[2:]) < 8 or max(batch.shape[2:]) > MAX_SIDE:
        raise ConfigError(
            f"an image must be 8 to {MAX_SIDE} pixels high and wide, got {batch.shape[3]}x{batch.shape[2]}"
        )
    return batch.float()


def check_mask(mask: Tensor, clip: Tensor) -> Tensor:
    """`(1, 1, T, H, W)` of 0 and 1 for a clip `(1, 3, T, H, W)`.

    Raises:
        ConfigError: if it is empty or of another size or length.
    """
    if mask.ndim < 2:
        raise ConfigError(f"a mask is (H, W) or (T, H, W), got {[*mask.shape]}")
    layers = mask.reshape(-1, *mask.shape[-2:])
    size, length = (clip.shape[3], clip.shape[4]), clip.shape[2]
    if tuple(layers.shape[1:]) != size or len(layers) not in (1, length):
        raise ConfigError(
            f"the mask has {len(layers)} frames of {layers.shape[2]}x{layers.shape[1]} and the clip {length} "
            f"of {size[1]}x{size[0]}: give one mask for all frames, or one a frame, of the clip's size"
        )
    inside = (layers > 0).float().to(clip.device)
    if not inside.any():
        raise ConfigError("the mask is empty, so there is nothing to edit: mark what is to be drawn anew")
    return inside.expand(length, -1, -1)[None, None].contiguous()


def _read_encoder(folder: Path, model: ModelConfig, num_scales: int) -> FrameEncoder | None:
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


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A file of weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # not save_file, whose files their owner alone may read; one key, as several come in any order
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial.write_bytes(save(whole, {"format": "pt"}))
    os.replace(partial, path)


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
            missing, extra = sorted(set(expected) - names), sorted(names - set(expected))
            if missing or extra:
                what = (
                    f'lacks the tensor "{missing[0]}"' if missing else f'has an unknown tensor "{extra[0]}"'
                )
                raise ModelFileError(f"{path} {what}: it does not belong to this config.json")
            tensors = {}
            for name, like in expected.items():
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
