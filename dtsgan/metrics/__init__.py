"""Scores of a generated clip beside the real one: one family a file, `METRICS` names them all.

    from dtsgan.metrics import floors, scores
    scores(fake, real)   # {"motion_ratio": 1.03, "temporal_spectrum_distance": 0.8, ...}
    floors(real)         # the same for a copy, a blurred copy, shuffled frames, ...: what a number means

No score knows the model. Those that look through a pretrained network say which (`Metric.network`) and are
left out unless `perceptual.Networks` are handed in. docs/metrics.md has each one's formula, source and blind
spots.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from dtsgan.metrics.perceptual import Networks

MIN_HALVED_FRAMES = 20  # a half must hold the two disjoint parts that `copy_score` compares
CONTROLS = ("copy", "blurred", "shuffled", "noise")
FAULTS = ("blurred", "shuffled", "noise")  # what a score should put below unseen footage

Kind = Literal["pair", "own", "set", "seam"]


@dataclass(frozen=True)
class Metric:
    """A score by its address; it is imported when first called, so that listing the names costs no torch.

    `kind` says what it is asked of: `"pair"`, a clip beside a real one; `"own"`, a clip alone, to be compared
    with the real clip's own value; `"set"`, all samples together; `"seam"`, a clip made to loop, to tile or
    in chunks.
    """

    module: str
    function: str
    perfect: float | None  # the value of a flawless fake; None: the real clip's own
    says: str  # what it judges, in a few words for a table or a tooltip
    unit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "pair"
    min_samples: int = 1
    key: str = ""  # which value, where one pass of the function gives several
    network: str = ""  # what it looks through, a name of `perceptual.NETWORKS`
    variant: str = ""  # which of the forms in use this is
    max_samples: int = 0  # samples that it is averaged over where it is slow; 0: all
    preparation: str = ""  # a function of the module that does the real clip's part of the work, once

    def __call__(self, fake: "Tensor", real: "Tensor", networks: "Networks | None" = None) -> float:
        """
        Raises:
            ValueError: if a clip will not do for this score.
            WeightsUnavailable: if its network cannot be had.
        """
        return self.pick(self.run(fake, real, networks))

    def run(self, fake: "Tensor", real: "Tensor", networks: "Networks | None" = None) -> Any:
        """What the function gives: a number, or several by their keys."""
        function = getattr(import_module(f"{__name__}.{self.module}"), self.function)
        clips = (fake,) if self.kind in ("own", "seam") else (fake, real)
        if not self.network:
            return function(*clips, **self.options)
        if networks is None:
            raise ValueError(f"{self.function} looks through the network {self.network!r}: hand in Networks")
        return function(*clips, networks.get(self.network), **self.options)

    def prepared(self, real: "Tensor", networks: "Networks | None" = None) -> Any:
        """What `run` takes in the real clip's stead: its part of the work, done once for all fakes."""
        if not self.preparation:
            return real
        prepare = getattr(import_module(f"{__name__}.{self.module}"), self.preparation)
        return prepare(real, networks.get(self.network)) if self.network and networks else prepare(real)

    def pick(self, result: Any) -> float:
        return result[self.key] if self.key else result

    @property
    def work(self) -> tuple[Any, ...]:
        """Equal for scores that one call of one function gives."""
        return self.module, self.function, tuple(sorted(self.options.items())), self.network


INCEPTION = "Inception-v3 of 2015 (pytorch-fid)"

METRICS: dict[str, Metric] = {
    "motion_ratio": Metric("motion", "motion_ratio", 1.0, "how much it moves"),
    "temporal_spectrum_distance": Metric(
        "motion", "temporal_spectrum_distance", 0.0, "rates of motion", "dB", variant="Welch, up to 32 frames"
    ),
    "spatial_spectrum_distance": Metric(
        "spectra", "spatial_spectrum_distance", 0.0, "blur and grain", "dB", variant="radial power, Hann"
    ),
    **{
        f"sliced_wasserstein{suffix}": Metric(
            "patches", "sliced_wasserstein_scores", 0.0, says, key=key, preparation="PatchProjections",
            variant=f"sliced W1, 5x7x7 patches, 3 Laplacian levels, 64 directions; {what}", max_samples=6,
        )
        for suffix, key, says, what in (
            ("", "raw", "colours and shapes", "raw"),
            ("_zero_mean", "zero_mean", "fine texture", "each patch centred"),
            ("_motion", "motion", "shapes of change", "of frame differences"),
        )
    },
    "copy_score": Metric(
        "patches", "copy_score", 1.0, "new (1) or copied (0)", variant="nearest 5x11x11 patch at 36 px",
        preparation="CopySource", max_samples=6,
    ),
    "nnf_distance": Metric(
        "neighbours", "nearest_neighbour_scores", 0.0, "patches that exist", key="distance",
        variant="NNFDIST, 3x3x3 patches at 25 px, exact search", max_samples=4,
    ),
    "nnf_diversity": Metric(
        "neighbours", "nearest_neighbour_scores", None, "rearranged, not replayed", key="diversity",
        variant="NNFDIV, zlib, 3x3x3 patches at 25 px, exact search", max_samples=4,
    ),
    "diversity": Metric(
        "patches", "diversity", 1.0, "how much samples differ", kind="set", min_samples=2,
        variant="deviation over samples / over time",
    ),
    "ms_ssim": Metric(
        "similarity", "ms_ssim", 1.0, "the same frame at the same time",
        variant="5 scales, 7x7 Gaussian window of sigma 0.95",
    ),
    "lpips_diversity": Metric(
        "perceptual", "lpips_diversity", None, "how different samples look", kind="set", min_samples=2,
        network="lpips_alex", variant="mean LPIPS (v0.1, alex) of all pairs, frame by frame",
    ),
    "sigma_n_lpips": Metric(
        "perceptual", "sigma_n_lpips", None, "evenness of change", kind="own", network="lpips_alex",
        variant="Eq. 6 on 16-frame windows, LPIPS v0.1 alex",
    ),
    "sifid": Metric(
        "perceptual", "inception_distances", 0.0, "patches of single frames", key="sifid",
        network="inception", preparation="InceptionFeatures", max_samples=6,
        variant=f"{INCEPTION}, 64-channel map",
    ),
    "svfid_64": Metric(
        "perceptual", "inception_distances", 0.0, "patches of frame pairs", key="svfid_64",
        network="inception", preparation="InceptionFeatures", max_samples=6,
        variant=f"{INCEPTION}, 64-channel maps of two neighbouring frames",
    ),
    **{
        f"fid_{dims}": Metric(
            "perceptual", "inception_distances", 0.0, says, key=f"fid_{dims}",
            network="inception", preparation="InceptionFeatures", max_samples=6,
            variant=f"{INCEPTION}, dims={dims}, 16 frames beside 16",
        )
        for dims, says in {
            64: "look of frames, finest", 192: "look of frames, fine", 768: "look of frames",
            2048: "look of frames (the paper's)",
        }.items()
    },
    "loop_seam_ratio": Metric("motion", "loop_seam_ratio", 1.0, "jump where a loop closes", kind="seam"),
    "chunk_seam_ratio": Metric(  # the period is the drawer's, of which no score knows
        "motion", "chunk_seam_ratio", 1.0, "flicker where chunks join", kind="seam"
    ),
    "tile_seam_ratio_x": Metric(
        "spectra", "tile_seam_ratio", 1.0, "line where tiles meet, left to right", kind="seam",
        options={"axis": "x"},
    ),
    "tile_seam_ratio_y": Metric(
        "spectra", "tile_seam_ratio", 1.0, "line where tiles meet, top to bottom", kind="seam",
        options={"axis": "y"},
    ),
}  # fmt: skip


def comparing(network: bool = False) -> list[str]:
    """Names of the scores that set clips beside a real one, those that look through a network on demand."""
    return [
        name
        for name, metric in METRICS.items()
        if (metric.kind == "pair" or name == "diversity") and (network or not metric.network)
    ]


def scores(
    fake: "Tensor", real: "Tensor", names: Iterable[str] | None = None, networks: "Networks | None" = None
) -> dict[str, float]:
    """Several scores of generated clips.

    Args:
        fake: generated clips `(B, C, T, H, W)`, values in `[-1, 1]`.
        real: the real clip `(B', C, T', H', W')`; only C must be equal.
        names: keys of `METRICS`; when not given, all that compare clips, look through no network, and are
            defined for clips of this size.
        networks: what the scores that name a network look through.

    Returns:
        One number a name, in the order of the names. A score that compares samples is left out where B is 1.

    Raises:
        ValueError: if a name is unknown, or a clip too short or too small for a score that was named.
        WeightsUnavailable: if a network cannot be had.
    """
    chosen = comparing() if names is None else list(names)
    if unknown := [name for name in chosen if name not in METRICS]:
        raise ValueError(f"unknown scores {unknown}, known are {[*METRICS]}")
    values, done = {}, {}
    for name in chosen:
        metric = METRICS[name]
        if len(fake) < metric.min_samples:
            continue
        if metric.work not in done:
            try:
                done[metric.work] = metric.run(fake, real, networks)
            except ValueError:
                if names is not None:
                    raise
                continue
        values[name] = metric.pick(done[metric.work])
    return values


def controls(clip: "Tensor", seed: int = 0) -> dict[str, "Tensor"]:
    """Clips whose worth is known, made from a real one.

    Args:
        clip: `(B, C, T, H, W)`, values in `[-1, 1]`.

    Returns:
        Clips of the same shape by name: `copy` (the clip itself), `blurred` (by a box of 3 x 3 pixels),
        `shuffled` (each sample's frames in a random order of its own) and `noise` (white, with each channel's
        mean and deviation).
    """
    import torch
    import torch.nn.functional as F

    rng = torch.Generator().manual_seed(seed)
    blurred = F.avg_pool3d(clip, (1, 3, 3), stride=1, padding=(0, 1, 1), count_include_pad=False)
    orders = [torch.randperm(clip.shape[2], generator=rng).to(clip.device) for _ in clip]
    shuffled = torch.stack([sample[:, order] for sample, order in zip(clip, orders, strict=True)])
    std, mean = torch.std_mean(clip.float(), (0, 2, 3, 4), keepdim=True)
    noise = (mean + std * torch.randn(clip.shape, generator=rng).to(clip.device)).clamp(-1, 1)
    return {"copy": clip, "blurred": blurred, "shuffled": shuffled, "noise": noise}


def floors(
    real: "Tensor", held_out: "Tensor | None" = None, names: Iterable[str] | None = None
) -> dict[str, dict[str, float]]:
    """What the scores give for clips whose worth is known, to be printed beside a model's.

    Args:
        real: the real clip `(1, C, T, H, W)`, values in `[-1, 1]`.
        held_out: other footage of the same scene; without it, the second half of `real` is scored against the
            first.
        names: keys of `METRICS`, as for `scores`.

    Returns:
        Scores by the clip's name: `unseen` (real footage of the scene, as good as a fake can be expected to
        be; left out if `real` has less than 20 frames and nothing is held out), and the four `controls`,
        which come as two samples.
    """
    import torch

    chosen = comparing() if names is None else list(names)
    result = {}
    seen, unseen = real, held_out
    if unseen is None and real.shape[2] >= MIN_HALVED_FRAMES:
        seen, unseen = real.tensor_split(2, dim=2)
    if unseen is not None:
        result["unseen"] = scores(unseen, seen, names)
        if "diversity" in chosen:  # seen and unseen as two samples of one process
            length = min(seen.shape[2], unseen.shape[2])
            pair = torch.cat([seen[:, :, :length], unseen[:, :, :length]])
            result["unseen"]["diversity"] = METRICS["diversity"](pair, seen)
    fakes = controls(torch.cat([real, real]))
    return result | {name: scores(fake, real, names) for name, fake in fakes.items()}


def ranks(off: Mapping[str, float]) -> dict[str, bool]:
    """Whether a score puts unseen footage above each fault, for one clip.

    Args:
        off: how far from perfect it finds `unseen` and the faults (`blurred`, `shuffled`, `noise`).

    Returns:
        By fault. False: on this clip, a good value of this score does not rule the fault out.
    """
    return {fault: off["unseen"] < off[fault] for fault in FAULTS if fault in off and "unseen" in off}
