"""`DTSGAN`: a trained texture and the video that it draws, predicts and edits."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtsgan.errors import ConfigError, ModelFileError
from dtsgan.estimate import has_fast_bfloat16
from dtsgan.folder import (
    COMPANIONS,
    LIMITS,
    SHIMS,
    WEIGHTS,
    copy_companions,
    read_model,
    resolve_model,
    write_parts,
)
from dtsgan.networks import FrameEncoder, PyramidGenerator
from dtsgan.pyramid import Size, fit_picture, resize
from dtsgan.rundir import write_json
from dtsgan.sampler import Draw, Stream, coarse_to_fine, tiled_chunks
from dtsgan.steering import Harmony, Steering, feathered, joined

TILE = 256  # side of the tiles in which large canvases are drawn
MAX_SIDE = 16384
RIM = 0.03  # of the shorter side: width of the feathered rim of an edit


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
            num_frames, height=height, width=width, seed=seed, num_videos=num_videos, start_frame=start_frame,
            loop=loop, tile=tile, speed=speed, diversity=diversity,
        )  # fmt: skip
        return torch.cat(list(chunks), 2)

    def chunks(self, num_frames: int | None, **settings: Any) -> Iterator[Tensor]:
        """The frames of `sample`, a few at a time in constant memory; endless when `num_frames` is None.
        Settings as of `sample`."""
        draw, canvas = self._draw(num_frames, **settings)
        if num_frames is not None and self._is_tiled(canvas):
            return tiled_chunks(self.pyramid, draw, canvas, num_frames, TILE, dtype=self._precision())
        return Stream(self.pyramid, draw, canvas, dtype=self._precision()).chunks(num_frames)

    def scale_by_scale(self, num_frames: int = 64, **settings: Any) -> Iterator[Tensor]:
        """The video at each scale, coarse to fine, `(num_videos, 3, num_frames, h, w)`; the last is that of
        `sample`, bit for bit. Holds a whole scale at a time; a canvas that is drawn by tiles comes at the
        finest scale alone. Settings as of `sample`."""
        draw, canvas = self._draw(num_frames, **settings)
        if self._is_tiled(canvas):
            yield torch.cat(list(self.chunks(num_frames, **settings)), 2)
            return
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
        draw, _ = self._draw(num_frames, seed=seed, loop=loop, speed=speed)
        if not self.can_predict:
            raise ConfigError(
                "this texture was learned without prediction: train its encoder with "
                "dtsgan train --resume RUN --with-prediction"
            )
        picture = fit_picture(check_image(image), self.size)
        draw = replace(draw, seeds=[seed] * len(picture))
        steering = Steering(self.pyramid, picture.to(self.device), self.encoder)
        return Stream(self.pyramid, draw, guidance=steering).chunks(num_frames)

    # -- editing ---

    def edit(self, clip: Tensor, mask: Tensor, start_scale: int | None = None, seed: int = 0) -> Tensor:
        """Makes what was edited plainly, by pasting or painting, part of the texture.

        The clip enters the pyramid at `start_scale`; the sizes above draw it anew inside the mask, while all
        around it, at every size, it stays.

        Args:
            clip: the edited video, `(1, 3, T, H, W)` in [-1, 1], of the texture's own size (any size, if it
                is free).
            mask: where it was edited, `(H, W)` or `(T, H, W)`; above 0 is inside. It gets a feathered rim.
            start_scale: number of the size in `edit_sizes`. The coarser, the more is drawn anew: 0 keeps the
                edit's layout alone, the last nearly all that was edited. The default is the first of half the
                video's size.
            seed: of the detail that is drawn.

        Returns:
            `(1, 3, T, H, W)`; outside the mask and its rim it is `clip` to the last bit.

        Raises:
            ConfigError: a mask that is empty or of another size, a clip that does not fit the texture, or no
                such scale.
        """
        clip = self._check_clip(clip)
        mask = check_mask(mask, clip)
        canvas = (clip.shape[3], clip.shape[4])
        sizes = self.edit_sizes(*canvas)
        if not sizes:
            raise ConfigError(
                "this model draws one size only, and an edit is drawn anew by those above the first: train "
                "with more scales (--set num_scales=2) to edit"
            )
        number = self.default_edit_size(*canvas) if start_scale is None else start_scale
        if not 0 <= number < len(sizes):
            known = ", ".join(f"{k} ({width}x{height})" for k, (height, width) in enumerate(sizes))
            raise ConfigError(f"the start scale is 0 to {len(sizes) - 1}, here {known}; got {start_scale}")
        rim = max(2, round(min(canvas) * RIM))
        soft = feathered(mask, rim)
        masks, clips = {}, {}
        for size in [*sizes[number:], canvas]:
            masks[size] = resize(soft, size).clamp(0, 1).to(self.device)
            clips[size] = resize(clip.to(self.device), size)
        entry = sizes[number]
        touched = (resize(mask, entry).abs() > 0.01).float().to(self.device)
        clips[entry] = joined(clips[entry], touched)
        scales = self.pyramid.canvas(*canvas)
        stream = Stream(
            self.pyramid,
            Draw(seeds=[seed]),
            canvas,
            guidance=Harmony(self.pyramid, clips, masks, entry),
            below=(scales.index(entry), self.pyramid.whiten(clips[entry])) if entry in scales else None,
        )
        drawn = torch.cat(list(stream.chunks(clip.shape[2])), 2).to(clip)
        return torch.where(soft > 0, drawn, clip)

    def edit_sizes(self, height: int, width: int) -> list[Size]:
        """`(height, width)` of what the texture draws on the way to a video of this size, coarse to fine:
        those of the transport's rungs and of the scales, without the last. At each of them an edit can enter.
        """
        transport = self.pyramid.transport
        rungs = transport.sizes if transport is not None else []
        return [*dict.fromkeys([*rungs, *self.pyramid.canvas(height, width)])][:-1]

    def default_edit_size(self, height: int, width: int) -> int:
        """The number in `edit_sizes` at which an edit enters unless it is said."""
        sizes = self.edit_sizes(height, width)
        return next((k for k, size in enumerate(sizes) if 2 * size[0] >= height), len(sizes) - 1)

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

    def _draw(
        self, num_frames: int | None, height: int | None = None, width: int | None = None, seed: int = 0,
        num_videos: int = 1, start_frame: int = 0, loop: bool = False, tile: str = "", speed: float = 1.0,
        diversity: float = 1.0,
    ) -> tuple[Draw, Size]:  # fmt: skip
        """What the settings of `sample`, once they are checked, ask of the sampler: a draw and its canvas."""
        canvas = (height or self._follow(width, 0), width or self._follow(height, 1))
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
        draw = Draw(
            seeds=range(seed, seed + num_videos),
            start_frame=start_frame,
            period=(num_frames or 0) if loop else 0,
            tile=("y" in tile, "x" in tile),
            speed=speed,
            diversity=diversity,
        )
        return draw, canvas

    def _is_tiled(self, canvas: Size) -> bool:
        """Whether a canvas is so large that it is drawn tile by tile."""
        return max(canvas) > 2 * TILE and not self.pyramid.config.anchored

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
        loaded = cls(*read_model(folder)).to(device)
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
            root = write_parts(folder, self.pyramid, self.fps, self.record, self.encoder)
            if self.folder is not None:
                copy_companions(self.folder, folder)
            write_card(folder, self)
            write_json(folder / "config.json", root)  # last: it makes a folder a model
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
                ours=lambda there: WEIGHTS in there or not there - {".gitattributes", "README.md", "LICENSE"},
                stale=COMPANIONS,
                message=f"Upload a dynamic texture of {self.size[1]}x{self.size[0]} pixels",
                on_progress=on_progress,
            )


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
