"""What a training will cost, told before it starts: arithmetic, memory, and time on this machine."""

import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dtsgan.config import Config, ModelConfig, at_scale
from dtsgan.errors import ConfigError
from dtsgan.pyramid import Size, scale_sizes

PATCH_FLOPS = 2 * 32 * 3 * 3 * 7 * 7 / 4  # of the sliced Wasserstein distance, a voxel and pass
# Of the convolutions' own rate that training reaches (measured, benchmarks/results): sorting, noise and
# optimisers take the rest, and a batch of one keeps the cores less busy.
EFFICIENCY, EFFICIENCY_OF_ONE = 0.75, 0.5
LIBRARIES = 530 * 2**20  # bytes of torch and its like, before anything is done (measured)
# as much work as fitting the patch transport is, a pixel of its finest rung, where 112 frames of the source
# are kept: between what one busy thread (1.1e8) and two idle ones (2.1e8) took
FIT_FLOPS = 1.5e8
FIT_BYTES = 90_000  # of it, the same (measured at 92 pixels)
FIT_FRAMES = 112
FIT_ALIKE = 0.5  # part of the time, and of the bytes, that is the same however many are kept (measured)
FIT_BYTES_ALIKE = 0.85


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds on this machine, and bytes at the peak."""

    seconds: float
    memory: int


def estimate(config: Config, num_frames: int, size: Size, device: torch.device) -> Estimate:
    """Cost of training `config` on a clip of `num_frames` at `size` (height, width)."""
    sizes = scale_sizes(config.pyramid, *size)
    flops = sum(scale_flops(config, n, s, num_frames) for n, s in enumerate(sizes))
    rate = convolution_rate(device)
    efficiency = EFFICIENCY_OF_ONE if config.train.batch_size == 1 else EFFICIENCY
    return Estimate(seconds=flops / (efficiency * rate), memory=peak_memory(config, num_frames, sizes))


def scale_flops(config: Config, scale: int, size: Size, num_frames: int) -> float:
    """Arithmetic of one scale's training on a clip of `num_frames`."""
    train, model = config.train, config.model
    if scale == 0 and model.coarse == "linear":
        return FIT_FLOPS * size[0] * size[1] * _fit_share(model, num_frames, FIT_ALIKE)
    adversary = at_scale(train.adversary, scale)
    frames = config.pyramid.num_frames
    rows, columns = (min(train.crop or side, side) for side in size)
    g = _network_flops(model.num_layers, at_scale(model.features, scale), frames, rows, columns, grows=True)
    g_steps = train.g_steps * 3 * g * (bool(at_scale(train.rec_weight, scale)) + 1)  # forward and backward: 3
    d_steps = 0.0
    if adversary != "none":
        width = at_scale(train.d_features, scale) or at_scale(model.features, scale)
        d = _network_flops(model.num_layers, width, frames, rows, columns, grows=False)
        penalty = 6 * d if adversary == "wgan-gp" else 0.0
        d_steps = train.d_steps * (g + 6 * d + penalty)
        g_steps += train.g_steps * 2 * d
    if at_scale(train.swd_weight, scale):
        g_steps += train.g_steps * 3 * PATCH_FLOPS * frames * rows * columns
    return train.batch_size * at_scale(train.steps, scale) * (g_steps + d_steps)


def peak_memory(config: Config, num_frames: int, sizes: list[Size]) -> int:
    """Bytes that the largest scale needs: the clips of all scales, what the closed-form scale was fitted in,
    the pool of fakes and one step's tensors."""
    clips = 3 * 4 * num_frames * sum(h * w for h, w in sizes) * 2
    steps = []
    for n, size in enumerate(sizes):
        rows, columns = (min(config.train.crop or side, side) + 2 * config.model.margin for side in size)
        voxels = (
            config.train.batch_size * rows * columns * (config.pyramid.num_frames + 2 * config.model.margin)
        )
        width = max(at_scale(config.model.features, n), at_scale(config.train.d_features, n))
        copies = 10 if at_scale(config.train.adversary, n) == "wgan-gp" else 5
        below = sizes[max(0, n - 1)]
        pool = 3 * 4 * config.train.pool_frames * below[0] * below[1]
        steps.append(pool + voxels * width * config.model.num_layers * 2 * copies)
    share = _fit_share(config.model, num_frames, FIT_BYTES_ALIKE)
    fit = round(FIT_BYTES * sizes[0][0] * sizes[0][1] * share)
    return LIBRARIES + clips + fit + max(steps)


def _fit_share(model: ModelConfig, num_frames: int, alike: float) -> float:
    """What fitting the patch transport takes beside one with `FIT_FRAMES`; none without one."""
    if not model.patch_transport:
        return 0.0
    return alike + (1 - alike) * min(num_frames, model.patch_frames) / FIT_FRAMES


def check_memory(config: Config, num_frames: int, size: Size, device: torch.device) -> None:
    """
    Raises:
        ConfigError: if the training cannot fit into this machine's memory.
    """
    needed = peak_memory(config, num_frames, scale_sizes(config.pyramid, *size))
    available = available_memory(device)
    if needed > available:
        raise ConfigError(
            f"this training needs about {needed / 2**30:.1f} GB and {available / 2**30:.1f} GB are free: "
            "choose a smaller --size, a shorter part (--start, --end) or --set batch_size=1"
        )


def available_memory(device: torch.device) -> int:
    """Bytes that a training may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def convolution_rate(device: torch.device, seconds: float = 0.4) -> float:
    """Floating point operations a second of a typical convolution, forward and backward, measured now."""
    dtype = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    format_ = torch.channels_last_3d
    # two clips: on one thread torch leaves oneDNN for a single one, and is ten times slower
    x = torch.randn(2, 16, 20, 56, 56, device=device, dtype=dtype).contiguous(memory_format=format_)
    weight = torch.randn(16, 16, 3, 3, 3, device=device, dtype=dtype).contiguous(memory_format=format_)
    x.requires_grad_(True)
    weight.requires_grad_(True)
    flops = 2 * 3 * 2 * 16 * 16 * 27 * 18 * 54 * 54

    def once() -> float:
        began = time.perf_counter()
        torch.autograd.grad(F.conv3d(x, weight).sum(), (x, weight))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()  # the first one chooses and builds its kernels, for seconds on a busy machine
    until = time.perf_counter() + seconds
    best = min(once() for _ in range(3))
    while time.perf_counter() < until:
        best = min(best, once())
    return flops / best


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster here than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return False


def _network_flops(layers: int, width: int, frames: int, rows: int, columns: int, grows: bool) -> float:
    """One forward pass of unpadded 3x3x3 convolutions; `grows`: the input is larger and the output of this
    size."""
    total = 0.0
    for layer in range(layers):
        cut = 2 * (layers - 1 - layer) if grows else -2 * (layer + 1)
        inputs, outputs = (3 if layer == 0 else width), (3 if layer == layers - 1 else width)
        total += 2 * 27 * inputs * outputs * max(1, frames + cut) * max(1, rows + cut) * max(1, columns + cut)
    return total


__all__ = ["Estimate", "available_memory", "check_memory", "estimate", "has_fast_bfloat16", "scale_flops"]
