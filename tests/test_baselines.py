"""What every baseline keeps to; each method's own behaviour is in tests/test_baseline_<method>.py."""

import os
import time

import pytest
import torch

from dtsgan.baselines import BASELINES, Baseline

CLIP_FRAMES, SIDE = 16, 40


def clip() -> torch.Tensor:
    """Stripes that roll over a still gradient, (1, 3, T, H, W)."""
    t, y, x = torch.meshgrid(
        torch.arange(CLIP_FRAMES), torch.arange(SIDE), torch.arange(SIDE + 4), indexing="ij"
    )
    wave = torch.sin(0.6 * x + 0.3 * y - 0.9 * t)
    return torch.stack([0.5 * wave, 0.3 * wave + y / SIDE - 0.5, 0.4 * torch.cos(0.2 * x - 0.5 * t)])[None]


TINY = {
    "gpdm": {"num_steps": (60, 15), "num_directions": 8},
    "two_stream_lite": {"iterations": 25},
    "dynamic_generator": {"epochs": 40, "features": 8},
    "cgcnn_gram": {"iterations": 8, "features": 4, "learning_rate": 0.02},
    "cgcnn_mean": {"iterations": 8, "features": 4, "learning_rate": 0.02},
}  # settings that make a method take a second or so here
SEEDLESS = {"copy"}  # controls whose video is one
DOWNLOADS = {"two_stream"}  # 548 MB; two_stream_lite is the same class
ITERATIVE = ["gpdm", "vgpnn"]  # those that mind `seconds`


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def create(name: str) -> Baseline:
    return BASELINES[name].create(quick=True, **TINY.get(name, {}))


@pytest.fixture(scope="module", params=sorted(set(BASELINES) - DOWNLOADS))
def fitted(request) -> tuple[str, Baseline, list[float]]:
    """Each method in turn, fitted to the clip, and the progress that it told of."""
    told: list[float] = []
    if BASELINES[request.param].network and not os.environ.get("DTSGAN_METRIC_WEIGHTS"):
        pytest.skip("needs DTSGAN_METRIC_WEIGHTS, a folder of weights")
    method = create(request.param)
    method.fit(clip(), lambda part, doing: told.append(part))
    return request.param, method, told


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_baseline_is_cited_and_says_what_it_is(name):
    method = BASELINES[name]
    assert method.title
    assert any(year in method.citation for year in map(str, range(1990, 2027)))


def test_the_same_state_of_the_generator_gives_the_same_video_and_another_seed_another(fitted):
    name, method, told = fitted
    progress: list[float] = []
    state = torch.get_rng_state()
    video = method.sample(8, seeded(7), lambda part, doing: progress.append(part))
    assert torch.equal(torch.get_rng_state(), state)  # nothing but the generator is drawn from
    assert video.shape == (1, 3, 8, SIDE, SIDE + 4) and video.dtype == torch.float32
    assert video.abs().max() <= 1 and video.isfinite().all()
    assert torch.equal(method.sample(8, seeded(7)), video)
    others = [method.sample(8, seeded(seed)) for seed in (8, 9)]
    assert all(torch.equal(other, video) for other in others) == (name in SEEDLESS)
    for parts in (told, progress):
        assert parts == sorted(parts) and min(parts) >= 0 and parts[-1] == 1


def test_a_video_has_about_the_colours_of_the_clip(fitted):
    _, method, _ = fitted
    video = method.sample(8, seeded(3))
    real = clip()
    assert (video.mean((0, 2, 3, 4)) - real.mean((0, 2, 3, 4))).abs().max() < 0.15
    assert 0.4 < video.std() / real.std() < 1.5


@pytest.mark.parametrize("length", [1, 5, CLIP_FRAMES])
def test_any_length_up_to_that_of_the_clip_can_be_drawn(fitted, length):
    _, method, _ = fitted
    assert method.sample(length, seeded(0), seconds=0.1).shape[2] == length


def test_no_frame_is_no_video(fitted):
    _, method, _ = fitted
    with pytest.raises(ValueError, match="num_frames"):
        method.sample(0, seeded(0))


@pytest.mark.parametrize("name", ITERATIVE)
def test_a_method_that_iterates_minds_the_time(name):
    method = BASELINES[name].create()  # its own settings would take minutes even here
    method.fit(clip())
    began = time.perf_counter()
    told: list[float] = []
    video = method.sample(8, seeded(0), lambda part, doing: told.append(part), seconds=1.0)
    assert time.perf_counter() - began < 5
    assert video.isfinite().all() and told[-1] == 1


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda c: c[0], "one clip"),
        (lambda c: c.expand(2, -1, -1, -1, -1), "one clip"),
        (lambda c: c[:, :2], "one clip"),
        (lambda c: c.index_fill(2, torch.tensor([3]), torch.nan), "finite"),
    ],
)
def test_what_is_no_clip_is_refused(name, spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        create(name).fit(spoil(clip()))
