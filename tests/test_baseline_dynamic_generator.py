"""The dynamic generator: it learns its clip and draws on."""

import pytest
import torch
from torch import Tensor

from dtsgan.baselines.dynamic_generator import DynamicGenerator


def disc(num_frames: int = 12, side: int = 32) -> Tensor:
    """A bright disc that goes to and fro, `(1, 3, T, side, side)`."""
    t, y, x = torch.meshgrid(torch.arange(num_frames), torch.arange(side), torch.arange(side), indexing="ij")
    centre = side / 2 + side / 4 * torch.sin(2 * torch.pi * t / 6)
    inside = torch.sigmoid(6 - ((x - centre) ** 2 + (y - side / 2) ** 2).sqrt())
    return torch.stack([inside, 0.5 * inside, 1 - inside])[None] - 0.5


def change(video: Tensor) -> float:
    """From one frame to the next, on average."""
    return video.diff(dim=2).abs().mean().item()


@pytest.fixture(scope="module")
def fitted() -> DynamicGenerator:
    method = DynamicGenerator(epochs=80, chunk=6, features=6, langevin_steps=2, learning_rate=0.005)
    method.fit(disc())
    return method


def test_it_learns_to_reconstruct_its_clip(fitted):
    clip = disc()
    assert fitted.losses[-1] < 0.1 * fitted.losses[0]
    recon = fitted.reconstruct()
    still = clip.mean(2, keepdim=True)  # the best that something motionless can do
    assert (recon - clip).square().mean() < 0.5 * (still - clip).square().mean()


def test_draws_differ_move_and_stay_bounded_over_three_times_the_length(fitted):
    a, b = (fitted.sample(36, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert a.shape == (1, 3, 36, 32, 32)
    assert (a - b).abs().mean() > 0.002
    assert change(a) > 0.3 * change(disc())
    for video in (a, b):
        assert video.isfinite().all() and video.abs().max() <= 1
        assert (video - disc().mean(2, keepdim=True)).square().mean() < 4 * disc().var()
    torch.testing.assert_close(a, fitted.sample(36, torch.Generator().manual_seed(1)))


def test_inference_brings_the_noise_to_where_it_explains_the_clip():
    method = DynamicGenerator(epochs=30, chunk=12, features=4, langevin_steps=2, sigma=0.3)
    method.fit(disc())
    x = disc()[0].transpose(0, 1)
    rng = torch.Generator().manual_seed(5)
    state, noise = torch.randn(100, generator=rng), torch.randn(12, 100, generator=rng)

    def error(state: Tensor, noise: Tensor) -> float:
        with torch.no_grad():
            return (x - method.emission(method.transition(state, noise))).square().mean().item()

    method.langevin_steps = 40
    assert error(*method._infer(x, state, noise, rng)) < error(state, noise)


def test_any_size_and_a_seed_for_its_weights(fitted):
    clip = disc(8, 40)[..., :35]
    one, same, other = (DynamicGenerator(epochs=2, features=2, langevin_steps=1, seed=s) for s in (1, 1, 2))
    for method in (one, same, other):
        method.fit(clip)
    draws = [m.sample(3, torch.Generator().manual_seed(0)) for m in (one, same, other)]
    assert draws[0].shape == (1, 3, 3, 40, 35)
    torch.testing.assert_close(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


def test_a_clip_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="needs at least 2"):
        DynamicGenerator().fit(torch.zeros(1, 3, 1, 32, 32))
