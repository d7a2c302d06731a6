"""What the networks see, and that they draw frozen as they were trained."""

import copy

import pytest
import torch
from conftest import close, make_clip
from torch import Tensor, nn

from dtsgan import losses
from dtsgan.config import EncoderConfig, ModelConfig
from dtsgan.networks import (
    HORIZON,
    DetailCarrier,
    FrameEncoder,
    PatchDiscriminator,
    PenalisedConv3d,
    PyramidGenerator,
    ScaleGenerator,
    full_place,
    taper,
)
from dtsgan.sampler import Draw, Stream


def extent(gradient: Tensor) -> tuple[int, ...]:
    """Length, height and width of the block of voxels that matter."""
    found = gradient[0].abs().sum(0).nonzero()
    return tuple((found.max(0).values - found.min(0).values + 1).tolist())


def make_scale(**fields) -> ScaleGenerator:
    torch.manual_seed(0)
    net = ScaleGenerator(ModelConfig(features=(4,), **fields), 4, (20, 20), coarsest=False)
    nn.init.normal_(net.to_rgb.weight, 0, 0.1)
    return net.eval()


def unsettle(net: nn.Module) -> None:
    """Gives every batch norm statistics and factors that are not those of a new one."""
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.running_mean.normal_(0, 0.5)
            norm.running_var.uniform_(0.3, 3)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_receptive_field_of_a_generator_is_11_in_time_and_space(norm):
    net = make_scale(norm=norm)
    noise = torch.randn(1, 3, 19, 19, 19, requires_grad=True)
    detail = net(torch.zeros(1, 3, 19, 19, 19), noise)
    assert detail.shape == (1, 3, 9, 9, 9)
    detail[0, :, 4, 4, 4].sum().backward()
    assert extent(noise.grad) == (11, 11, 11)
    corner = noise.grad[0].abs().sum(0).nonzero().min(0).values
    assert corner.tolist() == [4, 4, 4]  # centred on the voxel


@pytest.mark.parametrize("spectral", [True, False])
def test_the_receptive_field_of_a_discriminator_is_11_in_time_and_space(spectral):
    torch.manual_seed(0)
    net = PatchDiscriminator(4, 5, spectral).eval()
    clip = torch.randn(1, 3, 19, 19, 19, requires_grad=True)
    scores = net(clip)
    assert scores.shape == (1, 1, 9, 9, 9)
    scores[0, 0, 4, 4, 4].backward()
    assert extent(clip.grad) == (11, 11, 11)
    assert net(torch.randn(2, 3, 11, 11, 11)).shape == (2, 1, 1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_derivatives_of_a_penalised_convolution_are_those_of_any_other(dtype):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.LeakyReLU(0.2), nn.Conv3d(8, 1, 3))
    penalised = copy.deepcopy(plain)
    penalised[0], penalised[3] = PenalisedConv3d(3, 8, 3), PenalisedConv3d(8, 1, 3)
    penalised.load_state_dict(plain.state_dict())
    real, fake = torch.randn(2, 3, 8, 9, 10), torch.randn(2, 3, 8, 9, 10)
    gradients = []
    for net in (plain, penalised):
        clip = real.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            penalty = losses.gradient_penalty(net, real, fake, torch.Generator().manual_seed(0))
            loss = penalty + net(clip).float().mean()
        loss.backward()
        gradients.append([loss.detach(), clip.grad, *(p.grad for p in net.parameters())])
    for ours, torchs in zip(*gradients, strict=True):
        assert ours.dtype == torchs.dtype == torch.float32
        torch.testing.assert_close(
            ours,
            torchs,
            rtol=0,
            atol=(1e-5 if dtype == torch.float32 else 0.02) * float(torchs.abs().max()) + 1e-7,
        )


def test_fewer_layers_see_less():
    net = make_scale(num_layers=3)
    assert net(torch.zeros(1, 3, 9, 9, 9), None).shape == (1, 3, 3, 3, 3)


def test_a_discriminator_takes_what_else_it_is_told_of():
    net = PatchDiscriminator(4, 3, True, extra_channels=9)
    assert net(torch.randn(1, 12, 8, 8, 8)).shape == (1, 1, 2, 2, 2)


def test_spectral_norm_bounds_every_layer_but_the_last():
    torch.manual_seed(0)
    net = PatchDiscriminator(8, 4, True)
    for _ in range(60):  # power iterations
        net(torch.randn(1, 3, 9, 9, 9))
    convs = [layer for layer in net.layers if isinstance(layer, nn.Conv3d)]
    assert len(convs) == 4
    for conv in convs[:-1]:
        norm = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
        assert norm == pytest.approx(1, abs=0.02)
    assert not nn.utils.parametrize.is_parametrized(convs[-1])


def test_a_new_scale_without_norm_adds_nothing_yet():
    net = ScaleGenerator(
        ModelConfig(features=(4,), norm="none", output="linear"), 4, (20, 20), coarsest=False
    )
    base = torch.randn(1, 3, 13, 13, 13)
    close(net(base, torch.randn(1, 3, 13, 13, 13)), base[:, :, 5:-5, 5:-5, 5:-5])


@torch.no_grad()
@pytest.mark.parametrize("output", ["tanh", "linear"])
def test_folded_batch_norm_equals_the_frozen_network(output):
    net = make_scale(norm="batch", output=output)
    unsettle(net)
    x = torch.randn(2, 3, 13, 14, 15)
    expected = net(torch.zeros_like(x), x)
    *hidden, last = net.folded()
    y = x
    for weight, bias, factor in hidden:
        assert factor is not None
        y = nn.functional.leaky_relu(nn.functional.conv3d(y, weight, bias), 0.2)
    y = nn.functional.conv3d(y, *last[:2])
    close(y.tanh() if output == "tanh" else y, expected)
    assert not torch.allclose(
        make_scale(norm="batch", output=output)(torch.zeros_like(x), x), expected, atol=1e-3
    )


@torch.no_grad()
def test_a_stream_draws_what_the_networks_compute(pyramid):
    """Scale 1 and its base, once through the stream and once through the module itself."""
    net = pyramid.scales[1]
    assert isinstance(net, ScaleGenerator)
    m, draw = net.margin, Draw(seeds=[3], start_frame=20)
    place = full_place(pyramid.sizes[1], pyramid.config.anchored).grown(m)
    reading = place.reading(pyramid.sizes[0])
    below = full_place(pyramid.sizes[0], pyramid.config.anchored)
    spans = tuple((axis.start, axis.stop) for axis in reading)
    coarse = Stream(pyramid, Draw(seeds=[3], start_frame=20 - m), window=spans, top=0).take_raw(4 + 2 * m)
    assert pyramid.config.anchored or coarse.shape[3] > len(below.rows)
    base = net.base(coarse, reading, place)
    z = place.noise([3], 1, torch.arange(20 - m, 24 + m), (False, False))
    expected = net(base, z, net.position_features(place))
    close(Stream(pyramid, draw, top=1).take_raw(4), expected)


def test_a_truncated_pyramid_draws_what_the_whole_draws_at_that_scale(pyramid):
    for count in (1, 2, 3):
        part = pyramid.truncated(count)
        assert part.num_scales == count and part.sizes == pyramid.sizes[:count]
        expected = Stream(pyramid, Draw(seeds=[2]), top=count - 1).take(5)
        close(Stream(part, Draw(seeds=[2])).take(5), expected)


def test_a_truncated_pyramid_is_a_copy(free_pyramid):
    part = free_pyramid.truncated(2)
    before = free_pyramid.scales[0].to_rgb.weight.clone()
    with torch.no_grad():
        part.scales[0].to_rgb.weight.zero_()
    assert torch.equal(free_pyramid.scales[0].to_rgb.weight, before)


def test_the_canvas_keeps_the_factors_of_the_training_clip(free_pyramid):
    assert free_pyramid.canvas(*free_pyramid.sizes[-1]) == free_pyramid.sizes
    doubled = free_pyramid.canvas(40, 54)
    assert doubled == [(2 * h, 2 * w) for h, w in free_pyramid.sizes]


def test_noise_stops_at_the_border_of_a_scene_and_nowhere_else():
    frames = torch.arange(3)
    for anchored in (True, False):
        place = full_place((6, 7), anchored).grown(2)
        z = place.noise([0], 0, frames, (False, False))
        assert z.shape == (1, 3, 3, 10, 11)
        inner = z[..., 2:-2, 2:-2]
        assert (inner != 0).all()
        assert (z != 0).sum() == (inner.numel() if anchored else z.numel())


# -- colours ---


def coloured(clip: Tensor) -> PyramidGenerator:
    pyramid = PyramidGenerator(ModelConfig(features=(2,)), [(9, 12)], clip.shape[2])
    pyramid.fit_colors(clip)
    return pyramid


def test_whitened_colours_come_back():
    clip = make_clip(6) * 0.99
    pyramid = coloured(clip)
    close(pyramid.unwhiten(pyramid.whiten(clip)), clip)
    untouched = PyramidGenerator(ModelConfig(features=(2,)), [(9, 12)], 6)
    assert torch.equal(untouched.whiten(clip), clip)


def test_whitened_colours_are_uncorrelated_with_mean_0_and_deviation_one_half():
    rng = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.4, 0.2], [0.0, 0.3, 0.4]])
    mixed = torch.einsum("ij,bjthw->bithw", mixing, torch.rand(1, 3, 8, 9, 12, generator=rng) - 0.4)
    white = coloured(mixed).whiten(mixed).transpose(0, 1).flatten(1)
    close(white.mean(1), torch.zeros(3), 1e-4)
    close(white.cov(), torch.eye(3) / 4, 1e-3)


def test_a_grey_clip_is_not_blown_up():
    grey = make_clip(10)[:, :1].expand(-1, 3, -1, -1, -1)
    rng = torch.Generator().manual_seed(0)
    noisy = (grey + 0.002 * torch.randn(grey.shape, generator=rng)).clamp(-1, 1)
    for clip in (grey, noisy):
        pyramid = coloured(clip)
        white = pyramid.whiten(clip).transpose(0, 1).flatten(1)
        assert white.isfinite().all()
        deviations = white.std(1).sort().values
        assert deviations[-1] == pytest.approx(0.5, abs=0.01)
        assert deviations[:2].max() < 0.05  # chroma that is noise stays small
        close(pyramid.unwhiten(pyramid.whiten(clip)), clip, 1e-4)


def test_a_clip_of_one_colour_is_not_blown_up():
    flat = torch.full((1, 3, 4, 8, 8), 0.3)
    pyramid = coloured(flat)
    close(pyramid.whiten(flat), torch.zeros_like(flat), 1e-4)
    close(pyramid.unwhiten(pyramid.whiten(flat)), flat)


def test_colours_out_of_range_are_clamped():
    pyramid = coloured(make_clip(4))
    far = pyramid.unwhiten(torch.full((1, 3, 2, 4, 4), 50.0))
    assert far.abs().max() <= 1


def test_a_pyramid_can_be_copied_and_loaded(pyramid):
    other = copy.deepcopy(pyramid)
    with torch.no_grad():
        other.scales[1].to_rgb.weight.zero_()
    other.load_state_dict(pyramid.state_dict())
    assert torch.equal(Stream(other, Draw()).take(3), Stream(pyramid, Draw()).take(3))


# -- the encoder of prediction ---


def wild_carrier(is_exact: bool = True) -> DetailCarrier:
    torch.manual_seed(0)
    carrier = DetailCarrier(4, is_exact)
    for conv in carrier.convs:
        nn.init.normal_(conv.weight, 0, 0.2)
        nn.init.normal_(conv.bias, 0, 0.2)
    return carrier.eval()


def test_an_untrained_carrier_lets_detail_fade_in_place():
    detail, picture, drawn = (
        torch.randn(1, 3, 1, 9, 11),
        torch.randn(1, 3, 1, 9, 11),
        torch.randn(1, 3, 4, 9, 11),
    )
    carrier = DetailCarrier(4, True).eval()
    for value in carrier.convs[-1].parameters():
        value.data.zero_()
    decay = 0.5 ** torch.arange(HORIZON + 1.0)
    added = carrier(detail, picture, drawn, torch.tensor([0, 1, -1, 3]), decay)
    for k, share in enumerate((1, 0.5, 0.5, 0.125)):
        close(added[:, :, k], detail[:, :, 0] * share * taper(torch.tensor(k and (1, 1, 3)[k - 1])).float())


def test_whatever_a_carrier_has_learned_frame_0_is_the_picture_and_beyond_the_horizon_it_is_silent():
    rng = torch.Generator().manual_seed(1)
    picture, own, other = (torch.randn(2, 3, 1, 9, 11, generator=rng) for _ in range(3))
    carrier, decay = wild_carrier(), torch.linspace(1, 0.2, HORIZON + 1)
    drawn = torch.cat([own, other], 2)
    added = carrier(picture - own, picture, drawn, torch.tensor([0, 2]), decay)
    close((drawn + added)[:, :, :1], picture)
    assert (added[:, :, 1] - (picture - own)[:, :, 0]).abs().mean() > 0.01
    assert taper(torch.tensor([HORIZON + 1])).item() < 1e-12
    loose = wild_carrier(is_exact=False)(picture - own, picture, drawn, torch.tensor([0, 2]), decay)
    assert (drawn + loose - picture)[:, :, 0].abs().mean() > 0.01


def test_detail_is_moved_by_the_velocity_times_the_distance():
    detail = torch.randn(1, 3, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    carrier = DetailCarrier(4, True).eval()
    for value in carrier.convs[-1].parameters():
        value.data.zero_()
    carrier.convs[-1].bias.data[3:5] = torch.tensor([1.0, -0.5])  # right and up, pixels a frame
    added = carrier(
        detail, detail, torch.zeros(1, 3, 2, 12, 14), torch.tensor([2, -2]), torch.ones(HORIZON + 1)
    )
    added = added / taper(torch.tensor([2])).float()
    close(added[0, :, 0, :-1, 2:], detail[0, :, 0, 1:, :-2])
    close(added[0, :, 1, 1:, :-2], detail[0, :, 0, :-1, 2:])


def test_the_papers_encoder_conditions_the_finest_scale_alone():
    for model in (ModelConfig(coarse="linear"), ModelConfig(coarse="adversarial", layout="free")):
        paper = FrameEncoder(EncoderConfig(form="paper"), model, 4)
        assert [n for n in range(4) if paper.carrier(n) is not None] == [3] and paper.noise is None
        every = FrameEncoder(EncoderConfig(), model, 4)
        lowest = int(model.coarse == "linear")  # which is conditioned in closed form
        assert [n for n in range(4) if every.carrier(n) is not None] == list(range(lowest, 4))
        assert (every.noise is not None) == (model.coarse == "adversarial")
