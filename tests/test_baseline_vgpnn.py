"""VGPNN gives its clip back without noise, and with noise what is made of the clip's patches."""

import pytest
import torch
from conftest import close, make_clip
from torch import Tensor

from dtsgan.baselines import vgpnn
from dtsgan.baselines.space_time import resize_volume, rungs, shrunk
from dtsgan.baselines.vgpnn import VGPNN
from dtsgan.errors import VideoError

CLIP = make_clip(12, 28, 34)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(num_frames: int, seed: int = 0, **settings) -> Tensor:
    method = VGPNN(**settings)
    method.fit(CLIP)
    return method.sample(num_frames, seeded(seed))


def distance_to_clip(video: Tensor) -> Tensor:
    """Mean squared distance of each patch to the likest one of the clip."""
    found = vgpnn.nearest(vgpnn.patches(video[0]), vgpnn.patches(CLIP[0]))[1]
    return found / 441


@pytest.mark.parametrize("exhaustive", [2**24, 2**10], ids=["exhaustive", "PatchMatch"])
@pytest.mark.parametrize("alpha", [1.0, None])
def test_without_noise_it_returns_its_clip(monkeypatch, exhaustive, alpha):
    monkeypatch.setattr(vgpnn, "EXHAUSTIVE", exhaustive)
    close(draw(12, noise=0.0, alpha=alpha, em_steps=(2, 1)), CLIP, 1e-3)


@pytest.mark.parametrize("exhaustive", [2**24, 2**10], ids=["exhaustive", "PatchMatch"])
def test_with_noise_it_is_another_video_of_patches_that_exist(monkeypatch, exhaustive):
    monkeypatch.setattr(vgpnn, "EXHAUSTIVE", exhaustive)
    video = draw(8, seed=1, em_steps=(2, 1))
    still = torch.stack([(video - CLIP[:, :, t : t + 8]).square().mean() for t in range(5)]).min()
    assert still > 0.2 * CLIP.var()  # no window of the clip
    scrambled = video[:, :, torch.randperm(8, generator=seeded(0))]
    assert distance_to_clip(video).median() < 0.1 * distance_to_clip(scrambled).median()
    assert distance_to_clip(video).median() < 0.05 * CLIP.var()


def test_more_of_the_clip_is_used_where_completeness_is_asked_for():
    query, source = torch.rand(3, 4, 12, 12, generator=seeded(0)), CLIP[0, :, :8, :20, :20]
    used = {}
    for alpha in (0.01, None):
        match = vgpnn.Match(alpha, 4, seeded(0))
        match.enter(vgpnn.volume_of(query), vgpnn.volume_of(source))
        found = vgpnn.number(match.search(query, source), vgpnn.grid(vgpnn.volume_of(source)))
        used[alpha] = len(found.unique())
    assert used[0.01] > 1.3 * used[None]


def test_patch_match_comes_near_to_the_nearest():
    video, clip = CLIP[0, :, 2:6, :20], make_clip(12, 28, 34, seed=5)[0]
    basis = vgpnn.components(clip)
    queries, keys = vgpnn.project(video, basis), vgpnn.project(clip, basis)
    q_grid, k_grid = (vgpnn.grid(vgpnn.volume_of(x)) for x in (video, clip))
    start = [torch.randint(side, (len(queries),), generator=seeded(k)) for k, side in enumerate(k_grid)]
    least = vgpnn.nearest(queries, keys)[1].mean()
    random = (queries - keys[vgpnn.number(start, k_grid)]).square().sum(1).mean()
    found = vgpnn.patch_match(queries, keys, q_grid, k_grid, start, None, 4, seeded(0))[1].mean()
    assert found - least < 0.05 * (random - least)


def test_components_keep_the_distances_between_patches():
    basis = vgpnn.components(CLIP[0])
    projected, whole = vgpnn.project(CLIP[0], basis), vgpnn.patches(CLIP[0])
    some = torch.randperm(len(whole), generator=seeded(0))[:400]
    distances = torch.pdist(whole[some])
    assert (torch.pdist(projected[some]) / distances).median() > 0.95
    assert (torch.pdist(projected[some]) < distances + 1e-3).all()


def test_it_draws_more_frames_than_the_clip_has():
    video = draw(20, em_steps=(1, 1), alpha=None)
    assert video.shape[2] == 20
    assert distance_to_clip(video).median() < 0.1 * CLIP.var()


def test_the_ladder_ends_at_the_size_asked_for_and_keeps_enough_of_it():
    ladder = rungs((16, 150, 200), 0.82, 0.87, side=15, frames=3)
    sizes = [shrunk((16, 150, 200), rung) for rung in ladder]
    assert sizes[-1] == (16, 150, 200) and len(sizes) == 12
    assert sizes[0] == (3, 17, 23)
    assert sizes == sorted(sizes)


def test_resizing_a_volume_keeps_its_mean():
    small = resize_volume(CLIP, (5, 14, 17))
    assert small.shape == (1, 3, 5, 14, 17)
    close(small.mean((2, 3, 4)), CLIP.mean((2, 3, 4)), 0.02)


def test_a_clip_of_few_frames_or_pixels_is_refused():
    with pytest.raises(VideoError, match=r"2 frames; VGPNN needs at least 3"):
        VGPNN().fit(CLIP[:, :, :2])
    with pytest.raises(VideoError, match=r"8 x 34 pixels; VGPNN needs at least 15"):
        VGPNN().fit(CLIP[:, :, :, :8])


@pytest.mark.parametrize(
    "settings",
    [{"noise": -1}, {"alpha": 0}, {"space_factor": 1}, {"time_factor": 0}, {"em_steps": (0, 1)},
     {"iterations": 0}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings)).split("_")[-1]):
        VGPNN(**settings)
