"""The open sea under an evening sky.

The surface is the sum of waves of Tessendorf 2001 ("Simulating ocean water"): a wind-sea spectrum given
random phases, moved by the dispersion relation of deep water, summed by an FFT, its crests sharpened by a
choppy displacement. Each pixel's ray finds the surface, and sees the sky in it (Fresnel), the sun's glitter
by the slopes too small for the grid (Cox and Munk 1954), light from within the water, and foam where the
surface has folded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft, ndimage

FPS = 25
GRID, PATCH = 512, 120.0  # samples a side of the periodic patch of sea, and its side in metres
WIND = 13.0  # m/s
RIPPLE_PATCH = 11.3  # a second, smaller patch for what the first is too coarse for
WIND_DIRECTION = np.deg2rad(-65)  # 0 is to the right, -90 towards the eye
CHOPPINESS = 1.1
FOAM_LIFE = 3.0  # seconds
WARM_UP = 60  # frames until the first foam is forgotten

EYE_HEIGHT, PITCH, FIELD_OF_VIEW = 7.0, np.deg2rad(-13), np.deg2rad(40)  # metres and angles of the camera
SUN = np.float32([0.10, 0.965, 0.24])  # towards the sun: right, ahead, up
SUPERSAMPLE = 2


class Sea:
    """A periodic patch of sea: height, slopes and choppy displacement at any time."""

    def __init__(self, patch: float, shortest: float, longest: float, rng: np.random.Generator) -> None:
        """Args: side of the patch, and the wavelengths it holds, in metres."""
        k = 2 * np.pi * fft.fftfreq(GRID, patch / GRID)
        self.kx, self.ky = np.meshgrid(k, k)  # axis 1 is x, to the right; axis 0 is y, ahead
        self.k = np.hypot(self.kx, self.ky)
        self.k[0, 0] = 1
        self.omega = np.sqrt(9.81 * self.k * (1 + (self.k / 363) ** 2))  # deep water, some surface tension

        # JONSWAP's peaked wind sea (Hasselmann 1973), spread about the wind by cos^2.
        peak = 0.877 * 9.81 / WIND * 2.1  # a young sea, short and steep
        width = np.where(self.omega < peak, 0.07, 0.09)
        spectrum = 0.018 * 9.81**2 / self.omega**5 * np.exp(-1.25 * (peak / self.omega) ** 4)
        spectrum *= 2.2 ** np.exp(-0.5 * ((self.omega / peak - 1) / width) ** 2)
        along = (self.kx * np.cos(WIND_DIRECTION) + self.ky * np.sin(WIND_DIRECTION)) / self.k
        spread = np.where(along > 0, 2 / np.pi * along**2, 0) * 0.93 + 0.07 / (2 * np.pi)
        energy = spectrum * spread * (9.81 / (2 * self.omega)) / self.k * (2 * np.pi / patch) ** 2
        energy *= (self.k > 2 * np.pi / longest) & (self.k < 2 * np.pi / shortest)
        energy[0, 0] = 0
        phase = rng.standard_normal((2, GRID, GRID))
        self.amplitude = np.sqrt(energy / 2) * (phase[0] + 1j * phase[1]) * GRID**2

        # Far away a pixel holds many waves: smoothed copies of the maps, one octave apart, stand in for them.
        self.footprints = patch / GRID * 2.0 ** np.arange(5)
        self.filters = [1, *(np.exp(-0.5 * (self.k * f * 0.5) ** 2) for f in self.footprints[1:])]

    def maps(self, seconds: float, levels: int = 5) -> np.ndarray:
        """Height, slopes (x, y) and displacement (x, y) at each smoothing: (levels, 5 maps, GRID, GRID)."""
        h = self.amplitude * np.exp(-1j * self.omega * seconds)
        shift = -1j * CHOPPINESS / self.k * h  # crests are drawn together
        spectra = [h, 1j * self.kx * h, 1j * self.ky * h, -self.kx * shift, -self.ky * shift]
        stack = np.stack([[s * f for s in spectra] for f in self.filters[:levels]]).astype(np.complex64)
        return fft.ifft2(stack).real

    def folding(self, maps: np.ndarray) -> np.ndarray:
        """Area of the displaced surface over its area at rest; little or negative where crests break."""
        (xy, xx), (yy, yx) = (
            [(np.roll(d, -1, axis) - np.roll(d, 1, axis)) * GRID / (2 * PATCH) for axis in (0, 1)]
            for d in (maps[0, 3], maps[0, 4])
        )
        return (1 + xx) * (1 + yy) - xy * yx


def look_up(field: np.ndarray, x: np.ndarray, y: np.ndarray, patch: float = PATCH) -> np.ndarray:
    """The periodic field at points in metres."""
    scale = GRID / patch
    return ndimage.map_coordinates(field, [y * scale, x * scale], order=1, mode="grid-wrap")


def mix(
    finer: np.ndarray, coarser: np.ndarray, share: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Two neighbouring levels of a map at points in metres, blended by the coarser's share."""
    return look_up(finer, x, y) * (1 - share) + look_up(coarser, x, y) * share


def sky(up: np.ndarray, azimuth_dot_sun: np.ndarray) -> np.ndarray:
    """Light of the clear evening sky, for the height of a direction and its cosine with the sun (... 3)."""
    up, near = np.clip(up, 0, 1)[..., None], np.clip(azimuth_dot_sun, 0, 1)[..., None]
    low = np.float32([0.95, 0.60, 0.36]) * (0.5 + 0.6 * near**6)
    high = np.float32([0.11, 0.25, 0.50])
    haze = np.exp(-up * 6.5)
    return low * haze + high * (1 - haze) + np.float32([1.0, 0.62, 0.28]) * 0.6 * near**48


def rays(size: int) -> np.ndarray:
    """Unit directions (right, ahead, up) through the pixels, (3, size, size)."""
    half = np.tan(FIELD_OF_VIEW / 2)
    across = np.linspace(-half, half, size, dtype=np.float32)
    right, up = np.meshgrid(across, -across)
    ahead, up = np.cos(PITCH) - up * np.sin(PITCH), np.sin(PITCH) + up * np.cos(PITCH)
    d = np.stack([right, ahead, up])
    return d / np.sqrt((d**2).sum(0))


def render(num_frames: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Draws waves that roll towards the eye: uint8 frames of `(size, size, 3)`."""
    rng = np.random.default_rng(seed)
    shortest = 2.5 * PATCH / GRID
    sea = Sea(PATCH, shortest, 60.0, rng)
    ripples = Sea(RIPPLE_PATCH, 3 * RIPPLE_PATCH / GRID, shortest, rng)
    d = rays(size * SUPERSAMPLE)
    backdrop = sky(d[2], np.tensordot(SUN, d, 1))
    wet = d[2] < -0.004
    right, ahead, up = (c[wet] for c in d)
    reach = EYE_HEIGHT / -up
    pixel = FIELD_OF_VIEW / (size * SUPERSAMPLE)
    level = np.clip(np.log2(reach * pixel / np.sqrt(-up) / sea.footprints[0]), 0, len(sea.footprints) - 1.001)
    lower, blend = level.astype(int), level % 1
    groups = [(np.flatnonzero(lower == i), i) for i in range(len(sea.footprints) - 1)]
    far = np.exp(-reach / 1500)[:, None]
    haze = sky(np.full_like(up, 0.01), SUN[0] * right + SUN[1] * ahead)
    foam = np.zeros((GRID, GRID), np.float32)

    for frame in range(-WARM_UP, num_frames):
        maps = sea.maps(100 + frame / FPS, levels=1 if frame < 0 else 5)
        fresh = np.clip((0.42 - sea.folding(maps)) * 2.2, 0, 1)
        foam = np.maximum(foam * np.exp(-1 / FPS / FOAM_LIFE), fresh)
        if frame < 0:
            continue

        fine = ripples.maps(100 + frame / FPS, levels=3)[:, 1:3]
        slope_x, slope_y, hit_foam = (np.zeros(right.shape, np.float32) for _ in range(3))
        for where, i in groups:
            finer, coarser, w = maps[i], maps[i + 1], blend[where]
            # The ray meets the surface at the point that the choppy waves carried there: both found together.
            t, dx, dy = reach[where], 0.0, 0.0
            for _ in range(3):
                x, y = t * right[where] - dx, t * ahead[where] - dy
                height, dx, dy = (mix(finer[j], coarser[j], w, x, y) for j in (0, 3, 4))
                t = 0.4 * t + 0.6 * (EYE_HEIGHT - height) / -up[where]
            slope_x[where], slope_y[where] = (mix(finer[j], coarser[j], w, x, y) for j in (1, 2))
            if i < 2:  # near enough to tell ripples apart
                fade = 0.8 * np.clip(1.2 - level[where], 0, 1)
                slope_x[where] += fade * look_up(fine[1, 0], x, y, RIPPLE_PATCH)
                slope_y[where] += fade * look_up(fine[1, 1], x, y, RIPPLE_PATCH)
            hit_foam[where] = look_up(foam, x, y) / (1 + 0.35 * (i + w))

        # The normal, turned back where it would face away from the eye (a wave's hidden side).
        normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)])
        normal /= np.sqrt((normal**2).sum(0))
        facing = -(normal[0] * right + normal[1] * ahead + normal[2] * up)
        facing = np.maximum(facing, 0.02)
        rough = 0.008 + 0.04 * level / 4  # slopes below the map's resolution
        fresnel = 0.02 + 0.98 * (1 - facing) ** 5 / (1 + 9 * rough)
        mirror = np.stack([right, ahead, up]) + 2 * facing * normal
        mirror[2] = np.abs(mirror[2]) + 0.6 * rough
        to_sun = np.tensordot(SUN, mirror, 1)
        half = SUN[:, None] - np.stack([right, ahead, up])
        half /= np.sqrt((half**2).sum(0))
        off = 1 / np.clip((half * normal).sum(0), 0.1, 1) ** 2 - 1  # tan^2 of the angle to a mirror's
        glitter = np.exp(-off / rough) / rough * 0.009

        # Light from within: green where a crest is thin against the low sun.
        crest = np.clip(0.5 + 0.9 * slope_y, 0, 1.5)[:, None]
        body = np.float32([0.003, 0.018, 0.030]) + np.float32([0.008, 0.075, 0.070]) * crest
        water = body * (1 - fresnel[:, None]) + sky(mirror[2], to_sun) * fresnel[:, None]
        water += glitter[:, None] * np.float32([1.0, 0.72, 0.42])
        patch = np.clip(hit_foam, 0, 1)[:, None]
        water += (np.float32([0.62, 0.60, 0.58]) - water) * patch
        image = backdrop.copy()
        image[wet] = water * far + haze * (1 - far)

        image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3)
        # The film's shoulder comes first, so that a glint does not fill its pixel.
        image = (1 - np.exp(-1.35 * image)).mean((1, 3))
        yield (255 * np.clip(image * 1.15, 0, 1) ** (1 / 1.9) + 0.5).astype(np.uint8)
