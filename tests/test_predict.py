"""The encoder's training: resumable, within its time, of use; and how far a picture is from a texture."""

import itertools

import pytest
import torch
from conftest import FPS, make_clip

from dtsgan import predict
from dtsgan.config import EncoderConfig
from dtsgan.errors import ConfigError, TrainingDivergedError
from dtsgan.model import DTSGAN
from dtsgan.predict import FAR, EncoderTraining, how_far
from dtsgan.pyramid import resize

CONFIG = EncoderConfig(features=4, steps=6, crop=16, batch_size=3)


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch):
    monkeypatch.setattr(predict, "NUM_EPISODES", 6)


def training(pyramid, clip, config: EncoderConfig = CONFIG, budget: float | None = None) -> EncoderTraining:
    return EncoderTraining(pyramid, resize(clip, pyramid.sizes[-1]), config, budget=budget)


def trained(pyramid, clip, config: EncoderConfig = CONFIG) -> EncoderTraining:
    result = training(pyramid, clip, config)
    list(result)
    return result


@pytest.mark.parametrize("form", ["every", "paper"])
def test_every_scale_that_the_form_conditions_is_trained_and_the_pyramid_stays(pyramid, clip, form):
    before = {name: value.clone() for name, value in pyramid.state_dict().items()}
    work = training(pyramid, clip, EncoderConfig(form=form, features=4, steps=6, crop=16))
    untrained = {name: value.clone() for name, value in work.encoder.state_dict().items()}
    steps = list(work)
    assert work.is_finished
    assert {p.stage for p in steps} == {"prediction"}
    assert [p.work_done for p in steps] == sorted(p.work_done for p in steps) and steps[-1].work_done == 1
    scales = {name.split(".")[1] for name in work.encoder.state_dict() if name.startswith("carriers")}
    assert scales == (
        {"0", "1", "2"} - ({"0"} if pyramid.config.coarse == "linear" else set())
        if form == "every"
        else {"2"}
    )
    changed = work.encoder.state_dict()
    assert [n for n in untrained if n.endswith("weight") and torch.equal(untrained[n], changed[n])] == []
    assert all(torch.equal(value, before[name]) for name, value in pyramid.state_dict().items())


@pytest.mark.parametrize("number", [1, 7, 11])
def test_a_training_stopped_and_resumed_ends_as_an_unbroken_one(pyramid, clip, number):
    whole = trained(pyramid, clip)
    first = training(pyramid, clip)
    list(itertools.islice(first, number))
    state = first.state_dict()
    second = training(pyramid, clip)
    second.load_state_dict(state)
    assert len(list(second)) == 6 * len(second.stages) - number
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, second.encoder.state_dict()[name]), name


def test_a_budget_lowers_the_steps_and_never_raises_them(anchored_pyramid, clip):
    config = EncoderConfig(features=4, steps=40, crop=16, batch_size=3)
    hurried = training(anchored_pyramid, clip, config, budget=1e-3)
    list(hurried)
    assert hurried.steps == [9, 9]  # those that were timed, and one
    idle = training(anchored_pyramid, clip, config, budget=1e4)
    list(itertools.islice(idle, 20))
    assert idle.steps == [40, 40]


def test_what_is_learned_brings_unseen_futures_nearer(anchored_pyramid):
    """The scales above the coarse one are random here: what they add wrongly can be learned away."""
    clip = resize(make_clip(80, seed=0), anchored_pyramid.sizes[-1])
    config = EncoderConfig(features=8, steps=150, crop=0)
    encoder = trained(anchored_pyramid, clip[:, :, :40], config).encoder
    error = {}
    for name, model in (
        ("with", DTSGAN(anchored_pyramid, FPS, encoder=encoder)),
        ("without", DTSGAN(anchored_pyramid, FPS)),
    ):
        errors = []
        for start in range(45, 70, 6):
            future = clip[:, :, start : start + 4]
            errors.append((model.predict(future[0, :, 0], 4) - future).square()[:, :, 1:].mean())
        error[name] = float(torch.stack(errors).mean())
    assert error["with"] < 0.97 * error["without"]


def test_the_first_frame_term_brings_the_papers_form_to_the_picture(anchored_pyramid, clip):
    config = EncoderConfig(form="paper", features=8, steps=60, crop=0)
    model = DTSGAN(anchored_pyramid, FPS, encoder=trained(anchored_pyramid, clip, config).encoder)
    picture = resize(clip, model.size)[0, :, 20]
    first = model.predict(picture, 1)[0, :, 0]
    assert (first - picture).square().mean() < 0.02 * picture.var()


def test_the_encoded_noise_draws_something_like_the_picture(free_pyramid, clip):
    work = training(free_pyramid, clip, EncoderConfig(features=8, steps=80, crop=16))
    losses = [p.losses["first_frame"] for p in itertools.islice(work, 80)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_a_loss_that_is_no_number_is_named(anchored_pyramid, clip):
    work = training(anchored_pyramid, clip)
    next(iter(work))
    with torch.no_grad():
        work.encoder.carrier(1).convs[0].weight.fill_(torch.nan)
    with pytest.raises(TrainingDivergedError, match="no longer a number"):
        list(work)


def test_a_clip_too_short_is_refused(anchored_pyramid, clip):
    with pytest.raises(ConfigError, match="3 frames"):
        training(anchored_pyramid, clip[:, :, :2])


def test_frames_of_the_texture_are_nearer_than_other_pictures(pyramid):
    model = DTSGAN(pyramid, FPS)
    own = how_far(model, model.sample(1, seed=5)[0, :, 0])
    noise = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = torch.ones(3, 30, 50)
    assert own < FAR
    assert how_far(model, noise) > 1.5 * own
    assert how_far(model, other) > 1.5 * own
    assert how_far(model, other) > FAR
