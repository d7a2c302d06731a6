"""Controls that every table needs: what real video scores, and what cheating does.

None learns anything. `AnotherPart` bounds from above what can be asked of a method, `Copy` shows what a
measure of novelty says of a replay, and `ShuffledFrames` what a measure of motion says of perfect frames in
no order.
"""

import torch
from torch import Tensor

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length


class AnotherPart:
    """A window of the clip, drawn at random: real video. It may overlap what it is compared with, unless the
    clip that it was given does not hold that."""

    name = "another part"

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """Keeps `(1, 3, T, H, W)`; see `Baseline.fit`."""
        check_clip(clip, self.name)
        self.clip = clip.clone()
        if on_progress:
            on_progress(1.0, "kept the clip")

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """`(1, 3, num_frames, H, W)` of the clip; see `Baseline.sample`."""
        check_length(num_frames, self.clip.shape[2])
        video = self.clip[:, :, self.choose(num_frames, generator)]
        if on_progress:
            on_progress(1.0, "cut the clip")
        return video

    def choose(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """The frames to show, `(num_frames,)`."""
        start = torch.randint(self.clip.shape[2] - num_frames + 1, (), generator=generator)
        return start + torch.arange(num_frames)


class Copy(AnotherPart):
    """The first frames of the clip, whatever the seed."""

    name = "a copy"

    def choose(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """The first `num_frames` frames."""
        return torch.arange(num_frames)


class ShuffledFrames(AnotherPart):
    """A window of the clip whose frames are in no order."""

    name = "shuffled frames"

    def choose(self, num_frames: int, generator: torch.Generator) -> Tensor:
        """The frames of a random window, permuted."""
        window = super().choose(num_frames, generator)
        return window[torch.randperm(num_frames, generator=generator)]
