"""Sunlight on the floor of a swimming pool.

Rays of sunlight are bent at a wavy surface (Snell's law) and gathered on the floor: photons are splatted
and their density is the light there, as in Arvo 1986 ("Backward ray tracing"). Red, green and blue are bent
a little differently. The floor is then looked at through the same waves, which make its tiles swim.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage

FPS = 25
PATCH, DEPTH = 1.4, 0.8  # metres: side of the picture (the waves repeat there), and depth of the water
WIND_SIDE, SLOPE = 0.35, 0.125  # how much the waves keep to one direction; their root mean square slope
LONGEST, SHORTEST = 0.75, 0.11  # wavelengths in metres
INDEX = (1.326, 1.333, 1.340)  # of refraction, for red, green and blue: a little more dispersion than water's
SUN = np.array([0.28, 0.17])  # slope of the sun's rays in air, x and y
PHOTONS = 4  # a side, for each pixel
TILE, GROUT = PATCH / 5, 0.011  # metres


def waves(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Wavenumbers, frequencies and random amplitudes of the ripples on an n x n grid."""
    k = 2 * np.pi * fft.fftfreq(n, PATCH / n)
    kx, ky = np.meshgrid(k, k)
    size = np.hypot(kx, ky)
    size[0, 0] = 1
    omega = np.sqrt((9.81 * size + 7.3e-5 * size**3) * np.tanh(size * DEPTH))  # gravity and surface tension
    band = np.exp(-((2 * np.pi / LONGEST / size) ** 4) - (size * SHORTEST / (2 * np.pi)) ** 2)
    facing = 1 + WIND_SIDE * (kx * 0.8 + ky * 0.6) / size
    amplitude = band * facing * size**-2.6 * (rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))
    amplitude[0, 0] = 0
    slope = np.sqrt((np.abs(size * amplitude) ** 2).sum() / 2)
    return kx, ky, omega, amplitude * SLOPE / slope * n**2


def splat(x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Density of points (in pixels, wrapped round) on an n x n grid, each shared by its four neighbours."""
    i, j = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    fy, fx = y - i, x - j
    density = np.zeros(n * n)
    for row, column, weight in (
        (i, j, (1 - fy) * (1 - fx)),
        (i, j + 1, (1 - fy) * fx),
        (i + 1, j, fy * (1 - fx)),
        (i + 1, j + 1, fy * fx),
    ):
        density += np.bincount((row % n * n + column % n).ravel(), weight.ravel(), n * n)
    return density.reshape(n, n).astype(np.float32)


def tiles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Glazed tiles and their grout, each a little different, (n, n, 3) in linear light."""
    at = (np.arange(n) + 0.5) * PATCH / n
    edge = np.minimum(at % TILE, TILE - at % TILE)
    cover = np.clip((edge - GROUT / 2) / 0.006 + 0.5, 0, 1)
    cover = (cover[:, None] * cover[None, :])[..., None]
    count = round(PATCH / TILE)
    tint = 1 + 0.10 * rng.standard_normal((count, count, 1)) + 0.04 * rng.standard_normal((count, count, 3))
    which = (at // TILE).astype(int)
    glaze = np.float32([0.10, 0.50, 0.68]) * tint[which[:, None], which[None, :]]
    return (cover * glaze + (1 - cover) * np.float32([0.62, 0.80, 0.84])).astype(np.float32)


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws a pool's floor from above: uint8 frames of `(size, size, 3)`."""
    rng = np.random.default_rng(seed)
    fine = 2 * size
    kx, ky, omega, amplitude = waves(fine, rng)
    floor = tiles(fine, rng)
    pixel = PATCH / fine
    photons = np.arange(0, fine, 2 / PHOTONS) + 0.5 / PHOTONS
    px, py = np.meshgrid(photons, photons)

    for frame in range(num_frames):
        modes = amplitude * np.exp(-1j * omega * (frame / FPS + 50))
        slopes = fft.ifft2(np.stack([1j * kx * modes, 1j * ky * modes])).real
        # At small angles Snell's law turns a ray by (1 - 1/n) of the surface's tilt.
        at_photons = [ndimage.zoom(s, PHOTONS / 2, order=1, mode="grid-wrap", grid_mode=True) for s in slopes]
        light = np.empty((fine, fine, 3), np.float32)
        for channel, index in enumerate(INDEX):
            fall = [SUN[axis] / index - (1 - 1 / index) * at_photons[axis] for axis in (0, 1)]
            x, y = px + fall[0] * DEPTH / pixel, py + fall[1] * DEPTH / pixel
            light[..., channel] = splat(x, y, fine) * (2 / PHOTONS) ** 2
        light = ndimage.gaussian_filter(light, (1.0, 1.0, 0), mode="wrap")  # the sun is half a degree wide

        # The eye's rays are bent just as the sun's are.
        rows, columns = np.indices((fine, fine), np.float32)
        shift = [-(1 - 1 / INDEX[1]) * s * DEPTH / pixel for s in slopes]
        lit = floor * (0.10 + 0.82 * light)
        seen = [
            ndimage.map_coordinates(c, [rows + shift[1], columns + shift[0]], order=1, mode="grid-wrap")
            for c in np.moveaxis(lit, -1, 0)
        ]
        image = np.stack(seen, -1) * np.float32([0.72, 0.96, 1.0])  # what a metre of water lets through
        sheen = np.clip(0.5 + 1.6 * (slopes[0] * 0.6 - slopes[1] * 0.8), 0, 1)[..., None] ** 2
        image += 0.05 * sheen * np.float32([0.8, 0.9, 1.0])  # the sky in the surface
        image = 1 - np.exp(-1.25 * image)
        image = image.reshape(size, 2, size, 2, 3).mean((1, 3))
        yield (255 * np.clip(image * 1.1, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)
