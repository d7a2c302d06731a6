"""A flag in a fresh wind.

The cloth is a net of particles held together by distances, solved by extended position-based dynamics with
small steps (Macklin et al. 2016 "XPBD", 2019 "Small steps in physics simulation"). Air pushes on each patch
of cloth along its normal, as the square of the speed at which it blows through, and eddies ride downwind in
it (Taylor 1938).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gusts import Gusts
from scipy import ndimage

FPS, SUBSTEPS = 25, 24
ROWS, COLUMNS = 31, 41
HEIGHT, WIDTH = 2.7, 3.6  # metres
WIND = np.float32([7.0, 0.0, 0.25])  # m/s: right, up, towards the eye
GUST = np.float32([1.2, 0.8, 2.8])  # m/s
MASS, CARRIED, AIR = 0.15, 0.28, 1.2  # kg a square metre: cloth, and air that moves with it; kg a cubic metre
BEND_COMPLIANCE = 3e-4
WARM_UP = 100  # frames until the flag has forgotten how it was hung
GUST_CELL = 0.2  # metres
SUPERSAMPLE = 2
SUN = np.float32([-0.55, 0.62, 0.56])
VIEW, POLE_X = 3.7, -1.65  # width of the picture, and the pole from its middle, in metres


def links() -> list[tuple[tuple, tuple, float]]:
    """Pairs of slices into the net whose points are held apart, and the compliance.

    No point is twice in one pair, so that a pair's links are solved at once.
    """
    rows, columns = range(ROWS), range(COLUMNS)
    found = []
    stretch, shear, bend = 0.0, 2e-6, BEND_COMPLIANCE
    for step_r, step_c, compliance in (
        (0, 1, stretch),
        (1, 0, stretch),
        (1, 1, shear),
        (1, -1, shear),
        (0, 2, bend),
        (2, 0, bend),
    ):
        span = max(step_r, abs(step_c))
        for part in (0, 1):
            r = [i for i in rows if i + step_r < ROWS and (step_r == 0 or i // span % 2 == part)]
            c = [j for j in columns if 0 <= j + step_c < COLUMNS and (step_r or j // span % 2 == part)]
            here, there = np.ix_(r, c), np.ix_([i + step_r for i in r], [j + step_c for j in c])
            found.append((here, there, compliance))
    return found


class Flag:
    """Cloth hung by its left edge; `x` are the points, (ROWS, COLUMNS, 3) in metres."""

    def __init__(self, rng: np.random.Generator) -> None:
        down, along = np.meshgrid(np.linspace(0, HEIGHT, ROWS), np.linspace(0, WIDTH, COLUMNS), indexing="ij")
        self.x = np.stack([along, -down, 0.05 * np.sin(1.5 * along)], -1)
        self.v = np.zeros_like(self.x)
        self.free = np.ones((ROWS, COLUMNS, 1))
        self.free[:, 0] = 0  # sewn to the pole
        flat = self.x[..., :2]
        self.links = [(a, b, np.linalg.norm(flat[a] - flat[b], axis=-1), c) for a, b, c in links()]
        shape = (32, 64)
        drift = (0.0, float(WIND[0]) / FPS / GUST_CELL)
        self.gusts = [Gusts(shape, scale, 18, rng, drift) for scale in (6, 6, 5)]
        self.air = np.stack([g.step() for g in self.gusts])

    def frame(self) -> None:
        """Moves on by a frame."""
        before, self.air = self.air, np.stack([g.step() for g in self.gusts])
        for i in range(SUBSTEPS):
            s = (i + 0.5) / SUBSTEPS
            self.substep(before * (1 - s) + self.air * s, 1 / (FPS * SUBSTEPS))

    def substep(self, air: np.ndarray, dt: float) -> None:
        place = [-self.x[..., 1] / GUST_CELL, self.x[..., 0] / GUST_CELL]
        gust = np.stack([ndimage.map_coordinates(a, place, order=1, mode="grid-wrap") for a in air], -1)
        through = WIND + GUST * gust - self.v
        normal = np.cross(np.gradient(self.x, axis=1), np.gradient(self.x, axis=0))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
        head_on = (through * normal).sum(-1, keepdims=True)
        speed = np.linalg.norm(through, axis=-1, keepdims=True)
        push = 0.5 * AIR * (1.3 * np.abs(head_on) * head_on * normal + 0.05 * speed * through)
        self.v += dt * self.free * (push + MASS * np.array([0, -9.81, 0])) / (MASS + CARRIED)

        old = self.x.copy()
        self.x += dt * self.v
        for a, b, rest, compliance in self.links:
            gap = self.x[a] - self.x[b]
            length = np.sqrt((gap**2).sum(-1))
            wa, wb = self.free[a], self.free[b]
            slack = compliance / dt**2 * (MASS + CARRIED) * HEIGHT * WIDTH / (ROWS * COLUMNS)
            move = gap * ((length - rest) / length)[..., None] / np.maximum(wa + wb + slack, 1)
            self.x[a] -= wa * move
            self.x[b] += wb * move
        self.v = (self.x - old) / dt * 0.9985


def cloth(rows: int, columns: int) -> np.ndarray:
    """The print, (rows, columns, 3): a sun on a bay, in linear light."""
    v, u = np.meshgrid(np.linspace(0, HEIGHT, rows), np.linspace(0, WIDTH, columns), indexing="ij")

    def paint(below: np.ndarray, colour: tuple, shape: np.ndarray) -> np.ndarray:
        cover = np.clip(shape / (1.2 * HEIGHT / rows) + 0.5, 0, 1)[..., None]
        return below * (1 - cover) + np.float32(colour) * cover

    image = np.broadcast_to(np.float32([0.78, 0.055, 0.035]), (rows, columns, 3))
    image = paint(image, (0.90, 0.84, 0.70), v - 0.36 * HEIGHT)
    image = paint(image, (0.008, 0.13, 0.22), v - 0.64 * HEIGHT)
    sun = np.hypot(u - 0.46 * WIDTH, v - 0.5 * HEIGHT)
    image = paint(image, (0.008, 0.13, 0.22), 0.66 - sun)
    image = paint(image, (0.98, 0.55, 0.03), 0.56 - sun)
    return paint(image, (0.9, 0.84, 0.7), 0.09 - u)


def draw(x: np.ndarray, ink: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """The cloth seen by a camera, over the backdrop (S S 3): far points first, near ones over them."""
    rows, columns = ink.shape[:2]
    zoom = (rows / ROWS, columns / COLUMNS, 1)
    p = ndimage.zoom(x.astype(np.float32), zoom, order=3)
    normal = np.cross(np.gradient(p, axis=1), np.gradient(p, axis=0))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    normal *= np.where(normal[..., 2:] < 0, -1, 1)  # the side that the eye sees
    sun = SUN / np.linalg.norm(SUN)
    lambert = normal @ sun
    half = sun + np.float32([0, 0, 1])
    half /= np.linalg.norm(half)
    sheen = np.clip(normal @ half, 0, 1) ** 24
    # Light from the sky, from the sun, and from the sun behind the cloth.
    light = 0.30 + 0.16 * normal[..., 1] + np.where(lambert > 0, 0.95, -0.38) * lambert
    colour = ink * light[..., None] * np.float32([1.0, 0.98, 0.94]) + 0.06 * sheen[..., None]

    size = len(backdrop)
    scale = size / VIEW / (1 - p[..., 2] / 12)  # the camera stands 12 m away
    column = ((p[..., 0] + POLE_X) * scale + size / 2).astype(int)
    row = (size / 2 - (p[..., 1] + HEIGHT / 2 + 0.08) * scale).astype(int)
    seen = ((column >= 0) & (column < size) & (row >= 0) & (row < size)).ravel()
    order = np.argsort(p[..., 2].ravel()[seen], kind="stable")
    image = backdrop.copy()
    image[row.ravel()[seen][order], column.ravel()[seen][order]] = colour.reshape(-1, 3)[seen][order]
    return image


def sky_and_pole(size: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    overhead, low = np.float32([0.13, 0.33, 0.72]), np.float32([0.50, 0.70, 0.92])
    image = overhead + (low - overhead) * y[..., None]
    across = (x - 0.5 - POLE_X / VIEW) / 0.014 + 0.6
    shade = np.clip(np.sqrt(np.clip(1 - across**2, 0, 1)) * 0.5 - 0.35 * across + 0.1, 0.05, 1)
    pole = shade[..., None] * np.float32([0.75, 0.76, 0.78])
    return np.where(np.abs(across)[..., None] < 1, pole, image).astype(np.float32)


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws a flag blowing to the right: uint8 frames of `(size, size, 3)`."""
    flag = Flag(np.random.default_rng(seed))
    fine = size * SUPERSAMPLE
    ink = cloth(round(fine * 1.3), round(fine * 1.7))
    backdrop = sky_and_pole(fine)
    for frame in range(-WARM_UP, num_frames):
        flag.frame()
        if frame >= 0:
            image = draw(flag.x, ink, backdrop).reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean((1, 3))
            yield (255 * np.clip(image, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
