"""cgCNN: what it synthesises has the exemplar's statistics, at any length and size."""

import pytest
import torch
from torch import Tensor

from dtsgan.baselines.cgcnn import CgCNN, Energy, gram, mean

NUM_FRAMES, SIDE = 6, 16
SHIFTS = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 3), (0, 3, 0), (1, 0, 0), (1, 1, 0)]  # frames, down, right


def stripes() -> Tensor:
    """Coloured stripes that move, `(1, 3, T, SIDE, SIDE)`."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (NUM_FRAMES, SIDE, SIDE)), indexing="ij")
    wave = torch.sin(2 * torch.pi * ((x + y) / 10 - t / 6))
    return torch.stack([0.7 * wave, 0.3 - 0.5 * wave, 0.2 * wave - 0.4])[None]


def covariances(video: Tensor) -> Tensor:
    """Of the colours of voxels a little apart: statistics that no network is asked for."""
    x = video[0] - video[0].mean((1, 2, 3), keepdim=True)
    t, h, w = x.shape[1:]
    pairs = [(x[:, : t - a, : h - b, : w - c], x[:, a:, b:, c:]) for a, b, c in SHIFTS]
    return torch.stack([torch.einsum("ithw,jthw->ij", p, q) / q[0].numel() for p, q in pairs])


def gap(video: Tensor) -> float:
    """How far a video's covariances are from the exemplar's: 0 like it, 1 without any."""
    wanted = covariances(stripes())
    return ((covariances(video) - wanted).square().sum() / wanted.square().sum()).item()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("statistics, learning_rate", [("gram", 0.012), ("mean", 0.006)])
def test_a_sample_has_the_statistics_of_its_exemplar(statistics, learning_rate):
    method = CgCNN(statistics, iterations=40, inner=8, features=6, learning_rate=learning_rate)
    method.fit(stripes())
    sample = method.sample(NUM_FRAMES, seeded(7))
    assert sample.shape == stripes().shape and sample.abs().max() <= 1
    assert gap(torch.randn(sample.shape, generator=seeded(7)) / 10) > 0.8
    assert gap(sample) < 0.4


def test_a_sample_may_be_longer_and_larger_than_its_exemplar():
    method = CgCNN("mean", iterations=25, inner=8, features=4, learning_rate=0.01)
    method.fit(stripes())
    sample = method.sample(2 * NUM_FRAMES, seeded(7), size=(SIDE, 20))
    assert sample.shape == (1, 3, 2 * NUM_FRAMES, SIDE, 20)
    assert gap(sample) < 0.5
    assert method.sample(1, seeded(7), seconds=0.0).shape == (1, 3, 1, SIDE, SIDE)


def test_the_statistics_are_means_that_know_no_size():
    net = Energy(3, "gram")
    net.initialise(seeded(0))
    layers = net(stripes())
    assert [layer.shape[1] for layer in layers] == [6, 6, 6, 3, 3, 3]  # two convolutions, a pooling, again
    x = torch.randn(1, 2, 4, 4, 4, generator=seeded(0))
    torch.testing.assert_close(gram(x.repeat(1, 1, 2, 1, 3)), gram(x))
    torch.testing.assert_close(mean(x.repeat(1, 1, 2, 1, 3)), mean(x))


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="gram and mean"):
        CgCNN("median")
    with pytest.raises(ValueError, match="has 3 frames; cgCNN needs at least 4"):
        CgCNN().fit(torch.zeros(1, 3, 3, 8, 8))
