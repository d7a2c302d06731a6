"""Closed-loop LDS: Yuan, Wen, Liu, Shum, "Synthesizing Dynamic Texture with Closed-Loop Linear Dynamic
System", ECCV 2004.

Driven by noise alone, a linear system whose poles lie within the unit circle comes to rest, and one with a
pole outside explodes. So the loop is closed: the states that succeed one another in the clip are a reference
s, and a controller D feeds back how far the system would be from it,

    x_(t+1) = A x_t + D (s_(t+1) - A x_t) + (I - D) B v_t

with A and B those of the open loop (`lds.py`). The reference is made of runs of the clip's own states, each
joined to a state much like that before it, as in a video texture (Schödl et al. 2000), so it never ends. An
error e = x - s obeys e_(t+1) = (I - D)(A e_t + noise): it dies out where (I - D) A is stable, and the jump of
a joint is spread over the frames that this takes. D = 0 is the open loop, D = I a replay.
"""

import numpy as np
import torch
from torch import Tensor

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_length
from dtsgan.baselines.lds import LDS

CANDIDATES = 5  # a run is joined to one of so many likest states
MAX_RADIUS = 0.9  # of (I - D) A, which sets how strong the feedback has to be at least


class ClosedLoopLDS(LDS):
    """Shapes: n states, N frames of the clip."""

    name = "closed-loop LDS"

    def __init__(
        self, num_states: int = 50, num_inputs: int = 20, gain: float = 0.5, run_length: int = 16
    ) -> None:
        super().__init__(num_states, num_inputs)
        if not 0 <= gain <= 1:
            raise ValueError(f"gain must be from 0, the open loop, to 1, a replay; got {gain}")
        if run_length < 2:
            raise ValueError(f"run_length must be at least 2 frames, got {run_length}")
        self.gain = gain  # D = gain I, or more where A needs it
        self.run_length = run_length  # frames before the reference leaves for another place of the clip

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """Fits the open loop, then the feedback that makes it stable. See `Baseline.fit`."""
        super().fit(clip, on_progress)
        radius = np.abs(np.linalg.eigvals(self.transition)).max()
        self.feedback = max(self.gain, 1 - MAX_RADIUS / max(radius, MAX_RADIUS))

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """Begins at a random state of the clip. See `Baseline.sample`."""
        check_length(num_frames)
        reference = self.states[self.runs(num_frames, generator)]  # T n
        inputs = self.noise_factor.shape[1]
        noise = torch.randn(num_frames, inputs, dtype=torch.float64, generator=generator).numpy()
        video = self.to_clip(self.follow(reference, noise))
        if on_progress:
            on_progress(1.0, "drew the frames")
        return video

    def runs(self, num_frames: int, generator: torch.Generator) -> np.ndarray:
        """Frame numbers of the clip, `(num_frames,)`: runs of it, each joined to a frame whose predecessor is
        much like the last of the run before, and that leaves room for a run where the clip does."""
        last, apart = len(self.states) - 1, self.run_length // 2
        room = max(last - self.run_length, last // 2)
        at, left = int(torch.randint(room, (), generator=generator)), self.run_length
        chosen = [at]
        while len(chosen) < num_frames:
            left -= 1
            if at < last and left > 0:
                at += 1
            else:
                distance = np.linalg.norm(self.states[:room] - self.states[at], axis=1)
                # its own neighbours are no other place, unless there is none
                elsewhere = np.abs(np.arange(room) - at) > min(apart, last // 4)
                likest = np.argsort(np.where(elsewhere, distance, np.inf), kind="stable")
                likest = likest[: min(CANDIDATES, int(elsewhere.sum()))]
                at = int(likest[int(torch.randint(len(likest), (), generator=generator))]) + 1
                left = self.run_length
            chosen.append(at)
        return np.array(chosen)

    def follow(self, reference: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """States `(T, n)` of the closed loop under a reference `(T, n)` and white noise `(T, m)`."""
        states = [reference[0]]
        for target, v in zip(reference[1:], noise[1:], strict=True):
            open_loop = self.transition @ states[-1]
            shock = (1 - self.feedback) * self.noise_factor @ v
            states.append(open_loop + self.feedback * (target - open_loop) + shock)
        return np.stack(states)
