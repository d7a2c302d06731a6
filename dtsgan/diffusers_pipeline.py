"""The same model folders under diffusers' contract: `DTSGANPyramid` and `DTSGANPipeline`.

The names of the two classes and of this module are written into model folders, so they are part of the
format. Reading, writing and drawing are those of `DTSGAN`: nothing is read here that is not checked there,
and one seed names one video through either.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.video_processor import VideoProcessor
from torch import Tensor

from dtsgan.errors import ConfigError
from dtsgan.folder import WEIGHTS, parse_config, read_pyramid, resolve_model, write_pyramid
from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator

logger = logging.getLogger(__name__)

SEEDS = 2**40  # a seed is smaller than this; that of a generator is taken modulo it
HUB_OPTIONS = ("revision", "token", "local_files_only", "cache_dir")


@dataclass
class DTSGANPipelineOutput(BaseOutput):
    """
    Args:
        frames: videos: lists of PIL images, or in [0, 1] an array `(B, T, H, W, C)` or a tensor
            `(B, T, C, H, W)`.
    """

    frames: list[list[Any]] | np.ndarray | Tensor


class DTSGANPyramid(ModelMixin, ConfigMixin):
    """All scales of a texture as one diffusers model; the tensors have the names that they have on disk, but
    that the source's frames are pictures there.

    A `dtype` is the precision in which the convolutions are computed. The weights, which are small, stay as
    they are stored: the linear coarse model would not survive half precision.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        format_version: int = 1,
        sizes: Sequence[Sequence[int]] = ((25, 25), (32, 32)),
        num_frames: int = 16,
        fps: float = 25.0,
        model: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        values = {
            "format_version": format_version,
            "sizes": sizes,
            "num_frames": num_frames,
            "fps": fps,
            "model": model or {},
        }
        self.parsed = parse_config(values, "the configuration of DTSGANPyramid")
        generator = PyramidGenerator(*self.parsed[:3])
        for name, part in generator.named_children():
            self.add_module(name, part)
        self.register_buffer("color_mean", generator.color_mean)
        self.register_buffer("color_matrix", generator.color_matrix)
        self.drawing_dtype = torch.float32
        self.record: dict[str, Any] = {}  # training.json
        self.folder: Path | None = None  # where it was read from
        self.eval()

    @classmethod
    def from_texture(cls, texture: DTSGAN) -> "DTSGANPyramid":
        """The same tensors, shared."""
        own = texture.pyramid
        with torch.device("meta"):
            pyramid = cls(
                sizes=[list(size) for size in own.sizes],
                num_frames=own.num_frames,
                fps=texture.fps,
                model={name: getattr(own.config, name) for name in own.config.__dataclass_fields__},
            )
        pyramid.load_state_dict(own.state_dict(), strict=True, assign=True)
        pyramid.record, pyramid.folder = texture.record, texture.folder
        return pyramid.to(dtype=texture.dtype)

    def texture(self) -> DTSGAN:
        """The same tensors as a `DTSGAN`, which draws from them."""
        config, sizes, num_frames, fps = self.parsed
        with torch.device("meta"):
            generator = PyramidGenerator(config, sizes, num_frames)
        generator.load_state_dict(self.state_dict(), strict=True, assign=True)
        texture = DTSGAN(generator, fps, self.record).to(dtype=self.drawing_dtype)
        texture.folder = self.folder
        return texture

    def forward(self, num_frames: int, **settings: Any) -> Iterator[Tensor]:
        """`DTSGAN.scale_by_scale`: the video at each scale, coarse to fine."""
        return self.texture().scale_by_scale(num_frames, **settings)

    # -- precision and place ---

    @property
    def dtype(self) -> torch.dtype:
        return self.drawing_dtype

    def to(self, *arguments: Any, **named: Any) -> "DTSGANPyramid":
        for value in (*arguments, *(named.get(name) for name in ("device", "dtype"))):
            if isinstance(value, torch.dtype):
                if not value.is_floating_point:
                    raise ValueError(f"dtype must be one of floating point, got {value}")
                self.drawing_dtype = value
            elif isinstance(value, str | int | torch.device) and not isinstance(value, bool):
                super().to(device=torch.device(value))
        return self

    def half(self) -> "DTSGANPyramid":
        return self.to(torch.float16)

    def bfloat16(self) -> "DTSGANPyramid":
        return self.to(torch.bfloat16)

    def float(self) -> "DTSGANPyramid":
        return self.to(torch.float32)

    # -- folders ---

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        subfolder: str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> "DTSGANPyramid":
        """Reads `config.json` and the safetensors file of a folder, as strictly as `DTSGAN.from_pretrained`.

        Args:
            pretrained_model_name_or_path: the `pyramid` folder of a model, or with `subfolder="pyramid"` the
                model's folder, a bundled name or a repository on the Hub.
            dtype, torch_dtype: precision of the convolutions; `"auto"` is float32.
            options: `revision`, `token`, `local_files_only` and `cache_dir` of the Hub. Others of diffusers
                have no meaning for a model of some megabytes and are ignored.

        Raises:
            ModelFileError, HubError: as `DTSGAN.from_pretrained`.
        """
        path = Path(pretrained_model_name_or_path)
        if subfolder is None and (path / Path(WEIGHTS).name).exists():
            generator, fps = read_pyramid(path / "config.json", path / Path(WEIGHTS).name)
            texture = DTSGAN(generator, fps)
        else:
            texture = _load(pretrained_model_name_or_path, options)
        return cls.from_texture(texture).to(dtype=_chosen(dtype, torch_dtype))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *arguments: Any,
        safe_serialization: bool = True,
        variant: str | None = None,
        **options: Any,
    ) -> None:
        """Writes `config.json` and the weights, as safetensors and in the one precision of the format."""
        _check_format(safe_serialization, variant)
        write_pyramid(Path(save_directory), self.texture().pyramid, self.parsed[3])


class DTSGANPipeline(DiffusionPipeline):
    """Draws new video of a dynamic texture.

    `DTSGANPipeline.from_pretrained(folder, name or repository)` reads as `DTSGAN.from_pretrained` does and
    runs no code of a repository. `DiffusionPipeline.from_pretrained(repository, trust_remote_code=True)`
    gives the same pipeline through the two one-line files that each repository has for it.
    """

    model_cpu_offload_seq = "pyramid"
    _callback_tensor_inputs = ("frames",)

    def __init__(self, pyramid: DTSGANPyramid) -> None:
        super().__init__()
        self.register_modules(pyramid=pyramid)
        self.video_processor = VideoProcessor(vae_scale_factor=1, do_resize=False)

    @property
    def fps(self) -> float:
        """Frames a second of the source, and so of what is drawn."""
        return self.pyramid.parsed[3]

    @torch.no_grad()
    def __call__(
        self,
        num_frames: int = 64,
        height: int | None = None,
        width: int | None = None,
        num_videos: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("frames",),
        *,
        start_frame: int = 0,
        loop: bool = False,
        tile: str = "",
        speed: float = 1.0,
        diversity: float = 1.0,
    ) -> DTSGANPipelineOutput | tuple[Any, ...]:
        """
        Args:
            num_frames: length; with `loop` the period, which then repeats without a seam.
            height, width: in pixels; as trained when not given. Only free textures take other sizes.
            num_videos: how many; 1 when not given, or one for each generator of a list.
            generator: names the video by its `initial_seed()`, so that
                `torch.Generator().manual_seed(7)` gives the video of `--seed 7`, every time. With more
                videos, the seeds that follow; or a list, one for each. None draws a seed at random.
            output_type: `"pil"`, `"np"` or `"pt"`.
            return_dict: False for a tuple.
            callback_on_step_end: called as `callback(pipe, scale, scale, {"frames": clip})` when a scale is
                drawn, coarse to fine, with the videos so far, `(B, 3, T, h, w)` in [-1, 1].
            callback_on_step_end_tensor_inputs: what the callback is handed: `"frames"` or nothing.
            start_frame, loop, tile, speed, diversity: as of `DTSGAN.sample`.

        Returns:
            `.frames`: videos in [0, 1], as `DTSGANPipelineOutput` says.

        Raises:
            ValueError: a value that does not fit; the sentence says which.
        """
        # 1. Check inputs
        seeds = self.check_inputs(num_videos, generator, output_type, callback_on_step_end_tensor_inputs)

        # 2. One endless video a seed, each drawn alone, so that no batch changes a bit of it
        videos = [
            self.pyramid(
                num_frames,
                height=height,
                width=width,
                seed=seed,
                start_frame=start_frame,
                loop=loop,
                tile=tile,
                speed=speed,
                diversity=diversity,
            )
            for seed in seeds
        ]

        # 3. Coarse to fine
        frames: Tensor | None = None
        with self.progress_bar(total=len(self.pyramid.scales)) as bar:
            for scale, clips in enumerate(zip(*videos, strict=True)):
                frames = torch.cat(clips)  # B C T h w in [-1, 1]
                if callback_on_step_end is not None:
                    handed = {"frames": frames} if "frames" in callback_on_step_end_tensor_inputs else {}
                    callback_on_step_end(self, scale, scale, handed)
                bar.update()
            bar.update(len(self.pyramid.scales) - bar.n)  # a canvas of tiles comes at the finest scale alone
        assert frames is not None

        # 4. What the caller asked for
        output = self.video_processor.postprocess_video(frames, output_type)
        self.maybe_free_model_hooks()
        return DTSGANPipelineOutput(frames=output) if return_dict else (output,)

    def check_inputs(
        self,
        num_videos: int | None,
        generator: torch.Generator | list[torch.Generator] | None,
        output_type: str,
        tensor_inputs: Sequence[str] = (),
    ) -> list[int]:
        """The seed of each video.

        Raises:
            ConfigError: a ValueError that says what was given and what is accepted.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ConfigError(f'output_type must be "pil", "np" or "pt", got {output_type!r}')
        if not set(tensor_inputs) <= set(self._callback_tensor_inputs):
            raise ConfigError(f'a callback can be handed "frames", got {list(tensor_inputs)}')
        listed = list(generator) if isinstance(generator, list | tuple) else None
        count = num_videos if num_videos is not None else 1 if listed is None else len(listed)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"num_videos must be a whole number of at least 1, got {count!r}")
        if listed is not None:
            if not all(isinstance(g, torch.Generator) for g in listed):
                raise ConfigError("generator must be a torch.Generator or a list of them, one for each video")
            if len(listed) != count:
                raise ConfigError(f"got {len(listed)} generators for {count} videos: give one for each")
            return [g.initial_seed() % SEEDS for g in listed]
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ConfigError(f"generator must be a torch.Generator or a list of them, got {generator!r:.40}")
        first = int(torch.randint(SEEDS, ())) if generator is None else generator.initial_seed()
        return [(first + k) % SEEDS for k in range(count)]

    # -- folders ---

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        pyramid: DTSGANPyramid | None = None,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> "DTSGANPipeline":
        """Loads a model folder, a run's folder, a bundled texture or a repository of the Hub, without running
        any code of it; `trust_remote_code` is neither needed nor used.

        Args:
            pyramid: use this one in place of the folder's.
            dtype, torch_dtype: precision of the convolutions; `"auto"` is float32.
            options: `revision`, `token`, `local_files_only` and `cache_dir` of the Hub.

        Raises:
            ModelFileError, HubError: as `DTSGAN.from_pretrained`.
        """
        if pyramid is None:
            pyramid = DTSGANPyramid.from_texture(_load(pretrained_model_name_or_path, options))
        return cls(pyramid.to(dtype=_chosen(dtype, torch_dtype)))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> None:
        """Writes a model folder, as `DTSGAN.save_pretrained`: both loaders read it."""
        _check_format(safe_serialization, variant)
        self.pyramid.texture().save_pretrained(save_directory)
        if push_to_hub:
            repo = options.get("repo_id") or Path(save_directory).name
            self.push_to_hub(repo, private=options.get("private"), token=options.get("token"))

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
    ) -> str:
        """Puts the model with its card on the Hub, as `DTSGAN.push_to_hub`; returns the address."""
        _check_format(safe_serialization, variant)
        if create_pr or subfolder:
            raise ConfigError("a texture is a repository of its own: leave out create_pr and subfolder")
        return self.pyramid.texture().push_to_hub(repo_id, bool(private), token)


def _load(model: str | os.PathLike[str], options: dict[str, Any]) -> DTSGAN:
    """By the one strict reader; options that neither it nor diffusers knows are named in the log."""
    hub = {name: options.pop(name) for name in HUB_OPTIONS if options.get(name) is not None}
    unused = {name for name, value in options.items() if value not in (None, False)} - KNOWN_OPTIONS
    if unused:
        logger.warning(f"Keyword arguments {sorted(unused)} are not expected by DTSGAN and will be ignored.")
    return DTSGAN.from_pretrained(resolve_model(model, **hub))


# of diffusers' own from_pretrained
KNOWN_OPTIONS = {
    "trust_remote_code", "use_safetensors", "low_cpu_mem_usage", "device_map", "max_memory", "offload_folder",
    "offload_state_dict", "variant", "disable_mmap", "use_flashpack", "force_download", "proxies",
    "custom_pipeline", "custom_revision", "output_loading_info", *HUB_OPTIONS,
}  # fmt: skip


def _chosen(*names: torch.dtype | str | None) -> torch.dtype:
    given = next((name for name in names if name is not None), "auto")
    dtype = (
        torch.float32 if given == "auto" else getattr(torch, given, None) if isinstance(given, str) else given
    )
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(f'dtype must be a torch.dtype, a name of one, or "auto", got {given!r}')
    return dtype


def _check_format(safe_serialization: bool, variant: str | None) -> None:
    if not safe_serialization:
        raise ConfigError("weights are written as safetensors only: leave safe_serialization at True")
    if variant is not None:
        raise ConfigError(f"a model folder holds one set of weights: leave out variant={variant!r}")
