"""Conditional generative ConvNets, Wang, Li & Xia, "Conditional Generative ConvNets for Exemplar-based
Texture Synthesis", IEEE Transactions on Image Processing 2021 (arXiv 1912.07971).

    U(x; w) = sum over layers |S_l(x; w) - S_l(exemplar; w)|^2 + small |x|^2

S_l are statistics of the l-th layer of a small spatio-temporal ConvNet: its Gram matrix, or its mean. Nothing
is pretrained. By turns the sample goes down the energy, until its statistics are the exemplar's, and the
weights go up it, to where the statistics still differ (the gradient of the likelihood, Eq. 8 there).

Statistics are means over space and time, so a sample may be longer or larger than its exemplar.
"""

import math
import time
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length

STATISTICS = ("gram", "mean")
SHORTEST = 4  # frames and pixels that two poolings leave something of
SCALE = 1e12  # of the energy, so that RMSprop's epsilon means nothing
PRIOR = 1e-8  # of |x|^2
DECAY = 0.9  # of RMSprop


class Energy(nn.Module):
    """The ConvNet: four convolutions of 2 x 3 x 3 clipped to [0, 1], an average pooling after every two."""

    def __init__(self, features: int, statistics: str) -> None:
        super().__init__()
        widths = [3, 2 * features, 2 * features, features, features]
        self.convs = nn.ModuleList(nn.Conv3d(i, o, (2, 3, 3)) for i, o in pairwise(widths))
        self.of = gram if statistics == "gram" else mean

    def initialise(self, rng: torch.Generator) -> None:
        for conv in self.convs:
            assert isinstance(conv, nn.Conv3d) and conv.bias is not None
            nn.init.xavier_uniform_(conv.weight, generator=rng)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The statistics of each layer, of a clip `(B, 3, T, H, W)` around 0."""
        found = []
        for depth, conv in enumerate(self.convs, 1):
            x = conv(F.pad(x, (1, 1, 1, 1, 0, 1))).clamp(0, 1)  # B C T H W: of its own size
            found.append(self.of(x))
            if depth % 2 == 0:
                x = F.avg_pool3d(x, 2)
                found.append(self.of(x))
        return found


def gram(x: Tensor) -> Tensor:
    """Mean products of channels, `(B, C, C)`."""
    flat = x.flatten(2)  # B C THW
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def mean(x: Tensor) -> Tensor:
    """Means of channels, `(B, C)`."""
    return x.mean((2, 3, 4))


def mismatch(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """How far statistics are from those wanted: the mean squares of each layer, added."""
    return torch.stack([(a - b).square().mean() for a, b in zip(found, wanted, strict=True)]).sum()


class CgCNN:
    """Synthesises each sample together with the weights that judge it: what is fitted is the exemplar alone.

    Args:
        statistics: "gram" or "mean".
        iterations: turns of `inner` steps of the sample and one of the weights.
        inner: see above.
        features: channels of the two upper convolutions; the two lower ones have twice as many.
        learning_rate: of RMSprop, for the weights and for the sample, whose unit is the range from black to
            white.
        noise_std: of the noise that a sample begins as, in that unit.
        seed: of the weights at the start.

    Raises:
        ValueError: statistics that do not exist.
    """

    def __init__(
        self,
        statistics: str = "gram",
        iterations: int = 1000,
        inner: int = 10,
        features: int = 64,
        learning_rate: float = 0.001,
        noise_std: float = 0.1,
        seed: int = 0,
    ) -> None:
        if statistics not in STATISTICS:
            raise ValueError(f"statistics must be one of {' and '.join(STATISTICS)}, got {statistics!r}")
        self.statistics = statistics
        self.iterations = iterations
        self.inner = inner
        self.features = features
        self.learning_rate = learning_rate
        self.noise_std = noise_std
        self.seed = seed

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        check_clip(clip, "cgCNN", num_frames=SHORTEST, side=SHORTEST)
        unit = (clip.float() + 1) / 2
        self.mean_color = unit.mean((2, 3, 4), keepdim=True)
        self.exemplar = unit - self.mean_color  # 1 3 T H W around 0
        if on_progress:
            on_progress(1.0, "the exemplar")

    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """As every baseline's; `size` is the height and width, those of the clip unless given."""
        check_length(num_frames)
        height, width = size or (self.exemplar.shape[3], self.exemplar.shape[4])
        until = math.inf if seconds is None else time.monotonic() + seconds
        with torch.random.fork_rng(devices=[]):  # torch's own start, of which nothing stays
            net = Energy(self.features, self.statistics)
        net.initialise(torch.Generator().manual_seed(self.seed))
        shape = (1, 3, max(num_frames, SHORTEST), max(height, SHORTEST), max(width, SHORTEST))
        x = (self.noise_std * torch.randn(shape, generator=generator)).requires_grad_(True)
        descent = torch.optim.RMSprop([x], self.learning_rate, alpha=DECAY)
        ascent = torch.optim.RMSprop(net.parameters(), self.learning_rate, alpha=DECAY, maximize=True)
        for turn in range(self.iterations):
            # the sample down the energy: its statistics towards the exemplar's
            net.requires_grad_(False)
            wanted = net(self.exemplar)
            for _ in range(self.inner):
                energy = mismatch(net(x), wanted) + PRIOR * x.square().sum()
                descent.zero_grad(set_to_none=True)
                (SCALE * energy).backward()
                descent.step()
                if time.monotonic() > until:
                    break
            is_last = turn == self.iterations - 1 or time.monotonic() > until
            if on_progress:
                done = f"turn {turn + 1} of {self.iterations}, energy {energy.item():.2e}"
                on_progress(1.0 if is_last else (turn + 1) / self.iterations, done)
            if is_last:
                break
            # the weights up the energy: to statistics in which the two still differ
            net.requires_grad_(True)
            ascent.zero_grad(set_to_none=True)
            (SCALE * mismatch(net(x.detach()), net(self.exemplar))).backward()
            ascent.step()
        video = x.detach()[:, :, :num_frames, :height, :width] + self.mean_color
        return 2 * video.clamp(0, 1) - 1
