"""A stream that begins with a picture: at frame 0 it is the picture, far from it the seed's own video."""

import math
from pathlib import Path

import pytest
import torch
from conftest import FPS, close, make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from test_patch_transport import fitted
from test_sampler import held_bytes, motion
from torch import Tensor

from dtsgan import steering
from dtsgan.config import EncoderConfig
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.model import DTSGAN
from dtsgan.networks import HORIZON, FrameEncoder, PyramidGenerator
from dtsgan.pyramid import resize
from dtsgan.sampler import Draw, Guidance, LinearSource, Stream
from dtsgan.steering import SteeredLinearSource, Steering
from dtsgan.video import read_clip

few = settings(max_examples=4, deadline=None)


def wild_encoder(pyramid: PyramidGenerator, form: str = "every") -> FrameEncoder:
    """One whose networks say something, as untrained ones do not."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        config = EncoderConfig(form=form, features=4)
        encoder = FrameEncoder(config, pyramid.config, pyramid.num_scales)
        for carrier in encoder.carriers.values():
            carrier.convs[-1].weight.normal_(0, 0.02)
            carrier.unit.fill_(0.1)
        if encoder.noise is not None:
            encoder.noise.convs[-1].weight.normal_(0, 0.05)
        encoder.decay.copy_(0.8 ** torch.arange(HORIZON + 1.0))
    return encoder.eval()


@pytest.fixture(params=["anchored, closed form", "anchored", "free"])
def model(request, anchored_pyramid, free_pyramid) -> DTSGAN:
    """One of each way to predict."""
    pyramid = free_pyramid if request.param == "free" else anchored_pyramid
    encoder = None if "closed" in request.param else wild_encoder(pyramid)
    return DTSGAN(pyramid, FPS, encoder=encoder)


@pytest.fixture
def picture(model) -> Tensor:
    """A frame of another video of the same texture, `(3, H, W)`."""
    return model.sample(1, seed=77)[0, :, 0]


def test_the_first_frame_is_the_picture(model, picture):
    for seed in (0, 1):
        close(model.predict(picture, 3, seed)[0, :, 0], picture)


def test_the_picture_matters_to_the_frames_after_it(model, picture):
    other = model.sample(1, seed=78)[0, :, 0]
    assert (model.predict(picture, 3) - model.predict(other, 3)).abs().mean((0, 1, 3, 4)).min() > 0.01


def test_what_follows_is_in_the_end_the_seeds_own_video(model, picture):
    coarse = model.pyramid.scales[0]
    start = 120
    if isinstance(coarse, LinearDynamics):
        start += coarse.memory()
    guide = Steering(model.pyramid, picture[None], model.encoder)
    stream = Stream(model.pyramid, Draw(seeds=[5]), guidance=guide)
    for _ in range(start // 64 + 1):
        stream.take(64)
    close(stream.take(4), model.sample(4, seed=5, start_frame=64 * (start // 64 + 1)))


@few
@given(chunks=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_any_chunking_gives_the_same_prediction(anchored_pyramid, free_pyramid, chunks):
    for pyramid in (anchored_pyramid, free_pyramid):
        model = DTSGAN(pyramid, FPS, encoder=wild_encoder(pyramid))
        picture = model.sample(1, seed=77)[:, :, 0]
        guide = Steering(pyramid, picture, model.encoder)
        stream = Stream(pyramid, Draw(seeds=[4]), guidance=guide)
        parts = torch.cat([stream.take(count) for count in chunks], 2)
        close(parts, model.predict(picture, sum(chunks), 4))


def test_each_seed_is_another_future(model, picture):
    futures = [model.predict(picture, 24, seed) for seed in range(3)]
    for k, future in enumerate(futures):
        for other in futures[k + 1 :]:
            difference = (future - other).abs().mean((0, 1, 3, 4))
            assert difference[0] < 1e-5 and difference[-1] > 0.02


def test_several_pictures_are_predicted_as_each_alone(model):
    pictures = model.sample(12, seed=77)[0, :, ::11].transpose(0, 1)  # 2 3 H W
    together = model.predict(pictures, 5, 3)
    for k, picture in enumerate(pictures):
        close(together[k : k + 1], model.predict(picture, 5, 3))


def test_a_prediction_does_not_jump_where_it_begins(model, picture):
    steps = torch.stack([motion(model.predict(picture, 24, seed)) for seed in range(4)]).mean(0)
    assert steps[0] < 1.6 * motion(model.sample(60, seed=9)).mean()


@pytest.mark.parametrize("speed", [1.0, 0.5])
def test_a_picture_becomes_a_perfect_loop(model, picture, speed):
    loop = model.predict(picture, 40, 2, loop=True, speed=speed)
    close(loop[0, :, 0], picture)
    twice = Stream(
        model.pyramid,
        Draw(seeds=[2], period=40, speed=speed),
        guidance=Steering(model.pyramid, picture[None], model.encoder),
    ).take(80)
    close(twice[:, :, 40:], twice[:, :, :40])
    seam = (loop[:, :, 0] - loop[:, :, -1]).abs().mean()
    assert seam < 2 * motion(loop).mean()


def test_slow_motion_of_a_future_passes_through_its_frames(anchored_pyramid):
    """Of the coarse video: the scales above draw new detail at every speed."""
    coarse = DTSGAN(anchored_pyramid.truncated(1), FPS)
    picture = coarse.sample(1, seed=77)[:, :, 0]
    source = lambda speed: Steering(coarse.pyramid, picture, None)  # noqa: E731
    normal = Stream(coarse.pyramid, Draw(), guidance=source(1)).take(30)
    slow = Stream(coarse.pyramid, Draw(speed=0.5), guidance=source(0.5)).take(59)
    close(slow[0, :, 0], picture[0])
    beyond = HORIZON + 2  # the picture's own detail is carried by the frame, not by the texture's time
    close(slow[:, :, ::2][:, :, beyond:], normal[:, :, beyond:])
    assert motion(slow)[40:].mean() < 0.75 * motion(normal)[20:].mean()


def test_memory_does_not_grow(model, picture):
    stream = Stream(model.pyramid, Draw(), guidance=Steering(model.pyramid, picture[None], model.encoder))
    sizes = []
    for number in range(60):
        stream.take(4)
        if number in (20, 59):
            sizes.append(held_bytes(stream))
    assert sizes[0] == sizes[1]


# -- what is known in closed form ---


def test_the_state_of_a_frame_of_the_source_is_found_again(anchored_pyramid, clip):
    coarse = anchored_pyramid.scales[0]
    frames = resize(clip, anchored_pyramid.sizes[0])[0].transpose(0, 1)  # N 3 h w
    states, told = coarse.infer(frames)
    leading = torch.nn.functional.cosine_similarity(states[:, :4], coarse.states[:, :4].double(), dim=0)
    assert leading.min() > 0.95  # those of the waves; the others are the noise's
    assert torch.linalg.eigvals(told).real.min() > 0 and torch.linalg.eigvals(told).real.max() < 1


def test_a_picture_of_nothing_known_has_a_small_state(anchored_pyramid):
    coarse = anchored_pyramid.scales[0]
    noise = torch.rand(8, 3, *anchored_pyramid.sizes[0], generator=torch.Generator().manual_seed(0)) * 2 - 1
    unlike, _ = coarse.infer(noise)
    assert unlike.norm(dim=1).mean() < 0.5 * coarse.states.norm(dim=1).mean()


def test_states_given_a_picture_are_draws_of_the_models_own_process(anchored_pyramid, clip, monkeypatch):
    """Conditioning on a draw's own frame 0 leaves the process as it is: mean 0 and its own covariance."""
    pyramid = anchored_pyramid.truncated(1)
    coarse = pyramid.scales[0]
    size = coarse.size
    seeds = list(range(400))
    others = LinearSource(coarse, Draw(seeds=range(1000, 1400)), 0).states(1)
    known, told = others[:, 0], torch.eye(others.shape[2], dtype=torch.float64)
    monkeypatch.setattr(LinearDynamics, "infer", lambda self, picture: (known, told))
    picture = torch.zeros(len(seeds), 3, *size)
    source = SteeredLinearSource(coarse, Draw(seeds=seeds), 0, picture, lambda _, t: float(t != 0))
    states = source.states(6)
    close(states[:, 0].float(), known.float(), 1e-4)
    wanted = coarse.covariance(6)[5]
    found = states[:, 5].T @ known / len(seeds)
    assert (found - wanted).norm() < 0.35 * wanted.norm()
    spread = states[:, 5].T @ states[:, 5] / len(seeds)
    assert (spread - coarse.covariance(1)[0]).norm() < 0.35 * coarse.covariance(1)[0].norm()


def test_travelling_waves_are_foreseen(anchored_pyramid):
    """Frames that the model has not seen, of waves that it has: nearer to what comes than standing still."""
    model = DTSGAN(anchored_pyramid.truncated(1), FPS)
    future = resize(make_clip(80, seed=1), model.size)
    wins = []
    for start in range(45, 75, 4):
        real = future[:, :, start : start + 5]
        error = (model.predict(real[0, :, 0], 5) - real).square().mean((0, 1, 3, 4))[1:]
        still = (real[:, :, :1] - real).square().mean((0, 1, 3, 4))[1:]
        wins.append(10 * math.log10(float(still.mean() / error.mean())))
    assert sum(wins) / len(wins) > 1  # dB


def test_the_seeds_chance_enters_slowly(anchored_pyramid, monkeypatch):
    model = DTSGAN(anchored_pyramid, FPS)
    picture = model.sample(1, seed=77)[0, :, 0]

    def spread() -> Tensor:
        return torch.cat([model.predict(picture, 8, seed) for seed in range(4)]).std(0).mean((0, 2, 3))

    slow = spread()
    monkeypatch.setattr(steering, "RAMP", 0.001)
    at_once = spread()
    assert slow[1] < at_once[1]


def test_patches_are_chosen_by_the_picture(monkeypatch):
    """What the transport shows of a later frame of the scene is like it before any detail is added."""
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "flag.mp4", size=20)
    scene = fitted(clip[:, :, :80], 30)

    def error() -> Tensor:
        drawn = []
        for frame in range(90, 120, 6):
            guide = Steering(scene, clip[:, :, frame], None, lesson=0)
            drawn.append(Stream(scene, Draw(), guidance=guide).take(1) - clip[:, :, frame, None])
        return torch.cat(drawn).square().mean()

    steered = error()
    monkeypatch.setattr(Steering, "rung", Guidance.rung)
    assert steered < 0.9 * error()


def test_what_is_drawn_after_a_picture_keeps_to_what_is_likely(monkeypatch):
    """Patches of other frames miss some of what is to be expected of the frames that come."""
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "flag.mp4", size=20)
    scene = fitted(clip[:, :, :80], 30)

    def error() -> Tensor:
        futures = []
        for frame in range(84, 112, 7):
            guide = Steering(scene, clip[:, :, frame], None)
            futures.append(Stream(scene, Draw(), guidance=guide).take(5) - clip[:, :, frame : frame + 5])
        return torch.cat(futures)[:, :, 1:].square().mean()

    projected = error()
    monkeypatch.setattr(Steering, "transported", Guidance.transported)
    assert projected < 0.95 * error()


def test_the_papers_form_conditions_the_finest_scale_alone(anchored_pyramid):
    model = DTSGAN(anchored_pyramid, FPS, encoder=wild_encoder(anchored_pyramid, "paper"))
    picture = model.sample(1, seed=77)[:, :, 0]
    guide = Steering(anchored_pyramid, picture, model.encoder)
    below = Stream(anchored_pyramid, Draw(seeds=[1]), top=1, guidance=guide).take_raw(4)
    close(below, Stream(anchored_pyramid, Draw(seeds=[1]), top=1).take_raw(4))
    assert (model.predict(picture, 2, 1)[:, :, 0] - picture).abs().mean() < 0.3
