"""Learning a tiny pyramid: to its end, from a state, within a budget, and what stops it."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from conftest import KINDS, LINEAR, make_clip
from torch import Tensor

from dtsgan import losses, trainer
from dtsgan.budget import TIMED_STEPS
from dtsgan.config import Config
from dtsgan.errors import ConfigError, DTSGANError, TrainingDivergedError, VideoError
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.sampler import Draw, Stream
from dtsgan.trainer import Progress, Training

CLIP = make_clip(30, 20, 27)


def make_training(kind: str, clip: Tensor = CLIP, budget: float | None = None, **changes: Any) -> Training:
    values, layout = KINDS[kind]
    config = Config().with_settings({**values, "min_size": 9, "max_size": 20, "layout": layout, **changes})
    return Training(clip, config, budget=budget)


def weights(training: Training) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in training.pyramid.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request) -> tuple[str, Training, list[Progress]]:
    training = make_training(request.param)
    return request.param, training, list(training)


def test_a_tiny_run_finishes_with_finite_losses_at_every_step(trained):
    kind, training, progress = trained
    assert training.is_finished
    first = 1 if kind == "linear" else 0
    expected = [(scale, step) for scale in range(first, 3) for step in range(1, training.steps[scale] + 1)]
    seen = [(p.scale, p.step) for p in progress]
    assert seen == ([(0, 0)] if kind == "linear" else []) + expected
    for p in progress[first:]:
        assert {"generator", "discriminator", "adversarial", "reconstruction"} <= set(p.losses)
        assert all(math.isfinite(value) for value in p.losses.values())
    assert ("swd" in progress[-1].losses) == (kind == "linear")


def test_the_work_done_rises_from_nothing_to_one(trained):
    kind, _, progress = trained
    done = [p.work_done for p in progress]
    assert done == sorted(done)
    if kind != "linear":  # whose closed-form scale is done at once, and most of a tiny run
        assert 0 <= done[0] < 0.2
    assert done[-1] == pytest.approx(1)


def test_a_step_changes_the_scale_that_it_trains_and_no_other():
    training = make_training("adversarial", steps=(3, 3, 3))
    before = weights(training)
    for progress in training:
        after = weights(training)
        changed = {name.split(".")[1] for name in after if not torch.equal(before[name], after[name])}
        assert changed == {str(progress.scale)}
        before = after


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_finished_scale_can_be_sampled(kind):
    training = make_training(kind, steps=(2, 2, 2))
    sizes = []
    for progress in training:
        if progress.step == progress.num_steps:
            video = Stream(training.finished_pyramid(), Draw()).take(4)
            assert video.isfinite().all() and video.std() > 0
            sizes.append(video.shape[3:])
    assert sizes == training.pyramid.sizes


def test_training_lowers_the_reconstruction_error():
    training = make_training("linear", steps=(0, 60, 60), adversary=("none",), swd_weight=(0.0,), lr_g=3e-3)
    errors = [p.losses["reconstruction"] for p in training if p.scale == 1]
    assert sum(errors[-10:]) < 0.9 * sum(errors[:10])


def test_a_seed_names_one_training(trained):
    kind, training, progress = trained
    again = make_training(kind)
    torch.manual_seed(1234)  # the state of the world has no part in it
    list(again)
    assert_equal(weights(again), weights(training))
    other = make_training(kind, seed=1, steps=(1, 1, 1))
    assert next(iter(other)).losses != progress[0].losses or kind == "linear"
    list(other)
    random = ["scales.2.to_rgb.weight"] + ["transport.rungs.0.potentials"] * (kind == "linear")
    assert not any(torch.equal(weights(other)[name], weights(training)[name]) for name in random)


def test_training_leaves_the_random_state_of_the_process_alone():
    before = torch.get_rng_state()
    list(make_training("linear", steps=(1, 1, 1)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "at", ["first step", "within scale 1", "end of scale 0", "end of scale 1", "last step"]
)
def test_a_training_stopped_and_resumed_ends_as_an_unbroken_one(trained, at):
    kind, training, progress = trained
    ends = {p.scale: k + 1 for k, p in enumerate(progress)}
    number = {
        "first step": ends[0] + 1 if kind == "linear" else 1,
        "within scale 1": ends[0] + 3,
        "end of scale 0": ends[0],
        "end of scale 1": ends[1],
        "last step": ends[2] - 1,
    }[at]
    stopped = make_training(kind)
    list(itertools.islice(stopped, number))
    resumed = make_training(kind)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    rest = list(resumed)
    assert len(rest) == len(progress) - number
    assert [p.losses for p in rest] == [p.losses for p in progress[number:]]
    assert_equal(weights(resumed), weights(training))


def test_a_finished_training_resumed_has_nothing_left_to_do(trained):
    kind, training, _ = trained
    resumed = make_training(kind)
    resumed.load_state_dict(copy.deepcopy(training.state_dict()))
    assert resumed.is_finished
    assert list(resumed) == []
    assert_equal(weights(resumed), weights(training))


def test_a_training_resumed_again_and_again_ends_as_an_unbroken_one(trained):
    kind, training, progress = trained
    current = make_training(kind)
    for _ in range(len(progress) // 5 + 1):
        list(itertools.islice(current, 5))
        state = copy.deepcopy(current.state_dict())
        current = make_training(kind)
        current.load_state_dict(state)
    assert current.is_finished
    assert_equal(weights(current), weights(training))


# -- budget ---


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by 5 ms at every look, so that each step takes as long as the next."""
    ticks = itertools.count()
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: 0.005 * next(ticks))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_budget_becomes_a_number_of_steps(kind, clock):
    training = make_training(kind, budget=0.4)
    progress = list(training)
    assert training.is_finished
    assert len(progress) == pytest.approx(0.4 / 0.005, rel=0.1)
    assert training.budget.spent == pytest.approx(0.4, rel=0.1)
    last = {p.scale: p for p in progress}
    assert all(p.step == p.num_steps == training.num_steps(scale) for scale, p in last.items())


def test_a_budget_too_small_still_trains_every_scale(clock):
    training = make_training("adversarial", budget=0.01)
    list(training)
    assert training.is_finished
    assert all(0 < steps < 12 for steps in training.steps)


@pytest.mark.parametrize("stop_at", [3, 8, 9, 30])
def test_the_steps_that_a_budget_became_are_kept_across_a_resume(clock, stop_at):
    unbroken = make_training("adversarial", budget=0.25)
    list(unbroken)
    stopped = make_training("adversarial", budget=0.25)
    list(itertools.islice(stopped, stop_at))
    resumed = make_training("adversarial", budget=0.25)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    assert resumed.steps == stopped.steps
    settled = [n for n in range(stopped.scale + (stopped.step >= TIMED_STEPS))]
    list(resumed)
    assert resumed.is_finished
    assert [resumed.steps[n] for n in settled] == [stopped.steps[n] for n in settled]
    assert sum(resumed.steps) == pytest.approx(sum(unbroken.steps), rel=0.1)


# -- what goes wrong is named ---


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "term", ["reconstruction", "adversarial", "sliced_wasserstein", "hinge_discriminator"]
)
def test_a_loss_that_is_no_number_is_named(monkeypatch, term, value):
    calls = itertools.count()
    real = getattr(losses, term)
    monkeypatch.setattr(losses, term, lambda *a: real(*a) * (value if next(calls) >= 3 else 1))
    training = make_training("linear")
    with pytest.raises(TrainingDivergedError, match=r"training diverged at scale 1, step 3.*--seed.*lr_g"):
        list(training)


def test_a_discriminator_that_learns_nothing_is_named(monkeypatch):
    monkeypatch.setattr(trainer, "COLLAPSE_STEPS", 3)
    monkeypatch.setattr(losses, "hinge_discriminator", lambda real, fake: 0 * (real.mean() + fake.mean()))
    with pytest.raises(TrainingDivergedError, match=r"discriminator collapsed at scale 1, step 2.*lr_d"):
        list(make_training("linear"))


def test_a_clip_too_short_is_refused_with_the_number_that_is_needed():
    with pytest.raises(VideoError, match=r"has 5 frames .* needs 6"):
        make_training("adversarial", CLIP[:, :, :5])
    with pytest.raises(VideoError, match=r"has 9 frames .* needs 10"):  # and those that the base needs around
        make_training("linear", CLIP[:, :, :9])
    list(make_training("linear", CLIP[:, :, :10], steps=(1, 1, 1)))


def test_a_still_clip_is_refused():
    still = CLIP[:, :, :1].expand(-1, -1, 30, -1, -1)
    with pytest.raises(VideoError, match="does not move"):
        list(make_training("linear", still))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 5},  # a free texture keeps 5 pixels off each side: 3 are left of 13
        {"num_frames": 4},  # the discriminator eats 4
        {"num_layers": 5, "adversary": ("none",), "swd_weight": (1.0,)},
    ],
)
def test_a_clip_too_small_for_the_networks_is_refused_with_a_sentence(changes):
    with pytest.raises(DTSGANError):
        list(make_training("adversarial", steps=(1, 1, 1), **changes))


def test_a_linear_model_cannot_be_the_base_of_a_texture_of_any_size():
    """It has a value for each pixel, so it has places."""
    with pytest.raises(ConfigError):
        make_training("linear", layout="free", position_maps=False, static_layer=False)


# -- what a recipe may ask for ---


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("adversarial", {"adversary": ("hinge",), "norm": "none", "pool_frames": 20, "batch_size": 2}),
        ("adversarial", {"update": "single", "warm_start": False, "swd_weight": (1.0,)}),
        ("adversarial", {"teacher_forced": True, "noise_weight": 0.0, "rec_weight": (0.0,)}),
        ("adversarial", {"adversarial_weight": (1.0, 0.0), "features": (4, 6), "d_features": (5,)}),
        ("linear", {"adversary": ("none",), "forced_fakes": 1.0}),
        ("linear", {"adversary": ("wgan-gp",), "norm": "batch", "crop": 12, "batch_size": 2}),
        ("linear", {"static_layer": False, "position_maps": False, "on_detail": False, "whiten": False}),
        ("linear", {"num_scales": 1, "min_size": 20}),
    ],
)
def test_a_recipe_of_other_parts_trains_as_well(kind, changes):
    training = make_training(kind, **{"steps": (2, 2, 2), **changes})
    for progress in training:
        assert all(math.isfinite(value) for value in progress.losses.values())
    assert training.is_finished
    assert all(t.isfinite().all() for t in training.pyramid.state_dict().values())


def test_the_coarse_scale_of_the_linear_kind_takes_no_step():
    training = make_training("linear")
    first = next(iter(training))
    assert (first.scale, first.step, first.losses) == (0, 0, {})
    assert isinstance(training.pyramid.scales[0], LinearDynamics)
    assert LINEAR["steps"][0] > 0  # though the recipe has a number for it


def test_no_gradient_is_followed_further_than_the_clip():
    training = make_training("linear", steps=(0, 3, 0), adversary=("none",), grad_clip=1e-3)
    for progress in training:
        if progress.scale == 1 and progress.step == 2:
            length = torch.stack(
                [p.grad.norm() for p in training.G.parameters() if p.grad is not None]
            ).norm()
            assert 0 < length <= 1.001e-3
            return
    raise AssertionError("no step was seen")


def test_the_noise_of_a_finished_scale_is_the_part_that_is_kept():
    stds = {}
    for kept in (1.0, 0.5):
        training = make_training("linear", steps=(0, 1, 1), noise_kept=kept)
        list(training)
        stds[kept] = [float(net.noise_std) for net in training.pyramid.scales[1:]]
    assert stds[0.5] == pytest.approx([0.5 * std for std in stds[1.0]])
