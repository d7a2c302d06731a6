"""GPDM lowers the distance that it descends, down to that of real video, and keeps the colours."""

import pytest
import torch
from conftest import make_clip
from torch import Tensor

from dtsgan.baselines.gpdm import GPDM, patch_distance
from dtsgan.errors import VideoError

CLIP = make_clip(14, 24, 30)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(video: Tensor, clip: Tensor = CLIP) -> float:
    return patch_distance(video, clip, 64, seeded(0))


def test_the_distance_of_a_video_to_itself_is_zero_and_grows_with_a_known_change():
    assert distance(CLIP) == pytest.approx(0, abs=1e-6)
    faded, more = (distance(CLIP * factor) for factor in (0.8, 0.5))
    assert 0 < faded < more
    assert more == pytest.approx(2.5 * faded, rel=0.01)


def test_the_distance_sees_the_order_of_frames():
    shuffled = CLIP[:, :, torch.randperm(14, generator=seeded(0))]
    assert distance(shuffled) > 3 * distance(CLIP.flip(4).flip(4)) + 0.005


def test_the_gradient_is_that_of_the_distance():
    video = make_clip(4, 8, 9, seed=3).requires_grad_(True)
    patch_distance(video, CLIP[:, :, :4, :8, :9], 32, seeded(1))
    assert video.grad is not None
    down = video.detach() - 1e-3 * video.grad / video.grad.norm()
    fallen = patch_distance(video.detach(), CLIP[:, :, :4, :8, :9], 32, seeded(1)) - patch_distance(
        down, CLIP[:, :, :4, :8, :9], 32, seeded(1)
    )
    assert fallen == pytest.approx(1e-3 * float(video.grad.norm()), rel=0.1)


def test_what_is_drawn_is_as_near_to_the_clip_as_its_own_parts_nearly_and_has_its_colours():
    method = GPDM(num_steps=(200, 60), num_directions=16, learning_rate=0.02)
    method.fit(CLIP)
    video = method.sample(6, seeded(2))
    noise = CLIP.mean(2, keepdim=True) + 0.75 * torch.randn(1, 1, 6, 24, 30, generator=seeded(2))
    part = distance(CLIP[:, :, :6])
    assert distance(video) < 0.15 * distance(noise)
    assert distance(video) < 2.5 * part
    levels = torch.linspace(0.05, 0.95, 10)
    drawn, real = (x[0].flatten(1).quantile(levels, 1) for x in (video, CLIP))
    assert (drawn - real).abs().max() < 0.15


def test_a_clip_shorter_than_what_is_drawn_will_do():
    method = GPDM(num_steps=(20, 5), num_directions=4)
    method.fit(CLIP[:, :, :3])
    assert method.sample(9, seeded(0)).shape == (1, 3, 9, 24, 30)


def test_a_clip_of_few_frames_or_pixels_is_refused():
    with pytest.raises(VideoError, match=r"2 frames; GPDM needs at least 3"):
        GPDM().fit(CLIP[:, :, :2])
    with pytest.raises(VideoError, match=r"6 x 30 pixels; GPDM needs at least 7"):
        GPDM().fit(CLIP[:, :, :, :6])


@pytest.mark.parametrize(
    "settings", [{"num_steps": (0, 1)}, {"num_directions": 0}, {"noise": 0}, {"space_factor": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings)).split("_")[-1]):
        GPDM(**settings)
