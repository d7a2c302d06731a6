"""The networks of the paper: scale generators, the pyramid they form, and the patch discriminator.

Every convolution is unpadded. Time is never padded at all: each scale is handed the frames before and after
that it needs, so every frame is made alike (a dynamic texture is stationary in time; so is the model). Space
is either the same (a *free* texture lives on an endless plane) or padded once, up front (an *anchored* scene:
borders are repeated, noise stops there, and the networks may be told where they are).

The names and addresses of the parameters are part of the file format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv3d_weight

from dtsgan import noise
from dtsgan.config import EncoderConfig, ModelConfig, at_scale
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.patch_transport import PatchTransport
from dtsgan.pyramid import Size, Upsampling, upsample, upsampling

SLOPE = 0.2  # of LeakyReLU, as in SinGAN
POSITION_CHANNELS = 6
HORIZON = 16  # frames on each side of a given picture in which its detail is carried
NOISE_REACH = 4  # frames beyond those that frame 0 sees, in which the encoder's noise fades out


@dataclass(frozen=True)
class Place:
    """A window of one scale's canvas, in absolute pixel coordinates; it may reach beyond the canvas."""

    canvas: Size
    rows: Tensor  # int64
    columns: Tensor  # int64
    anchored: bool

    def grown(self, margin: int) -> "Place":
        """The window with `margin` more pixels on each side."""
        return Place(self.canvas, _grown(self.rows, margin), _grown(self.columns, margin), self.anchored)

    def inside(self) -> tuple[Tensor, Tensor]:
        """The nearest rows and columns that the canvas has."""
        return self.rows.clamp(0, self.canvas[0] - 1), self.columns.clamp(0, self.canvas[1] - 1)

    def reading(self, coarse: Size, clamp: bool | None = None) -> tuple[Upsampling, Upsampling]:
        """How the window is read from a canvas of size `coarse` one scale below."""
        clamp = self.anchored if clamp is None else clamp
        rows = upsampling(self.rows, coarse[0], self.canvas[0], clamp)
        return rows, upsampling(self.columns, coarse[1], self.canvas[1], clamp)

    def noise(self, seeds: Sequence[int], scale: int, frames: Tensor, tile: tuple[bool, bool]) -> Tensor:
        """`(B, 3, T, H, W)` noise of this window: zero beyond an anchored canvas, periodic along tiled
        axes."""
        rows, columns = self.rows, self.columns
        rows = rows % self.canvas[0] if tile[0] else rows
        columns = columns % self.canvas[1] if tile[1] else columns
        z = noise.gaussian(seeds, scale, frames, 3, rows, columns)
        if self.anchored:
            inside = self.inside()
            z *= (rows == inside[0])[:, None] & (columns == inside[1])
        return z


def full_place(canvas: Size, anchored: bool, device: torch.device | str = "cpu") -> Place:
    """The window that is the whole canvas."""
    rows, columns = (torch.arange(side, device=device) for side in canvas)
    return Place(canvas, rows, columns, anchored)


class ScaleGenerator(nn.Module):
    """One rung: adds the detail that its resolution can hold, x = base + net(base + sigma z) (Eq. 1 and 2).

    `base` is the enlarged video of the scale below, plus the still detail of this scale where the scene is
    anchored; at scale 0 it is zero.
    """

    margin: int
    noise_std: Tensor
    static: Tensor | None
    activity: Tensor | None
    position: nn.Parameter | None

    def __init__(self, config: ModelConfig, features: int, canvas: Size, coarsest: bool) -> None:
        super().__init__()
        widths = [3] + [features] * (config.num_layers - 1)
        self.margin = config.margin
        self.convs = nn.ModuleList(nn.Conv3d(i, o, kernel_size=3) for i, o in pairwise(widths))
        norm = nn.BatchNorm3d if config.norm == "batch" else lambda _: nn.Identity()
        self.norms = nn.ModuleList(norm(o) for o in widths[1:])
        self.to_rgb = nn.Conv3d(widths[-1], 3, kernel_size=3)
        self.is_bounded = config.output == "tanh"
        self.register_buffer("noise_std", torch.ones(()))
        self.register_buffer("static", None)
        self.register_buffer("activity", None)
        self.position = None
        if config.anchored and config.static_layer and not coarsest:
            self.static = torch.zeros(3, *canvas, dtype=torch.float16)
            self.activity = torch.ones(canvas, dtype=torch.float16)
        if config.anchored and config.position_maps:
            self.position = nn.Parameter(torch.zeros(POSITION_CHANNELS, *canvas))
            self.from_position = nn.Conv2d(POSITION_CHANNELS, features, kernel_size=3, bias=False)
        convs: Any = self.convs
        for conv in convs:
            if not conv.weight.is_meta:  # there is nothing to draw, and asking would import torch's compiler
                nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            conv.bias.data.zero_()
        if config.norm == "none" and not coarsest:  # begin as the identity: the base alone
            self.to_rgb.weight.data.zero_()
            self.to_rgb.bias.data.zero_()  # type: ignore[union-attr]

    def base(self, coarse: Tensor, reading: tuple[Upsampling, Upsampling], place: Place) -> Tensor:
        """The enlarged window `(B, 3, T, H, W)` with the still detail of this scale added."""
        enlarged = upsample(coarse, *reading)
        if self.static is None:
            return enlarged
        rows, columns = place.inside()
        return enlarged + self.static[:, rows][:, :, columns][:, None].to(enlarged)

    def scale_noise(self, z: Tensor, place: Place) -> Tensor:
        """Noise `(B, 3, T, H, W)` as strong as the detail is at each place: still places stay still."""
        if self.activity is None:
            return z
        rows, columns = place.inside()
        return z * self.activity[rows][:, columns].to(z)

    def position_features(self, place: Place) -> Tensor | None:
        """What the first layer is told of where it is, `(1, F, 1, H-2, W-2)` for a window of `H x W`."""
        if self.position is None:
            return None
        rows, columns = place.inside()
        maps = self.position[:, rows][:, :, columns]
        return self.from_position(maps[None])[:, :, None]

    def forward(self, base: Tensor, noise: Tensor | None, position: Tensor | None = None) -> Tensor:
        """`base` and `noise` `(B, 3, T+2m, H+2m, W+2m)` to `(B, 3, T, H, W)`; no noise means z = 0."""
        m = self.margin
        x = base if noise is None else base + self.noise_std * noise
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if i == 0 and position is not None:
                x = x + position
            x = F.leaky_relu(norm(x), SLOPE)
        detail = self.to_rgb(x)
        return base[:, :, m:-m, m:-m, m:-m] + (detail.tanh() if self.is_bounded else detail)

    def folded(self) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Weight, bias and the norm's factor (for what else enters the layer) of every convolution, with the
        frozen statistics of the norm folded in."""
        layers: list[tuple[Tensor, Tensor, Tensor | None]] = []
        convs: Any = self.convs
        for conv, norm in zip(convs, self.norms, strict=True):
            weight, bias, factor = conv.weight, conv.bias, None
            if isinstance(norm, nn.BatchNorm3d):
                assert norm.running_mean is not None and norm.running_var is not None
                factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
                weight = weight * factor[:, None, None, None, None]
                bias = (bias - norm.running_mean) * factor + norm.bias
            layers.append((weight, bias, factor))
        assert self.to_rgb.bias is not None
        return [*layers, (self.to_rgb.weight, self.to_rgb.bias, None)]


class PyramidGenerator(nn.Module):
    """All rungs, the colours they work in, and what a canvas looks like at each of them."""

    color_mean: Tensor
    color_matrix: Tensor

    def __init__(self, model: ModelConfig, sizes: Sequence[Size], num_frames: int) -> None:
        """
        Args:
            sizes: height and width of the training clip at every scale, coarse to fine.
            num_frames: length of the training video.
        """
        super().__init__()
        self.config = model
        self.sizes = list(sizes)
        self.num_frames = num_frames
        self.transport: PatchTransport | None = None
        if model.patch_transport:
            self.transport = PatchTransport(
                self.sizes[0], num_frames, model.patch_stride, model.contrast, model.patch_passes,
                model.agreement, model.patch_frames, model.guided_fades, model.aligned_fades,
            )  # fmt: skip
        scales: list[nn.Module] = []
        for n, canvas in enumerate(self.sizes):
            if n == 0 and model.coarse == "linear":
                states = LinearDynamics.num_states(num_frames, model.num_components)
                size = self.transport.sizes[0] if self.transport else canvas
                scales.append(LinearDynamics(size, states, model.num_lags, num_frames))
            else:
                scales.append(ScaleGenerator(model, at_scale(model.features, n), canvas, coarsest=n == 0))
        self.scales = nn.ModuleList(scales)
        self.register_buffer("color_mean", torch.zeros(3))
        self.register_buffer("color_matrix", torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))

    @property
    def num_scales(self) -> int:
        return len(self.scales)

    def canvas(self, height: int, width: int) -> list[Size]:
        """Size of every scale for a finest canvas of `height` x `width`, by the factors of the training
        clip."""
        own = self.sizes[-1]
        return [
            (max(1, round(height * h / own[0])), max(1, round(width * w / own[1]))) for h, w in self.sizes
        ]

    def truncated(self, num_scales: int) -> "PyramidGenerator":
        """A copy of the coarsest scales alone: a model of the texture at a lower resolution."""
        with torch.device("meta"):
            copy = PyramidGenerator(self.config, self.sizes[:num_scales], self.num_frames)
        own = self.state_dict()
        copy.load_state_dict({name: own[name].detach().clone() for name in copy.state_dict()}, assign=True)
        return copy.eval()

    def fit_colors(self, clip: Tensor) -> None:
        """Sets the colours to those in which the clip's channels are uncorrelated, of mean 0 and deviation
        1/2.

        Directions with little variance (a grey video's chroma) are enlarged at most to where their deviation
        would be a tenth of the strongest, so that no noise is blown up to a signal.
        """
        pixels = clip.transpose(0, 1).flatten(1).double()  # C N
        mean = pixels.mean(1)
        variances, axes = torch.linalg.eigh((pixels - mean[:, None]).cov(correction=0))
        deviations = variances.clamp(min=0).sqrt()
        scale = 0.5 / deviations.clamp(min=max(0.1 * float(deviations.max()), 1e-3))
        self.color_mean.copy_(mean)
        self.color_matrix.copy_(scale[:, None] * axes.T)

    def whiten(self, clip: Tensor) -> Tensor:
        """From colours in [-1, 1] to those that the networks work in."""
        centred = clip - self.color_mean.view(3, 1, 1, 1)
        return torch.einsum("ij,bjthw->bithw", self.color_matrix, centred)

    def unwhiten(self, clip: Tensor) -> Tensor:
        """From the networks' colours to [-1, 1], clamped."""
        matrix = torch.linalg.inv(self.color_matrix.double()).float()
        colors = torch.einsum("ij,bjthw->bithw", matrix, clip.float())
        return (colors + self.color_mean.view(3, 1, 1, 1)).clamp_(-1, 1)


class PatchDiscriminator(nn.Module):
    """Scores every 11x11x11 patch; the mean of the map is the score of the clip (section 3.2).

    With `spectral` each convolution has spectral norm (Miyato et al. 2018) in place of batch normalization.
    An anchored scene's maps may be handed in as further channels, so that a flame is judged where it burns.
    """

    def __init__(self, features: int, num_layers: int, spectral: bool, extra_channels: int = 0) -> None:
        super().__init__()
        widths = [3 + extra_channels] + [features] * (num_layers - 1) + [1]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            conv = (nn.Conv3d if spectral else PenalisedConv3d)(inputs, outputs, kernel_size=3)
            last = i == num_layers - 1
            # the last layer is left free, so that scores can reach the hinge's margin
            layers.append(nn.utils.parametrizations.spectral_norm(conv) if spectral and not last else conv)
            if not last:
                layers += [nn.Identity() if spectral else nn.BatchNorm3d(outputs), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, clip: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to a map of scores `(B, 1, T-2m, H-2m, W-2m)`."""
        return self.layers(clip)


class PenalisedConv3d(nn.Conv3d):
    """An unpadded `Conv3d` whose second derivative, that of the gradient penalty, costs what the first one
    does. For torch's own a clip is convolved with a kernel of a clip's size."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _TwiceDerivedConv3d.apply(input, weight, bias)


class _TwiceDerivedConv3d(torch.autograd.Function):
    """The derivative by the input is itself a convolution, whose derivatives are as usual."""

    @staticmethod
    def forward(ctx: Any, clip: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(clip, weight)
        return F.conv3d(clip, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        clip, weight = ctx.saved_tensors
        by_clip, by_weight, by_bias = ctx.needs_input_grad
        dtype = grad.dtype  # that of the autocast forward pass
        return (
            F.conv_transpose3d(grad, weight.to(dtype)).to(clip.dtype) if by_clip else None,
            conv3d_weight(clip.to(dtype), weight.shape, grad).to(weight.dtype) if by_weight else None,
            grad.sum((0, 2, 3, 4)).to(weight.dtype) if by_bias else None,
        )


class FrameEncoder(nn.Module):
    """What a given picture asks of the scales of a pyramid (section 3.4, after Vondrick et al. 2016).

    Time is not in the picture: for every frame around it, each scale's network sees the picture, what the
    scale itself drew for frame 0 and for that frame, and says what of the picture is to be seen there. An
    adversarial coarsest scale has no state that could be inferred, so its noise around frame 0 is encoded.
    In the paper's form the finest scale alone is conditioned.
    """

    decay: Tensor

    def __init__(self, config: EncoderConfig, model: ModelConfig, num_scales: int) -> None:
        super().__init__()
        self.config = config
        # how much of what a picture shows and a scale does not draw is still there k frames away
        self.register_buffer("decay", torch.zeros(num_scales, HORIZON + 1))
        is_paper = config.form == "paper"
        # a linear coarsest scale is known in closed form: a network there learns its few frames by heart
        lowest = num_scales - 1 if is_paper else int(model.coarse == "linear")
        self.carriers = nn.ModuleDict({
            str(n): DetailCarrier(config.features, is_exact=not is_paper) for n in range(lowest, num_scales)
        })  # fmt: skip
        has_noise = model.coarse == "adversarial" and not is_paper
        self.noise = NoiseEncoder(config.features, model.margin + NOISE_REACH) if has_noise else None

    def carrier(self, scale: int) -> "DetailCarrier | None":
        """The network that conditions a scale, if there is one."""
        known: Any = dict(self.carriers.items())
        return known.get(str(scale))


class DetailCarrier(nn.Module):
    """How the detail of a picture lives on in the frames around it, at one scale: moved to where the frame
    drawn says that it has gone, kept as far as it lasts, and corrected."""

    unit: Tensor

    def __init__(self, features: int, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.register_buffer("unit", torch.ones(()))  # deviation of what it is asked to say
        widths = [11, features, features, features, 6]  # out: a change of colour, a velocity, what is kept
        # what moves leaves the place where it was: growing steps let it be found again
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=d, dilation=d, padding_mode="replicate")
            for (i, o), d in zip(pairwise(widths), (1, 2, 4, 1), strict=True)
        )
        _fresh(self.convs)

    def forward(
        self, detail: Tensor, picture: Tensor, drawn: Tensor, distance: Tensor, decay: Tensor
    ) -> Tensor:
        """What to add to the frames that the scale drew, so that the picture is among them.

        Args:
            detail: `(B, 3, 1, H, W)`, what the picture shows and the scale did not draw for frame 0.
            picture: `(B, 3, 1, H, W)`.
            drawn: `(B, 3, T, H, W)`, frames of the scale.
            distance: `(T,)` int64, of each from the picture, negative before it, at most the horizon.
            decay: `(HORIZON + 1,)`, what is known of how long detail lasts, in closed form.
        """
        kept = decay.to(detail)[distance.abs()].view(-1, 1, 1)
        change, velocity, gate = self._net(detail, picture, drawn, distance).split((3, 2, 1), 1)
        if self.is_exact:  # frame 0 is the picture, whatever has been learned
            at_zero = self._net(detail, picture, picture - detail, distance.new_zeros(1))[:, :3]
            change = change - kept * at_zero
        moved = _moved(detail.expand(drawn.shape), velocity * distance.to(velocity).view(-1, 1, 1))
        share = kept + (1 - kept) * gate.tanh()
        return (share * moved + self.unit * change) * taper(distance).to(detail).view(-1, 1, 1)

    def _net(self, detail: Tensor, picture: Tensor, drawn: Tensor, distance: Tensor) -> Tensor:
        shape = drawn.shape
        part = (distance / HORIZON).to(drawn).view(1, 1, -1, 1, 1).expand(shape[0], 1, -1, *shape[3:])
        still = [x.expand(shape) for x in (detail / self.unit, picture)]
        x = torch.cat([*still, drawn, part, part.abs()], 1).transpose(1, 2).flatten(0, 1)  # BT 11 H W
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else F.leaky_relu(x, SLOPE))
        return x.unflatten(0, (shape[0], shape[2])).transpose(1, 2).float()


class NoiseEncoder(nn.Module):
    """The noise from which the coarsest generator draws a picture and what is around it."""

    def __init__(self, features: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        widths = [3, features, 2 * features, 3 * (2 * reach + 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 5, padding=2, padding_mode="replicate") for i, o in pairwise(widths)
        )
        _fresh(self.convs)

    def forward(self, picture: Tensor) -> Tensor:
        """`(B, 3, H, W)` to noise `(B, 3, 2 reach + 1, H, W)` of the frames around it."""
        x = picture
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else F.leaky_relu(x, SLOPE))
        return x.unflatten(1, (3, -1))


def taper(distance: Tensor) -> Tensor:
    """1 at a picture, falling smoothly to nothing just beyond the horizon."""
    return torch.cos(torch.pi / 2 * distance.double().abs() / (HORIZON + 1)).square()


def _moved(clip: Tensor, by: Tensor) -> Tensor:
    """`(B, 3, T, H, W)` moved by `(B, 2, T, H, W)` pixels, right and down; its border is repeated."""
    batch, _, frames, height, width = clip.shape
    down, right = (torch.arange(n, device=clip.device, dtype=torch.float32) for n in (height, width))
    x = (right - by[:, 0] + 0.5) * (2 / width) - 1  # B T H W, from -1 to 1 over the frame
    y = (down[:, None] - by[:, 1] + 0.5) * (2 / height) - 1
    grid = torch.stack([x, y], 4).flatten(0, 1)
    flat = clip.transpose(1, 2).flatten(0, 1).float()
    moved = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return moved.unflatten(0, (batch, frames)).transpose(1, 2)


def _fresh(convs: Any) -> None:
    """Nothing is added before something is learned."""
    for i, conv in enumerate(convs):
        if not conv.weight.is_meta:
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            if i == len(convs) - 1:
                conv.weight.data.mul_(0.01)
        conv.bias.data.zero_()


def _grown(coords: Tensor, margin: int) -> Tensor:
    before = torch.arange(-margin, 0, device=coords.device)
    after = torch.arange(1, margin + 1, device=coords.device)
    return torch.cat([coords[0] + before, coords, coords[-1] + after])
