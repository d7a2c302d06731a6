"""Every setting, its default and its bounds. Presets, `config.json` and the command line are made from it."""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from dtsgan.errors import ConfigError, nearest

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """How one clip becomes a ladder of scales. Scale 0 is the coarsest."""

    num_scales: int = 8
    min_size: int = 25  # shorter side of scale 0, in pixels
    max_size: int = 150  # shorter side of the finest scale, in pixels
    num_frames: int = 16  # length of a training clip, in frames; the same at every scale

    def __post_init__(self) -> None:
        _bounds(self, num_scales=(1, 16), min_size=(8, 4096), max_size=(8, 4096), num_frames=(1, 1024))
        if self.min_size > self.max_size:
            raise ConfigError(
                f"min_size must be at most max_size={self.max_size} pixels, got {self.min_size}"
            )
        if self.num_scales == 1 and self.min_size != self.max_size:
            raise ConfigError("one scale has one size: set min_size equal to max_size, or raise num_scales")

    @property
    def factor(self) -> float:
        """r, the ratio of neighbouring scales."""
        return (self.max_size / self.min_size) ** (1 / max(1, self.num_scales - 1))

    def sides(self) -> list[int]:
        """Shorter side of every scale, coarse to fine."""
        return [round(self.min_size * self.factor**n) for n in range(self.num_scales)]

    def resized(self, max_size: int) -> "PyramidConfig":
        """The same ladder up to another finest size: as many rungs as keep the factor nearest, and a lower
        first rung where the size is hardly above it."""
        if max_size == self.max_size or self.num_scales == 1:
            lowest = max_size if self.num_scales == 1 else self.min_size
            return dataclasses.replace(self, min_size=lowest, max_size=max_size)
        rungs = max(1, round(math.log(max_size / self.min_size) / math.log(self.factor)))
        lowest = min(self.min_size, max(8, round(max_size / self.factor)))
        return dataclasses.replace(
            self, max_size=max_size, min_size=min(lowest, max_size), num_scales=min(16, 1 + rungs)
        )


# how the deviation that averages of patches lose is restored: not, by a factor for each place, or by one for
# each moment of a fade from one choice of patches to the next, of coarse and fine detail apart
Contrast = Literal["flat", "overall", "steady"]
# whether patches take after their neighbours, and by what: the moments of the source that these show, or what
# they look like
Agreement = Literal["none", "moments", "looks"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the pyramid is made of. Settings for each scale are lists, coarse to fine; the last value goes
    on."""

    coarse: Literal["adversarial", "linear"] = "adversarial"
    layout: Literal["anchored", "free"] = "anchored"  # a scene with places, or an endless plane
    features: tuple[int, ...] = (32,)  # channels of the hidden layers
    num_layers: int = 5  # 3x3x3 convolutions a network; the receptive field is 2 num_layers + 1
    norm: Literal["batch", "none"] = "batch"
    output: Literal["tanh", "linear"] = "tanh"
    whiten: bool = False  # work in decorrelated colours of standard deviation 1/2 (inverted at the end)
    position_maps: bool = False  # anchored only: six learned maps tell the networks where they are
    static_layer: bool = False  # anchored only: the still detail of each scale, in closed form
    patch_transport: bool = False  # put the source's patches in place of what the linear model drew
    patch_stride: int = 1  # frames between two choices of patches, which last from one to the next
    patch_frames: int = 112  # of the source that are kept, at most; of a longer one runs spread over it
    patch_passes: int = 1  # choices at each size but the last; later ones are of what the patches showed
    patch_agreement: bool = False  # patches take after their neighbours, in space and in time
    matched_seams: bool = False  # they do by what these look like, not by which moments they are of
    guided_fades: bool = False  # where choices differ more is shown of what is nearer to the video below
    aligned_fades: bool = False  # what fades into each other moves to meet, at the finest size
    restore_contrast: bool = False  # what averaging the patches flattens gets its deviation back
    steady_contrast: bool = False  # coarse and fine detail apart, and the more the further a fade is on
    num_components: int = 60  # of the linear coarse model
    num_lags: int = 2  # frames of memory of the linear coarse model

    def __post_init__(self) -> None:
        _bounds(self, features=(1, 1024), num_layers=(1, 16), num_components=(1, 1024), num_lags=(1, 16))
        _bounds(self, patch_stride=(1, 16), patch_frames=(56, 2000), patch_passes=(1, 8))
        if self.coarse == "linear" and self.layout == "free":
            raise ConfigError(
                "the linear coarse model has a place for each pixel: use coarse=adversarial for layout=free"
            )

        if self.patch_transport and self.coarse != "linear":
            raise ConfigError("patch_transport refines the linear coarse model: use coarse=linear with it")
        if self.patch_agreement and not self.patch_transport:
            raise ConfigError("patch_agreement is between patches: use patch_transport=true with it")
        if self.matched_seams and not self.patch_agreement:
            raise ConfigError("matched_seams is a way of patch_agreement: set that to true, too")
        if self.guided_fades and not self.patch_transport:
            raise ConfigError("guided_fades are between patches: use patch_transport=true with them")
        if self.aligned_fades and not self.patch_transport:
            raise ConfigError("aligned_fades are between patches: use patch_transport=true with them")
        if self.restore_contrast and not self.patch_transport:
            raise ConfigError("restore_contrast mends the patch transport: use patch_transport=true with it")
        if self.steady_contrast and not self.restore_contrast:
            raise ConfigError("steady_contrast is a way to restore_contrast: set that to true, too")

    @property
    def contrast(self) -> Contrast:
        return "steady" if self.steady_contrast else "overall" if self.restore_contrast else "flat"

    @property
    def agreement(self) -> Agreement:
        return "looks" if self.matched_seams else "moments" if self.patch_agreement else "none"

    @property
    def margin(self) -> int:
        """Voxels that one network's unpadded convolutions eat on each side."""
        return self.num_layers

    @property
    def anchored(self) -> bool:
        return self.layout == "anchored"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The encoder of prediction: what it is made of, and how it is learned on top of a finished pyramid."""

    form: Literal["every", "paper"] = "every"  # conditions every scale, or the finest alone as in the paper
    features: int = 16  # channels of the hidden layers
    steps: int = 600  # a scale, at most: a third of the time that the pyramid took is never exceeded
    crop: int = 64  # side of the square crops in pixels; 0: the whole frame
    batch_size: int = 6  # frames around one picture that a step looks at
    first_frame_weight: float = 10.0  # of the term that pulls the first frame to the given one
    lr: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        _bounds(self, features=(1, 1024), steps=(0, 10**6), crop=(0, 4096), batch_size=(2, 64))
        _bounds(self, first_frame_weight=(0, 1e6), lr=(0, 10), seed=(0, 2**62))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the pyramid is learned. Settings for each scale are lists, coarse to fine; the last value goes
    on."""

    steps: tuple[int, ...] = (2000,)
    batch_size: int = 1
    crop: int = 0  # side of the square crops in pixels; 0: the whole frame
    adversary: tuple[Literal["wgan-gp", "hinge", "none"], ...] = ("wgan-gp",)
    adversarial_weight: tuple[float, ...] = (1.0,)
    gp_weight: float = 0.1  # lambda of Eq. 3
    rec_weight: tuple[float, ...] = (10.0,)  # eta of Eq. 5
    swd_weight: tuple[float, ...] = (0.0,)  # sliced Wasserstein distance between real and generated patches
    on_detail: bool = False  # judge what a scale adds, beside what it is added to, in units of its deviation
    forced_fakes: float = (
        0.0  # part of the fakes that add detail to the real clip below instead of a drawn one
    )
    d_features: tuple[int, ...] = (0,)  # channels of the discriminator; 0: those of the generator
    d_steps: int = 3
    g_steps: int = 3
    lr_g: float = 5e-4
    lr_d: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.999)
    grad_clip: float = 0.0  # longest gradient of a generator that is followed as it is; 0: any
    decay_at: float = 0.8  # part of the steps after which the rates fall to a tenth
    noise_weight: float = 0.1  # sigma_n = noise_weight x RMSE(upsampled reconstruction, target)
    noise_kept: float = (
        1.0  # part of sigma_n that is left when a scale is trained: less grain, more structure
    )
    teacher_forced: bool = (
        False  # reconstruct from the real clip of the scale below instead of the chain's own
    )
    warm_start: bool = True  # start from the scale below where the widths agree
    pool_frames: int = 0  # draw fakes from a pool of this many coarser frames; 0: a fresh chain every step
    update: Literal["neighbour", "single", "random"] = "neighbour"  # the data update (section 3.3)
    update_every: int = 100  # generator steps between data updates
    update_stride: int = 4  # frames between neighbours
    seed: int = 0
    threads: int = 0  # 0: as many as there are cores

    def __post_init__(self) -> None:
        _bounds(self, steps=(0, 10**7), batch_size=(1, 1024), crop=(0, 4096), gp_weight=(0, 1e6))
        _bounds(self, adversarial_weight=(0, 1e6), rec_weight=(0, 1e6), swd_weight=(0, 1e6))
        _bounds(self, d_features=(0, 1024), d_steps=(1, 100), g_steps=(1, 100), lr_g=(0, 10), lr_d=(0, 10))
        _bounds(
            self,
            betas=(0, 0.9999999),
            decay_at=(0, 1),
            grad_clip=(0, 1e9),
            noise_weight=(0, 100),
            noise_kept=(0, 10),
            pool_frames=(0, 10**6),
        )
        _bounds(self, update_every=(1, 10**7), update_stride=(1, 10**6), seed=(0, 2**62), threads=(0, 1024))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole recipe: what `--preset` names, what a run's `config.json` holds."""

    preset: str = "paper"
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def with_settings(self, settings: dict[str, Any]) -> "Config":
        """A copy with some values changed: `{"train.lr_g": 1e-3}`, or `{"lr_g": "0.001"}` as on a command
        line.

        Raises:
            ConfigError: a name that does not exist (the nearest one is suggested) or a value that does not
            fit.
        """
        parts = {name: getattr(self, name) for name in ("pyramid", "model", "train")}
        homes = {f.name: name for name, part in parts.items() for f in dataclasses.fields(part)}
        changes: dict[str, dict[str, Any]] = {name: {} for name in parts}
        for key, value in settings.items():
            part, _, leaf = key.rpartition(".")
            if leaf not in homes or part not in ("", homes[leaf]):
                raise ConfigError(f'there is no setting "{key}"{nearest(leaf, list(homes))}')
            changes[homes[leaf]][leaf] = value
        changed = {
            name: dataclasses.replace(part, **parse_settings(type(part), changes[name]))
            for name, part in parts.items()
        }
        return dataclasses.replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `to_dict`, also after a trip through JSON. Unknown or ill-typed values are
        refused."""
        flat = {
            f"{part}.{key}": value
            for part in ("pyramid", "model", "train")
            for key, value in _mapping(part, values.get(part) if isinstance(values, dict) else None).items()
        }
        return Config(preset=str(values.get("preset", "custom"))).with_settings(flat)


def at_scale(values: tuple[Any, ...], scale: int) -> Any:
    """The value of a per-scale setting: lists run coarse to fine, the last value goes on."""
    return values[min(scale, len(values) - 1)]


def parse_settings(section: type, values: dict[str, Any]) -> dict[str, Any]:
    """Values for the dataclass `section`, from JSON or a command line, each as the type that its field has.

    Raises:
        ConfigError: an unknown name (the nearest one is suggested) or a value of another kind.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"settings must be a mapping, got {values!r:.80}")
    hints = typing.get_type_hints(section)
    for key in values:
        if key not in hints:
            raise ConfigError(f'there is no setting "{key}"{nearest(key, list(hints))}')
    return {key: _parse(key, value, hints[key]) for key, value in values.items()}


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f'the configuration has no "{name}" section')
    return value


def _bounds(config: Any, **limits: tuple[float, float]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values or not all(low <= v <= high for v in values):  # also refuses NaN
            raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value}")


def _parse(key: str, value: Any, hint: Any) -> Any:
    """`value`, from JSON or a command line, as the type that the setting has."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        items = list(items) if isinstance(items, (list, tuple)) else [items]
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise ConfigError(f"{key} takes {len(args)} values, got {value!r}")
        return tuple(_parse(key, item, args[0]) for item in items)
    if origin is Literal:
        if value not in args:
            accepted = ", ".join(map(str, args))
            raise ConfigError(f"{key} is one of {accepted}; got {value!r}{nearest(str(value), list(args))}")
        return value
    try:
        if hint is bool:
            parsed = json.loads(value.lower()) if isinstance(value, str) else value
            if isinstance(parsed, bool):
                return parsed
        elif hint is int and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        elif hint is float and not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(
        f"{key} takes {'true or false' if hint is bool else f'a {hint.__name__}'}, got {value!r}"
    )


# Real patches up to 92 pixels, and one scale above them that is learned.
_LEARNED = Config(
    preset="learned",
    pyramid=PyramidConfig(num_scales=2, min_size=92),
    model=ModelConfig(
        coarse="linear",
        patch_transport=True,
        patch_stride=4,  # where the clip is known, what suits it; so with guided_fades and matched_seams
        patch_agreement=True,
        restore_contrast=True,
        steady_contrast=True,
        features=(16,),
        norm="none",
        output="linear",
        whiten=True,
        position_maps=True,
        static_layer=True,
    ),
    train=TrainConfig(
        steps=(0, 2400),
        crop=48,
        adversary=("none",),
        rec_weight=(5.0,),
        swd_weight=(1.0,),
        noise_weight=1.0,
        noise_kept=0.6,
        on_detail=True,
        forced_fakes=0.5,
        d_steps=1,
        g_steps=1,
        lr_g=2e-3,
        lr_d=4e-4,
        grad_clip=1.0,
        betas=(0.5, 0.99),
        teacher_forced=True,
        pool_frames=400,
        update="random",
        update_every=1,
    ),
)

# Real patches up to the finest size: nothing is left to learn.
_FAST = dataclasses.replace(
    _LEARNED.with_settings({"num_scales": 1, "min_size": 150, "steps": (0,)}), preset="fast"
)

# A texture without places cannot have the linear model under it: its coarsest scale is an adversary's work,
# and that is where four fifths of the time go.
_FAST_FREE = dataclasses.replace(
    _LEARNED.with_settings({
        "num_scales": 5,
        "min_size": 25,
        "coarse": "adversarial",
        "patch_transport": False,
        "patch_agreement": False,
        "restore_contrast": False,
        "steady_contrast": False,
        "layout": "free",
        "features": (32, 16),
        "position_maps": False,
        "static_layer": False,
        "steps": (2500, 270, 270, 270, 270),
        "adversary": ("hinge", "none"),
        "d_features": (48,),
        "swd_weight": (1.0,),
        "rec_weight": (0.1, 5.0),
        "lr_g": 1e-3,
        "lr_d": 2e-3,
        "grad_clip": 0.0,
        "noise_kept": 1.0,
        "batch_size": 2,
    }),
    preset="fast",
)  # fmt: skip


def _preset(name: str, base: Config, **settings: Any) -> Config:
    return dataclasses.replace(base.with_settings(settings), preset=name)


# Those of a free layout that are not named here are the same.
PRESETS: dict[str, Config] = {
    "preview": _preset("preview", _FAST, patch_frames=56),
    "fast": _FAST,
    "quality": _preset("quality", _FAST, patch_frames=300),
    "learned": _LEARNED,
    "paper": Config(),
}
FREE_PRESETS: dict[str, Config] = {
    "preview": _preset("preview", _FAST_FREE, steps=(600, 65, 65, 65, 65)),
    "fast": _FAST_FREE,
    "quality": _preset("quality", _FAST_FREE, steps=(12500, 1350, 1350, 1350, 1350)),
    "learned": _preset("learned", _FAST_FREE),
}


def preset(name: str, layout: Literal["anchored", "free"] = "anchored") -> Config:
    """The recipe that a preset is for a layout.

    Raises:
        ConfigError: there is no such preset; the nearest one is suggested.
    """
    if name not in PRESETS:
        raise ConfigError(
            f'there is no preset "{name}"{nearest(name, list(PRESETS))}: choose {", ".join(PRESETS)}'
        )
    config = FREE_PRESETS.get(name, PRESETS[name]) if layout == "free" else PRESETS[name]
    return config.with_settings({"layout": layout})
