"""What every baseline keeps to; each method's own behaviour is in tests/test_baseline_<method>.py."""

import pytest
import torch

from dtsgan.baselines import BASELINES

CLIP_FRAMES, SIDE = 16, 40


def clip() -> torch.Tensor:
    """Stripes that roll over a still gradient, (1, 3, T, H, W)."""
    t, y, x = torch.meshgrid(
        torch.arange(CLIP_FRAMES), torch.arange(SIDE), torch.arange(SIDE + 4), indexing="ij"
    )
    wave = torch.sin(0.6 * x + 0.3 * y - 0.9 * t)
    return torch.stack([0.5 * wave, 0.3 * wave + y / SIDE - 0.5, 0.4 * torch.cos(0.2 * x - 0.5 * t)])[None]


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_baseline_is_cited_and_says_what_it_is(name):
    method = BASELINES[name]
    assert method.title
    assert any(year in method.citation for year in map(str, range(1990, 2027)))
