"""Random fields that stay alike for ever: what drives the flames, the flag, the grass and the clouds."""

from __future__ import annotations

import numpy as np
from scipy import fft


class Gusts:
    """A periodic Gaussian field, of mean 0 and variance 1, that boils while it drifts.

    Each Fourier mode is an Ornstein-Uhlenbeck process, so the field is stationary in space and time; a drift
    turns the modes' phases (Taylor's hypothesis: eddies travel with the mean wind).

    Args:
        shape: cells of the grid.
        scale: size of an eddy, in cells.
        lifetime: time an eddy lives, in frames.
        drift: velocity of the eddies along each axis, in cells a frame.
        falloff: spectrum beyond the eddy's size is k^-falloff; a large value gives one size only.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        scale: float,
        lifetime: float,
        rng: np.random.Generator,
        drift: tuple[float, ...] | None = None,
        falloff: float = 4.0,
    ) -> None:
        self.shape, self.lifetime, self.rng = shape, lifetime, rng
        last = len(shape) - 1
        axes = [(fft.rfftfreq if i == last else fft.fftfreq)(n) for i, n in enumerate(shape)]
        k = np.meshgrid(*axes, indexing="ij")
        self.amplitude = (1 + sum(f**2 for f in k) * scale**2) ** (-falloff / 2)
        self.amplitude.flat[0] = 0  # zero mean
        trials = fft.rfftn(rng.standard_normal((64, *shape)), axes=range(1, last + 2))
        self.amplitude /= fft.irfftn(self.amplitude * trials, shape, axes=range(1, last + 2)).std()
        self.turn = -2j * np.pi * sum(f * d for f, d in zip(k, drift or (0.0,) * len(shape), strict=True))
        self.modes = self._fresh()

    def _fresh(self) -> np.ndarray:
        return fft.rfftn(self.rng.standard_normal(self.shape))

    def step(self, dt: float = 1.0) -> np.ndarray:
        """Moves on by `dt` frames and returns the field."""
        keep = np.exp(-dt / self.lifetime)
        self.modes = keep * np.exp(dt * self.turn) * self.modes + np.sqrt(1 - keep**2) * self._fresh()
        return fft.irfftn(self.amplitude * self.modes, self.shape).astype(np.float32)
