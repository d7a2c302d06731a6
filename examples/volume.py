"""Light in smoke and clouds: what a grid of droplets looks like, shaded by itself."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SUN, SKY = np.float32([1.08, 0.95, 0.80]), np.float32([0.15, 0.20, 0.28])  # colours of the light


def look_through(
    density: np.ndarray, size: int, opacity: float, shade: float, sun: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """What reaches the eye along axis 2, by single scattering (Kajiya and Von Herzen 1984).

    Args:
        density: of the droplets, (height, width, depth); row 0 is the top, depth 0 nearest to the eye.
        size: pixels a side of the picture.
        opacity, shade: absorption by a cell of density 1 towards the eye, and towards a light.
        sun: share of the sunlight that comes from above, from the left and from the eye's side.

    Returns:
        Light from the volume, (size, size, 3), and the share of the background behind that it lets pass,
        (size, size, 1).
    """
    passed = [np.cumsum(density, axis=axis) - 0.5 * density for axis in range(3)]
    lit = sum(share * np.exp(-shade * depth) for share, depth in zip(sun, passed, strict=True))
    open_sky = np.exp(-0.25 * shade * np.cumsum(density, axis=0))
    through = np.exp(-opacity * np.cumsum(density, axis=2))
    weight = through * (np.exp(opacity * density) - 1)  # what each cell stops of the way to the eye
    light = (weight * lit).sum(2)[..., None] * SUN + (weight * open_sky).sum(2)[..., None] * SKY
    picture = np.concatenate([light, through[:, :, -1:]], -1)
    zoom = [size / n for n in picture.shape[:2]] + [1]
    picture = np.clip(ndimage.zoom(picture, zoom, order=3, mode="nearest", grid_mode=True), 0, None)
    return picture[..., :3], np.minimum(picture[..., 3:], 1)
