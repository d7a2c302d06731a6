"""Fire: hot gas that rises, whirls and cools, glowing like a black body.

The gas is the solver of `fluid.py` in three dimensions with buoyancy: a wall of flames as wide as the
picture, some cells deep, seen through. As in Nguyen, Fedkiw and Jensen 2002 ("Physically based modeling and
animation of fire") each parcel carries one number that falls steadily after it was lit; its heat, and so
its colour, follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from fluid import Fluid
from gusts import Gusts
from scipy import ndimage

CELLS, DEPTH = 144, 20  # of the gas across the picture, and away from the eye
GROUND, ABOVE = 14, 42  # cells below and above the picture
WARM_UP = 60  # frames until the flames have forgotten how they were lit
DRAUGHT = 2.6  # mean speed of the rising air, in cells a frame: without it the gas can only turn over


class Flames:
    """Burning gas on a grid of (height, width, depth), periodic in width and depth."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (GROUND + CELLS + ABOVE, CELLS, DEPTH)
        self.fluid = Fluid(shape)
        self.heat = np.zeros(shape, np.float32)
        self.embers = Gusts(shape[1:], scale=7, lifetime=7, rng=rng)
        self.hearth = Gusts(shape[1:], scale=30, lifetime=25, rng=rng)

        height = np.arange(shape[0], dtype=np.float32)[:, None, None] - GROUND
        self.bed = np.exp(-0.5 * (height / 5.5) ** 2)  # where fuel seeps out
        top = np.clip((height - CELLS - ABOVE / 3) / (ABOVE / 2), 0, 1)
        # Where the gas is brought back to the plain draught.
        self.calm = 0.6 * np.maximum(top, height < -6) ** 2

    def step(self, dt: float = 1.0) -> None:
        fluid = self.fluid
        origin = fluid.trace_back(dt)
        self.heat = fluid.carry(self.heat, origin)
        fluid.advect_velocity(origin)

        lit = np.clip(0.5 + 4.0 * self.embers.step(dt) + 3.2 * self.hearth.step(dt), 0, 1.25)
        self.heat = np.maximum(self.heat, lit * self.bed)
        # A parcel burns out at a steady rate, so a flame has a tip; thin wisps lose their heat faster.
        self.heat = np.clip(self.heat - dt * (0.025 + 0.025 * (1 - self.heat)), 0, None)
        self.heat *= np.exp(-dt * self.calm)

        fluid.velocity[0] += dt * 0.5 * self.heat
        fluid.confine_vorticity(0.4, dt)
        fluid.velocity[0] -= DRAUGHT
        fluid.velocity *= np.exp(-dt * (self.calm + 0.01))
        fluid.project(divergence=0.05 * self.heat * self.bed)
        fluid.velocity[0] += DRAUGHT - fluid.velocity[0].mean()

    def picture(self, size: int) -> np.ndarray:
        """Light that reaches the eye, `(size, size, 3)`: thin gas hides nothing, so the depths add up."""
        heat = self.heat[GROUND : GROUND + CELLS][::-1, :, :, None]
        # The hotter, the whiter: red, then yellow, then white.
        colour = np.float32([3.2, 1.15, 0.2]) * heat ** np.float32([1.6, 2.7, 4.0])
        zoom = (size / CELLS, size / CELLS, 1)
        light = ndimage.zoom(colour.mean(2), zoom, order=3, mode="nearest", grid_mode=True)
        return ndimage.gaussian_filter(np.clip(light, 0, None), (0.7, 0.7, 0))


def develop(light: np.ndarray) -> np.ndarray:
    """Light (H W 3) to pixels: a lens's bloom, a film's shoulder and the screen's gamma."""
    wide, narrow = (ndimage.gaussian_filter(light, (blur, blur, 0)) for blur in (22, 5))
    bloom = 0.1 * wide + 0.12 * narrow
    return (255 * (1 - np.exp(-1.5 * (light + bloom))) ** (1 / 1.45) + 0.5).astype(np.uint8)


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws a wall of flames: uint8 frames of `(size, size, 3)`."""
    flames = Flames(np.random.default_rng(seed))
    for frame in range(-WARM_UP, num_frames):
        flames.step()
        if frame >= 0:
            yield develop(flames.picture(size))
