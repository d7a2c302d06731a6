"""All randomness: noise addressed by (seed, scale, absolute frame, place), and the training-step rule.

Noise is a pure function of its address (a counter-based generator in the manner of Salmon et al. 2011, with
the finaliser of SplitMix64, Steele et al. 2014), so a video does not depend on the order, the chunks, the
batch or the device it is drawn in: frame 1,000,000 can be drawn without those before it, a window of a large
canvas without the rest, and a loop or a tile is noise whose addresses are taken modulo the period.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

REC_SEED = -1  # the seed of z*, the noise that gives back the training clip (Eq. 4); users' seeds are >= 0

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def gaussian(
    seeds: Sequence[int], scale: int, frames: Tensor, channels: int, rows: Tensor, columns: Tensor
) -> Tensor:
    """Standard normal noise at the given addresses.

    Args:
        seeds: one seed a video; `REC_SEED` is the reconstruction noise.
        scale: the rung that the noise enters, 0 is the coarsest.
        frames: `(T,)` int64, absolute frame numbers, any sign.
        channels: noise values at each place.
        rows, columns: `(H,)` and `(W,)` int64, absolute coordinates at this scale, within +-2^23.

    Returns:
        `(B, channels, T, H, W)` float32 on the device of `frames`.
    """
    device = frames.device
    key = _mix(torch.tensor([_signed(seed * _GOLDEN) for seed in seeds], device=device))
    key = _mix(key + _signed((scale + 1) * _MIX_1))
    key = _mix(key[:, None] + frames * _signed(_GOLDEN))  # B T
    channel = torch.arange(channels, device=device)
    place = (channel[:, None, None] << 48) + ((rows[:, None] + 2**23) << 24) + (columns + 2**23)
    place = _mix(place)  # C H W
    bits = _mix(key[:, None, :, None, None] ^ place[None, :, None])  # B C T H W
    # Box-Muller on two 24-bit uniforms, each exact in float32; the first is in (0, 1]
    u = (((bits >> 40) & 0xFFFFFF) + 1).float().mul_(2.0**-24)
    v = ((bits >> 8) & 0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24)
    return u.log_().mul_(-2).sqrt_().mul_(v.cos_())


def step_generator(seed: int, scale: int, step: int) -> torch.Generator:
    """The generator of one training step. It depends on nothing but its arguments, so a resumed run equals an
    unbroken one. Always on the CPU, so that a seed means one run on every device."""
    address = torch.tensor([_signed(((seed + 1) * 1_000_003 + scale) * 10_000_019 + step)])
    return torch.Generator().manual_seed(int(_mix(address).item()) & (2**63 - 1))


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, whose products wrap as unsigned ones do."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _signed(_MIX_1)  # torch's >> keeps the sign: the mask drops it
    x ^= (x >> 27) & (2**37 - 1)
    x *= _signed(_MIX_2)
    x ^= (x >> 31) & (2**33 - 1)
    return x


def _signed(x: int) -> int:
    """The int64 with the same 64 bits as `x` modulo 2^64."""
    x &= 2**64 - 1
    return x - 2**64 if x >= 2**63 else x
