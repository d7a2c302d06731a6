"""Scores of a generated clip beside the real one: one family a file, `METRICS` names them all.

    from dtsgan.metrics import floors, scores
    scores(fake, real)   # {"motion_ratio": 1.03, "temporal_spectrum_distance": 0.8, ...}
    floors(real)         # the same for a copy, a blurred copy, shuffled frames, ...: what a number means

No score here needs weights, and none knows the model. The scores of a single clip (`loop_seam_ratio` and
`chunk_seam_ratio` in `motion`, `tile_seam_ratio` in `spectra`) are not in the table: they judge only clips
that were made to loop, to be joined or to tile.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MIN_HALVED_FRAMES = 20  # a half must hold the two disjoint parts that `copy_score` compares


@dataclass(frozen=True)
class Metric:
    """A score by its address; it is imported when first called, so that listing the names costs no torch."""

    module: str
    function: str
    perfect: float  # the value of a flawless fake
    says: str  # what it judges, in a few words for a table or a tooltip
    unit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    min_samples: int = 1

    def __call__(self, fake: "Tensor", real: "Tensor") -> float:
        function = getattr(import_module(f"{__name__}.{self.module}"), self.function)
        return function(fake, real, **self.options)


METRICS: dict[str, Metric] = {
    "motion_ratio": Metric("motion", "motion_ratio", 1.0, "how much it moves"),
    "temporal_spectrum_distance": Metric(
        "motion", "temporal_spectrum_distance", 0.0, "rates of motion", "dB"
    ),
    "spatial_spectrum_distance": Metric("spectra", "spatial_spectrum_distance", 0.0, "blur and grain", "dB"),
    "sliced_wasserstein": Metric("patches", "sliced_wasserstein", 0.0, "colours and shapes"),
    "sliced_wasserstein_zero_mean": Metric(
        "patches", "sliced_wasserstein", 0.0, "fine texture", options={"variant": "zero_mean"}
    ),
    "sliced_wasserstein_motion": Metric(
        "patches", "sliced_wasserstein", 0.0, "shapes of change", options={"variant": "motion"}
    ),
    "copy_score": Metric("patches", "copy_score", 1.0, "new (1) or copied (0)"),
    "diversity": Metric("patches", "diversity", 1.0, "how much samples differ", min_samples=2),
}


def scores(fake: "Tensor", real: "Tensor", names: Iterable[str] | None = None) -> dict[str, float]:
    """All scores of generated clips.

    Args:
        fake: generated clips `(B, C, T, H, W)`, values in `[-1, 1]`.
        real: the real clip `(B', C, T', H', W')`; only C must be equal.
        names: keys of `METRICS`; all by default.

    Returns:
        One number a name, in the order of the names. A score that compares samples is left out where B is 1.

    Raises:
        ValueError: if a name is unknown, or a clip too short or too small for a score.
    """
    names = list(METRICS if names is None else names)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"unknown scores {unknown}, known are {[*METRICS]}")
    return {name: METRICS[name](fake, real) for name in names if len(fake) >= METRICS[name].min_samples}


def floors(
    real: "Tensor", held_out: "Tensor | None" = None, names: Iterable[str] | None = None
) -> dict[str, dict[str, float]]:
    """What the scores give for clips whose worth is known, to be printed beside a model's.

    Args:
        real: the real clip `(1, C, T, H, W)`, values in `[-1, 1]`.
        held_out: other footage of the same scene; without it, the second half of `real` is scored against the
            first.
        names: keys of `METRICS`; all by default.

    Returns:
        Scores by the clip's name: `unseen` (real footage of the scene, as good as a fake can be expected to
        be; left out if `real` has less than 20 frames and nothing is held out), `copy` (the clip itself),
        `blurred` (by a box of 5 pixels), `shuffled` (frames in random order) and `noise` (white, with each
        channel's mean and deviation). The last four come as two samples.
    """
    import torch
    import torch.nn.functional as F

    names = list(METRICS if names is None else names)
    result = {}

    seen, unseen = real, held_out
    if unseen is None and real.shape[2] >= MIN_HALVED_FRAMES:
        seen, unseen = real.tensor_split(2, dim=2)
    if unseen is not None:
        result["unseen"] = scores(unseen, seen, names)
        if "diversity" in names:  # seen and unseen as two samples of one process
            length = min(seen.shape[2], unseen.shape[2])
            pair = torch.cat([seen[:, :, :length], unseen[:, :, :length]])
            result["unseen"]["diversity"] = METRICS["diversity"](pair, seen)

    rng = torch.Generator().manual_seed(0)
    blurred = F.avg_pool3d(real, (1, 5, 5), stride=1, padding=(0, 2, 2), count_include_pad=False)
    orders = [torch.randperm(real.shape[2], generator=rng).to(real.device) for _ in range(2)]
    std, mean = torch.std_mean(real.float(), (0, 2, 3, 4), keepdim=True)
    white = torch.randn(2, *real.shape[1:], generator=rng).to(real.device)
    fakes = {
        "copy": torch.cat([real, real]),
        "blurred": torch.cat([blurred, blurred]),
        "shuffled": torch.cat([real[:, :, order] for order in orders]),
        "noise": (mean + std * white).clamp(-1, 1),
    }
    return result | {name: scores(fake, real, names) for name, fake in fakes.items()}
