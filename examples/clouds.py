"""Fair-weather clouds, as a time lapse shows them.

Moist air, in three dimensions: warm damp thermals leave the ground, their water condenses above a flat
base, the heat this sets free drives the cloud on upwards, and mixing with the dry air around dissolves it.
Solved by `fluid.py` with the simplified thermodynamics of Harris et al. 2003 ("Simulation of cloud dynamics
on graphics hardware"); the clouds shade themselves. The wind grows with height, so that they lean.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fluid import Fluid
from gusts import Gusts
from scipy import ndimage
from volume import look_through

CELLS, DEPTH = 112, 40  # of the air across the picture, and away from the eye
GROUND, ABOVE = 13, 4  # cells below and above the picture
BASE = 26.0  # height where thermals begin to condense, in cells
LAPSE = 0.0055  # how much less water the air holds, a cell further up
DRYNESS = 0.20  # how far the air between the clouds is from holding all the water that it can
WIND, SHEAR = 0.35, 0.004  # to the right, in cells a frame, and its growth a cell further up
WARM_UP, WARM_UP_STEP = 110, 2.0  # steps, and their length in frames, until clouds come and go evenly
OPACITY, SHADE = 2.4, 0.90  # absorption a cell towards the eye, and towards the sun, by a unit of water


class Air:
    """Air and its water on a grid of (height, width, depth), periodic in width and depth."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (GROUND + CELLS + ABOVE, CELLS, DEPTH)
        self.fluid = Fluid(shape)
        height = np.arange(shape[0], dtype=np.float32)[:, None, None]
        self.saturation = np.where(height < BASE, 1.4, 1 - LAPSE * (height - BASE)).astype(np.float32)
        self.around = np.minimum(self.saturation - DRYNESS, 0.85)  # water in the air between the clouds
        self.water = np.broadcast_to(self.around, shape).copy()
        self.thermals = Gusts(shape[1:], scale=15, lifetime=45, rng=rng, drift=(WIND, 0.0))
        self.bubbles = Gusts(shape[1:], scale=8, lifetime=12, rng=rng, drift=(WIND, 0.0))
        self.soil = np.exp(-0.5 * ((height - 14) / 5) ** 2)
        self.wind = WIND + SHEAR * (height - BASE)
        top = np.clip((height - shape[0] + 22) / 18, 0, 1)
        self.calm = 0.4 * np.maximum(top, height < 3) ** 2
        self.subcloud = height < BASE

    def cloud(self) -> np.ndarray:
        """Water that has condensed."""
        return np.clip(self.water - self.saturation, 0, None)

    def step(self, dt: float = 1.0) -> None:
        fluid = self.fluid
        origin = fluid.trace_back(dt)
        self.water = fluid.carry(self.water, origin)
        fluid.advect_velocity(origin)

        warm = 0.95 + 0.40 * self.thermals.step(dt) + 0.15 * self.bubbles.step(dt)
        self.water += (1 - np.exp(-dt * 0.2 * self.soil)) * (np.clip(warm, 0.8, 1.25) - self.water)
        self.water += (1 - np.exp(-dt * (0.012 + self.calm))) * (self.around - self.water)
        lift = 0.12 * self.cloud() + 0.14 * np.clip(self.water - 0.9, 0, None) * self.subcloud
        fluid.velocity[0] += dt * (lift - lift.mean(axis=(1, 2), keepdims=True))
        fluid.confine_vorticity(0.10, dt)
        fluid.velocity *= np.exp(-dt * (self.calm + 0.012))
        fluid.project()
        for axis, mean in enumerate((0.0, self.wind, 0.0)):
            fluid.velocity[axis] += mean - fluid.velocity[axis].mean(axis=(1, 2), keepdims=True)


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws clouds that grow, drift and dissolve: uint8 frames of `(size, size, 3)`."""
    air = Air(np.random.default_rng(seed))
    for _ in range(WARM_UP):
        air.step(WARM_UP_STEP)
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    sky = np.float32([0.055, 0.17, 0.45]) * (1 - down) + np.float32([0.36, 0.58, 0.82]) * down**1.3
    for _ in range(num_frames):
        air.step()
        water = ndimage.gaussian_filter(air.cloud(), 0.5)[GROUND : GROUND + CELLS][::-1]
        light, through = look_through(water, size, OPACITY, SHADE, sun=(0.5, 0.45, 0.15))
        image = 1.05 - 1.05 * np.exp(-1.6 * (light + sky * through))
        yield (255 * np.clip(image, 0, 1) ** (1 / 2.0) + 0.5).astype(np.uint8)
