"""A meadow in the wind.

Every blade is a slender beam, rooted in the ground, that sways in its first bending mode: a damped
oscillator pushed by the wind where it stands (as in Reeves and Blau 1985, whose wind is gusts that travel
over the field). Blades are drawn from the farthest to the nearest, lit by a low sun that shines through
them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gusts import Gusts
from scipy import ndimage

FPS, SUBSTEPS = 25, 4
BLADES, BATCHES = 5000, 24
NEAR, FAR = 0.95, 20.0  # metres from the eye to the first and the last blades
EYE_HEIGHT, FIELD_OF_VIEW, HORIZON = 0.85, np.deg2rad(42), 0.10  # metres, angle, row (0 is the top)
HEIGHT = 0.55  # metres, of a typical blade
GUST_CELL, WIND = 0.25, 1.6  # metres; m/s to the right
FREQUENCY, DAMPING = 0.85, 0.35  # of a typical blade, in hertz and as a share of the critical
WARM_UP = 75
SUPERSAMPLE = 2
SUN = np.float32([-0.55, 0.62])  # across and up


class Meadow:
    """Blades from far to near; `lean` is the angle by which each tip is bent to the right, and ahead."""

    def __init__(self, rng: np.random.Generator) -> None:
        # Far blades are small in the picture, and many.
        nearness = 1 / FAR + (1 / NEAR - 1 / FAR) * rng.uniform(0, 1, BLADES) ** 2.2
        self.ahead = np.sort(1 / nearness)[::-1]
        half = np.tan(FIELD_OF_VIEW / 2) * self.ahead * 1.15 + 0.3
        self.across = rng.uniform(-1, 1, BLADES) * half
        self.height = HEIGHT * rng.lognormal(0, 0.22, BLADES)
        self.rest = rng.normal(0, 0.22, (2, BLADES)) + np.array([[0.12], [0]])
        self.omega = 2 * np.pi * FREQUENCY * (HEIGHT / self.height) * rng.lognormal(0, 0.1, BLADES)
        self.lean, self.swing = self.rest.copy(), np.zeros((2, BLADES))
        drift = (0.15 * WIND / FPS / GUST_CELL, WIND / FPS / GUST_CELL)
        self.gusts = [Gusts((64, 64), 7, 150, rng, drift, falloff=3.5) for _ in range(2)]
        self.twist = rng.uniform(-1, 1, BLADES)
        self.hue = rng.normal(0, 1, (BLADES, 2))
        self.width = 0.015 * rng.lognormal(0, 0.25, BLADES)

    def frame(self) -> None:
        """Moves on by a frame."""
        place = [self.ahead / GUST_CELL, self.across / GUST_CELL + 32]
        fields = [g.step() for g in self.gusts]
        gust = [ndimage.map_coordinates(f, place, order=1, mode="grid-wrap") for f in fields]
        speed = np.clip(1 + 0.75 * gust[0], 0, None)
        push = np.stack([0.34 * speed**1.5, 0.12 * gust[1]])  # the angle at which a steady wind holds a blade
        dt = 1 / (FPS * SUBSTEPS)
        for _ in range(SUBSTEPS):
            force = self.omega**2 * (self.rest + push - self.lean) - 2 * DAMPING * self.omega * self.swing
            self.swing += dt * force
            self.lean += dt * self.swing

    def draw(self, image: np.ndarray) -> None:
        """Draws the blades over an image in linear light, (S, S, 3), from far to near."""
        for batch in np.array_split(np.arange(BLADES), BATCHES):
            self.draw_batch(image, batch)

    def draw_batch(self, image: np.ndarray, batch: np.ndarray) -> None:
        size = len(image)
        zoom = np.float32(size / (2 * np.tan(FIELD_OF_VIEW / 2)))  # pixels across a metre, one metre away
        samples = int(1.1 * zoom * (self.height[batch] / self.ahead[batch]).max()) + 8  # no gaps
        s = np.linspace(0, 1, samples, dtype=np.float32)
        lean, ahead, across, height, thick = (
            a[..., batch].astype(np.float32)
            for a in (self.lean, self.ahead, self.across, self.height, self.width)
        )
        # A beam bent by an even push: its slope grows as 1 - (1 - s)^3 (Euler and Bernoulli).
        bend = (1 - (1 - s) ** 3) * np.linalg.norm(lean, axis=0)[:, None]  # blades, samples
        towards = lean / (np.linalg.norm(lean, axis=0) + 1e-9)
        out = np.cumsum(np.sin(bend), 1) / samples * height[:, None]
        up = np.cumsum(np.cos(bend), 1) / samples * height[:, None]
        x = across[:, None] + out * towards[0][:, None]
        y = ahead[:, None] + out * towards[1][:, None]

        scale = zoom / np.maximum(y, 0.3)
        column, row = size / 2 + x * scale, HORIZON * size + (EYE_HEIGHT - up) * scale
        width = thick[:, None] * scale * (1 - s**2.2)

        # Dark at the roots, which others shade; bright tips; a sheen where a bent blade mirrors the sky.
        flat = np.sin(bend)
        facing = np.clip(SUN[0] * -np.cos(bend) * towards[0][:, None] + SUN[1] * flat, 0, 1)
        open_air = 0.04 + 0.96 * s**1.4
        light = open_air * (0.30 + 0.55 * facing + 0.25 * s)
        sheen = open_air * np.clip(flat - 0.35, 0, 1) ** 2 * 0.32
        red, green = self.hue[batch].T.astype(np.float32)
        leaf = np.stack([0.25 + 0.055 * red, 0.46 + 0.03 * green, np.full_like(red, 0.045)], -1)
        tip = np.float32([0.22, 0.14, 0.03])
        colour = (leaf[:, None] + tip * s[:, None] ** 3) * light[..., None] * 1.5
        colour += sheen[..., None] * np.float32([0.75, 0.85, 0.80])

        # Each sample is a short row of pixels; later, nearer blades cover earlier ones.
        half = np.maximum(width / 2, 0.5)
        reach = np.arange(-np.floor(half.max()), half.max(), dtype=np.float32)
        left, r = np.floor(column).astype(np.int32), np.floor(row).astype(np.int32)
        c = left[..., None] + reach.astype(np.int32)
        inside = (np.abs(reach) <= half[..., None]) & (c >= 0) & (c < size)
        inside &= ((r >= 0) & (r < size))[..., None]
        blade, sample, pixel = np.nonzero(inside)
        # A blade is folded along its midrib, so its two sides differ.
        side = 1 + 0.18 * self.twist[batch].astype(np.float32)[blade] * reach[pixel] / half[blade, sample]
        image[r[blade, sample], c[inside]] = colour[blade, sample] * np.clip(side, 0.7, 1.3)[:, None]


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws gusts running over a meadow: uint8 frames of `(size, size, 3)`."""
    meadow = Meadow(np.random.default_rng(seed))
    down = np.linspace(0, 1, size * SUPERSAMPLE, dtype=np.float32)[:, None, None]
    sky = np.float32([0.42, 0.60, 0.82]) + np.float32([0.48, 0.26, -0.10]) * np.clip(down / 0.16, 0, 1)
    ground = np.float32([0.17, 0.24, 0.05]) * np.clip(1 - (down - HORIZON) / 0.3, 0.1, 1) ** 2
    backdrop = np.repeat(np.where(down < HORIZON + 0.02, sky, ground), size * SUPERSAMPLE, 1)
    for frame in range(-WARM_UP, num_frames):
        meadow.frame()
        if frame >= 0:
            image = backdrop.copy()
            meadow.draw(image)
            image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean((1, 3))
            yield (255 * np.clip(1 - np.exp(-1.35 * image), 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
