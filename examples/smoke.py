"""A column of smoke in sunlight.

Warm air carries soot upwards through the solver of `fluid.py`, in three dimensions, as Fedkiw, Stam and
Jensen 2001 ("Visual simulation of smoke"): buoyancy lifts it, vorticity confinement keeps its billows
alive. The light that reaches each cell is what the cells on the sun's side let through, so the smoke shades
itself; the eye then looks through all cells, near ones before far ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fluid import Fluid
from gusts import Gusts
from volume import look_through

CELLS, DEPTH = 108, 32  # of the air across the picture, and away from the eye
GROUND, ABOVE = 14, 26  # cells below and above the picture
WARM_UP = 110  # frames until the column stands
DRAUGHT = 2.0  # mean speed of the rising air, in cells a frame
MOUTH = 13.0  # radius of the source, in cells
OPACITY, SHADE = 0.20, 0.22  # absorption a cell towards the eye, and towards the sun


class Plume:
    """Soot and warmth on a grid of (height, width, depth), periodic in width and depth."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (GROUND + CELLS + ABOVE, CELLS, DEPTH)
        self.fluid = Fluid(shape)
        self.soot = np.zeros(shape, np.float32)
        self.puffs = Gusts(shape[1:], scale=8, lifetime=8, rng=rng)
        self.sway = Gusts(shape[1:], scale=24, lifetime=25, rng=rng)

        height, across, away = np.indices(shape, np.float32)
        height -= GROUND
        distance = np.hypot(across - CELLS / 2, away - DEPTH / 2)
        self.mouth = np.clip(1.5 * (1 - distance / MOUTH), 0, 1)[0]  # (width, depth)
        self.bed = np.exp(-0.5 * ((height[:, 0, 0] + 5) / 4) ** 2)[:, None, None]
        top = np.clip((height - CELLS - ABOVE / 4) / (ABOVE / 2), 0, 1)
        # Where the air is brought back to the plain draught.
        self.calm = 0.5 * np.maximum(top, height < -12) ** 2

    def step(self, dt: float = 1.0) -> None:
        fluid = self.fluid
        origin = fluid.trace_back(dt)
        self.soot = fluid.carry(self.soot, origin)
        fluid.advect_velocity(origin)

        fresh = np.clip(self.mouth * (0.9 + 0.8 * self.puffs.step(dt)), 0, 1.4) * self.bed
        self.soot = np.maximum(self.soot, fresh)
        self.soot *= np.exp(-dt * (self.calm + 0.010))
        fluid.velocity[0] += dt * 0.17 * self.soot
        fluid.velocity[1] += dt * 0.5 * self.sway.step(dt) * self.bed
        fluid.confine_vorticity(0.22, dt)
        fluid.velocity[0] -= DRAUGHT
        fluid.velocity *= np.exp(-dt * (self.calm + 0.008))
        fluid.project()
        fluid.velocity[0] += DRAUGHT - fluid.velocity[0].mean()


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws a rising column of smoke: uint8 frames of `(size, size, 3)`."""
    plume = Plume(np.random.default_rng(seed))
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    backdrop = np.float32([0.020, 0.035, 0.065]) * (1 - down) + np.float32([0.055, 0.075, 0.105]) * down
    for frame in range(-WARM_UP, num_frames):
        plume.step()
        if frame >= 0:
            soot = plume.soot[GROUND : GROUND + CELLS][::-1]
            light, through = look_through(soot, size, OPACITY, SHADE, sun=(0.12, 0.85, 0.12))
            image = 1.05 - 1.05 * np.exp(-1.55 * (light + backdrop * through))
            yield (255 * np.clip(image, 0, 1) ** (1 / 2.0) + 0.5).astype(np.uint8)
