"""Rain on a dark pond under a bright sky.

Every drop knocks a crater into the surface, which spreads as rings of water waves: short ones first, held
up by surface tension, long ones after, by gravity (Lamb, "Hydrodynamics", art. 267). The linear waves are
moved mode by mode in the Fourier domain, exactly and whatever the step; drops are a Poisson process in
time. The picture is the sky and the trees of the far bank, mirrored in the slopes, and the bed seen through
the surface (Fresnel, Snell).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage

FPS = 25
GRID, PATCH = 640, 1.0  # samples a side of the periodic pond, and its side in metres
NEAR, FAR = 0.40, 0.90  # width of the water in the picture at its lower and upper edge, in metres
DROPS = 60.0  # a second, on the whole pond
CRATER = 0.0062  # metres: radius of a typical drop's crater
VISCOSITY = 6e-6  # m^2/s: more than water's, as for a surface that is never quite clean
CALMING = 0.9  # 1/s
WARM_UP = 60  # frames until there are as many rings as there will be
SUPERSAMPLE = 2


class Pond:
    """Waves on the pond: the complex amplitude of every mode, real part height, imaginary part motion."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        k = 2 * np.pi * fft.fftfreq(GRID, PATCH / GRID)
        self.kx, self.ky = np.meshgrid(k[: GRID // 2 + 1], k)
        self.kx = np.abs(self.kx)
        size = np.hypot(self.kx, self.ky)
        self.omega = np.sqrt(9.81 * size + 7.3e-5 * size**3)
        self.decay = 2 * VISCOSITY * size**2 + CALMING
        self.size = size
        self.height = np.zeros(size.shape, complex)
        self.motion = np.zeros(size.shape, complex)  # rate of the height over omega

    def step(self, dt: float) -> None:
        """Moves on by `dt` seconds and lets fall the drops of that time."""
        cos, sin = np.cos(self.omega * dt), np.sin(self.omega * dt)
        fade = np.exp(-self.decay * dt)
        self.height, self.motion = (
            fade * (cos * self.height + sin * self.motion),
            fade * (cos * self.motion - sin * self.height),
        )
        for _ in range(self.rng.poisson(DROPS * dt)):
            x, y = self.rng.uniform(0, PATCH, 2)
            strength = self.rng.lognormal(0, 0.35)
            radius = CRATER * strength**0.5
            # A crater with a rim, without volume: the Laplacian of a bell.
            bell = (self.size * radius) ** 2 * np.exp(-0.5 * (self.size * radius) ** 2)
            there = np.exp(-1j * (self.kx * x + self.ky * y))
            self.height -= 0.0044 * strength * 2 * np.pi * radius**2 * bell * there

    def slopes(self) -> np.ndarray:
        """Slopes along x and y, (2, GRID, GRID)."""
        modes = np.stack([1j * self.kx * self.height, 1j * self.ky * self.height])
        return fft.irfft2(modes, (GRID, GRID)) * (GRID / PATCH) ** 2


def surroundings(up: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Light from above the pond, for a direction's height (0 to 1) and its angle across (... 3).

    Dark trees, whose tops rise and fall around the pond, stand before a bright sky that is bluer overhead.
    """
    edge = 0.60 + 0.035 * np.sin(5.0 * across + 1) + 0.02 * np.sin(11.0 * across)
    open_sky = (1 / (1 + np.exp(-(up - edge) / 0.045)))[..., None]
    overhead = np.clip((up - 0.60) / 0.20, 0, 1)[..., None]
    sky = np.float32([0.92, 1.0, 1.0]) * (1 - overhead) + np.float32([0.06, 0.22, 0.38]) * overhead
    return sky * open_sky + np.float32([0.006, 0.034, 0.030]) * (1 - open_sky)


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws rings spreading on a pond: uint8 frames of `(size, size, 3)`."""
    pond = Pond(np.random.default_rng(seed))
    fine = size * SUPERSAMPLE
    v, u = np.meshgrid((np.arange(fine) + 0.5) / fine, (np.arange(fine) + 0.5) / fine - 0.5, indexing="ij")
    # A camera that looks down at a slant: rows further up lie further away, and are wider.
    width = 1 / (1 / FAR + v * (1 / NEAR - 1 / FAR))
    x = u * width
    y = 1.7 * (width - NEAR)
    place = [(0.1 - y) * GRID / PATCH, (x + 0.5) * GRID / PATCH]
    pitch = np.deg2rad(48 - 16 * (1 - v))  # of the eye's ray below the horizon
    eye_up, eye_ahead = -np.sin(pitch), np.cos(pitch)

    for frame in range(-WARM_UP, num_frames):
        pond.step(1 / FPS)
        if frame < 0:
            continue
        slope_x, slope_y = (
            ndimage.map_coordinates(s, place, order=1, mode="grid-wrap") for s in pond.slopes()
        )
        # Mirror the eye's ray (across, ahead, up) in the surface; row numbers grow towards the eye.
        normal = np.stack([-slope_x, slope_y, np.ones_like(slope_x)])
        normal /= np.sqrt((normal**2).sum(0))
        facing = -(normal[1] * eye_ahead + normal[2] * eye_up)
        mirror_up = eye_up + 2 * facing * normal[2]
        mirror_across = 0.9 * u + 2 * facing * normal[0]
        fresnel = (0.02 + 0.98 * (1 - np.clip(facing, 0, 1)) ** 5)[..., None]
        sky = surroundings(mirror_up, mirror_across)
        bed = np.float32([0.010, 0.022, 0.022]) * (1 + 2.0 * slope_y[..., None])
        image = bed * (1 - fresnel) + sky * fresnel * 24
        image = 1 - np.exp(-1.5 * np.clip(image, 0, None))
        image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean((1, 3))
        yield (255 * np.clip(image, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
