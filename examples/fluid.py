"""A small fluid solver for flames, smoke and clouds, in two or three dimensions.

"Stable fluids" (Stam 1999) on a periodic grid: semi-Lagrangian advection, then a projection onto the fields
without divergence, exact in the Fourier domain. What advection smears is put back by vorticity confinement
(Fedkiw, Stam and Jensen 2001). Axis 0 points up; lengths are in cells, times in frames.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage


class Fluid:
    """An incompressible velocity field on a periodic grid.

    Walls and open ends are made by damping the velocity there (a sponge), which is all that a plume needs.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.velocity = np.zeros((len(shape), *shape), np.float32)  # D and the grid; [i] is along axis i
        self._cells = np.indices(shape, np.float32)
        last = len(shape) - 1
        k = [(fft.rfftfreq if i == last else fft.fftfreq)(n).astype(np.float32) for i, n in enumerate(shape)]
        self._k = np.stack(np.meshgrid(*k, indexing="ij"))
        self._k_squared = np.maximum((self._k**2).sum(0), 1e-12)
        self._keep = np.exp(-sum((f / 0.42) ** 8 for f in self._k))  # shorter waves only jitter

    def trace_back(self, dt: float) -> np.ndarray:
        """Where the fluid now in each cell was `dt` ago (midpoint rule), D and the grid."""
        halfway = self._cells - 0.5 * dt * self.velocity
        middle = [ndimage.map_coordinates(v, halfway, order=1, mode="grid-wrap") for v in self.velocity]
        return self._cells - dt * np.stack(middle)

    @staticmethod
    def carry(field: np.ndarray, origin: np.ndarray, order: int = 3) -> np.ndarray:
        """The field whose values come from the points `origin`; a higher order of spline smears less."""
        carried = ndimage.map_coordinates(field, origin, order=order, mode="grid-wrap")
        return np.clip(carried, field.min(), field.max()) if order > 1 else carried

    def advect_velocity(self, origin: np.ndarray, order: int = 1) -> None:
        self.velocity = np.stack([self.carry(v, origin, order) for v in self.velocity])

    def confine_vorticity(self, strength: float, dt: float) -> None:
        """Spins up the whirls that the grid resolves: f = strength * (N x curl u), N = grad |curl u| normed.

        Written with the antisymmetric part of the velocity's gradient, so it holds in 2D and 3D alike.
        """
        axes = range(len(self.velocity))
        slope = [[0.5 * (np.roll(v, -1, j) - np.roll(v, 1, j)) for j in axes] for v in self.velocity]
        spin = [[slope[j][i] - slope[i][j] for j in axes] for i in axes]
        size = np.sqrt(sum(spin[i][j] ** 2 for i in axes for j in axes if i < j))
        uphill = np.stack([np.roll(size, -1, j) - np.roll(size, 1, j) for j in axes])
        uphill /= np.sqrt((uphill**2).sum(0)) + 1e-6
        for i in axes:
            self.velocity[i] += dt * strength * sum(uphill[j] * spin[i][j] for j in axes if j != i)

    def project(self, divergence: np.ndarray | None = None) -> None:
        """Removes the velocity's divergence, or makes it the one given (gas that expands as it burns)."""
        axes = tuple(range(1, self.velocity.ndim))
        u = fft.rfftn(self.velocity, axes=axes)
        pressure = (self._k * u).sum(0) / self._k_squared
        if divergence is not None:
            pressure -= fft.rfftn(divergence) / (2j * np.pi * self._k_squared)
        u = (u - self._k * pressure) * self._keep
        self.velocity = fft.irfftn(u, self.velocity.shape[1:], axes=axes)
