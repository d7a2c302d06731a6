"""LDS: Doretto, Chiuso, Wu, Soatto, "Dynamic Textures", IJCV 51(2), 2003.

A video is what a linear system with hidden states x shows when white noise v drives it:

    y_t = C x_t + mean,    x_(t+1) = A x_t + B v_t

all of it found in closed form, sub-optimally, as in Section 4.2 of the paper: C are principal components, x
what they see of the clip, A a least-squares fit, B the factor of what A leaves over. Nothing keeps A stable
and nothing brings back the variance that least squares lose. So its motion may die away or grow until the
pixels saturate, which is how the method is known.
"""

import numpy as np
import torch
from torch import Tensor

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length

LARGEST = 1e9  # of a state: an exploding one stays a number; its pixels are saturated long before


class LDS:
    """Shapes: n states, m inputs, D = 3 H W values a frame, N frames of the clip."""

    name = "LDS"

    def __init__(self, num_states: int = 50, num_inputs: int = 20) -> None:
        if num_states < 1 or num_inputs < 1:
            raise ValueError(
                f"num_states and num_inputs must be at least 1, got {num_states} and {num_inputs}"
            )
        self.num_states = num_states  # n
        self.num_inputs = num_inputs  # n_v

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        """Finds C, A and B of `(1, 3, N, H, W)`; a clip carries at most N - 1 states. See `Baseline.fit`."""
        check_clip(clip, self.name, num_frames=3, moves=True)
        self.size = clip.shape[3], clip.shape[4]
        self.mean, self.components, self.states = principal_states(clip, self.num_states)
        if on_progress:
            on_progress(0.9, "found the states")
        past, now = self.states[:-1], self.states[1:]  # N-1, n
        self.transition = np.linalg.lstsq(past, now, rcond=None)[0].T  # A
        left_over = now - past @ self.transition.T
        _, scale, axes = np.linalg.svd(left_over, full_matrices=False)
        inputs = min(self.num_inputs, len(scale))
        self.noise_factor = (axes[:inputs].T * scale[:inputs]) / np.sqrt(len(now))  # B, n m
        if on_progress:
            on_progress(1.0, "found the dynamics")

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """Runs the system from the clip's own first state, as the paper does: the first frame is the clip's,
        as far as n components show it. See `Baseline.sample`."""
        check_length(num_frames)
        inputs = self.noise_factor.shape[1]
        noise = torch.randn(num_frames - 1, inputs, dtype=torch.float64, generator=generator).numpy()
        states = [self.states[0]]
        for v in noise:
            state = self.transition @ states[-1] + self.noise_factor @ v
            states.append(np.clip(state, -LARGEST, LARGEST))
        video = self.to_clip(np.stack(states))
        if on_progress:
            on_progress(1.0, "drew the frames")
        return video

    def to_clip(self, states: np.ndarray) -> Tensor:
        """States `(T, n)` to `(1, 3, T, H, W)`, clipped to [-1, 1]."""
        frames = torch.from_numpy(states).float() @ self.components.T + self.mean  # T D
        return frames.clamp_(-1, 1).view(1, len(states), 3, *self.size).transpose(1, 2).contiguous()


def principal_states(clip: Tensor, num_states: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Mean `(D,)`, components `(D, n)` and states `(N, n)` (float64) of `(1, 3, N, H, W)`: Y = C X by the
    singular value decomposition, truncated to n."""
    values = clip[0].transpose(0, 1).flatten(1).double().cpu()  # N D
    mean = values.mean(0)
    u, s, vt = torch.linalg.svd(values - mean, full_matrices=False)
    rank = int((s > 1e-6 * s[0]).sum())
    n = min(num_states, rank, len(values) - 1)
    return mean.float(), vt[:n].T.float().contiguous(), (u[:, :n] * s[:n]).numpy()
