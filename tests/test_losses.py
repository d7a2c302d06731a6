"""Each equation at values known by hand."""

import pytest
import torch
from torch import Tensor, nn

from dtsgan import losses


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_clip(seed: int = 0, batch: int = 2, size: int = 20) -> Tensor:
    return torch.randn(batch, 3, 6, size, size, generator=seeded(seed))


class Slope(nn.Module):
    """A score whose gradient is `direction` at every voxel."""

    def __init__(self, direction: list[float]) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.tensor(direction))

    def forward(self, clip: Tensor) -> Tensor:
        return torch.einsum("c,bcthw->bthw", self.direction, clip)[:, None]


@pytest.mark.parametrize(
    "direction, penalty",
    [([1.0, 0.0, 0.0], 0.0), ([0.6, 0.0, -0.8], 0.0), ([3.0, 0.0, 0.0], 4.0), ([0.0, 0.0, 0.0], 1.0)],
)
def test_the_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(direction, penalty):
    value = losses.gradient_penalty(Slope(direction), random_clip(0), random_clip(1), seeded())
    assert value.item() == pytest.approx(penalty, abs=1e-4)


def test_the_gradient_penalty_reaches_the_discriminator_and_nothing_else():
    real, fake = random_clip(0).requires_grad_(True), random_clip(1).requires_grad_(True)
    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 3))
    losses.gradient_penalty(net, real, fake, seeded()).backward()
    assert real.grad is None and fake.grad is None
    assert net[0].weight.grad.abs().sum() > 0 and net[2].weight.grad.abs().sum() > 0


def test_the_gradient_penalty_pulls_the_slope_to_one():
    net = Slope([0.2, 0.1, 0.0])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for k in range(30):
        optimizer.zero_grad()
        losses.gradient_penalty(net, random_clip(0), random_clip(1), seeded(k)).backward()
        optimizer.step()
    assert net.direction.detach().norm() == pytest.approx(1, abs=0.01)


def test_the_slope_is_taken_between_the_two_clips():
    """One place a clip: where the score is a square, the slope tells where it was taken."""
    seen = []

    class Square(nn.Module):
        def forward(self, clip: Tensor) -> Tensor:
            seen.append(clip.detach())
            return clip.square().sum(1, keepdim=True)

    real, fake = torch.zeros(4, 3, 2, 5, 5), torch.ones(4, 3, 2, 5, 5)
    losses.gradient_penalty(Square(), real, fake, seeded())
    places = seen[0].flatten(1)
    assert (places == places[:, :1]).all()
    assert len(places[:, 0].unique()) == 4
    assert (places >= 0).all() and (places <= 1).all()


def test_the_gradient_penalty_refuses_clips_of_two_shapes():
    with pytest.raises(ValueError, match="one shape"):
        losses.gradient_penalty(Slope([1.0, 0, 0]), random_clip(), random_clip()[:, :, 1:], seeded())


def test_the_adversarial_losses_at_values_known_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 3.0])
    assert losses.wasserstein_discriminator(real, fake) == pytest.approx(1 / 3 - 0.5)
    # (0 + 0.5 + 2) / 3 and (0 + 1 + 4) / 3
    assert losses.hinge_discriminator(real, fake) == pytest.approx(2.5 / 3 + 5 / 3)
    assert losses.adversarial(fake) == pytest.approx(-1 / 3)


def test_the_hinge_is_2_for_a_discriminator_that_knows_nothing_and_0_for_one_that_has_won():
    zero = torch.zeros(5)
    assert losses.hinge_discriminator(zero, zero) == 2
    assert losses.hinge_discriminator(zero + 1.5, zero - 1) == 0


def test_the_generator_gains_by_what_the_discriminator_loses():
    fake = torch.zeros(4, requires_grad=True)
    losses.adversarial(fake).backward()
    assert (fake.grad < 0).all()
    fake = torch.zeros(4, requires_grad=True)
    losses.hinge_discriminator(torch.zeros(4), fake).backward()
    assert (fake.grad > 0).all()


def test_reconstruction_is_the_mean_squared_difference():
    clip = random_clip()
    assert losses.reconstruction(clip, clip) == 0
    assert losses.reconstruction(clip + 0.5, clip) == pytest.approx(0.25)


# -- sliced Wasserstein ---


def distances(fake: Tensor, real: Tensor, draws: int = 6) -> Tensor:
    return torch.stack([losses.sliced_wasserstein(fake, real, seeded(k)) for k in range(draws)])


@pytest.mark.parametrize("size", [20, 9])
def test_the_sliced_distance_is_zero_between_equal_clips(size):
    clip = random_clip(size=size)
    assert (distances(clip, clip.clone()) == 0).all()


def test_the_sliced_distance_does_not_ask_where_a_patch_lies():
    clip = random_clip(batch=2)
    assert (distances(clip.flip(0), clip) < 1e-12).all()


def test_the_sliced_distance_grows_with_a_known_change():
    clip = random_clip()
    for change in (lambda k: clip + 0.2 * k, lambda k: clip * (1 + 0.2 * k), lambda k: clip * (1 - 0.2 * k)):
        values = torch.stack([distances(change(k), clip) for k in range(4)])
        assert (values[1:] > values[:-1]).all()


def test_the_sliced_distance_sees_blur_and_frozen_motion():
    clip, other = random_clip(0), random_clip(1)
    floor = distances(other, clip).mean()
    blurred = nn.functional.avg_pool3d(other, (1, 3, 3), 1, (0, 1, 1))
    frozen = other[:, :, :1].expand_as(other)
    assert distances(blurred, clip).mean() > 5 * floor
    assert distances(frozen, clip).mean() > 2 * floor


def test_the_sliced_distance_moves_a_clip_towards_the_other():
    real, fake = random_clip(0), (random_clip(1) * 0.3).requires_grad_(True)
    optimizer = torch.optim.Adam([fake], lr=0.05)
    before = distances(fake.detach(), real).mean()
    for k in range(30):
        optimizer.zero_grad()
        losses.sliced_wasserstein(fake, real, seeded(k)).backward()
        optimizer.step()
    assert distances(fake.detach(), real).mean() < 0.3 * before


def test_the_sliced_distance_is_repeated_by_its_generator():
    a, b = random_clip(0), random_clip(1)
    assert losses.sliced_wasserstein(a, b, seeded(3)) == losses.sliced_wasserstein(a, b, seeded(3))
    assert len(set(distances(a, b).tolist())) > 1
