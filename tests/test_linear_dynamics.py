"""The closed-form coarse model: it learns a linear system, and is a stable one whatever it learned from."""

import numpy as np
import pytest
import torch
from conftest import close, make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.config import ModelConfig
from dtsgan.errors import VideoError
from dtsgan.linear_dynamics import (
    LinearDynamics,
    companion,
    fit_linear_system,
    loop_gain,
    normal_scores,
    spectrum,
    stationary_covariance,
)
from dtsgan.networks import PyramidGenerator
from dtsgan.sampler import Draw, LinearSource, Stream


def simulate(transition: np.ndarray, noise_factor: np.ndarray, length: int, seed: int = 0) -> np.ndarray:
    """`(length, n)` states of an autoregression, past its start."""
    rng = np.random.default_rng(seed)
    lags, n, _ = transition.shape
    states = np.zeros((length + 500, n))
    for t in range(lags, len(states)):
        past = sum(transition[k] @ states[t - 1 - k] for k in range(lags))
        states[t] = past + noise_factor @ rng.standard_normal(n)
    return states[500:]


def radius(transition: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(companion(transition))).max())


def fitted(clip: Tensor, components: int = 8, lags: int = 2) -> PyramidGenerator:
    """A pyramid of the linear model alone."""
    size = (clip.shape[3], clip.shape[4])
    config = ModelConfig(coarse="linear", layout="anchored", num_components=components, num_lags=lags)
    pyramid = PyramidGenerator(config, [size], clip.shape[2])
    pyramid.scales[0].fit(clip)
    return pyramid.eval()


def small_clip(num_frames: int = 60, seed: int = 0) -> Tensor:
    return make_clip(num_frames, 9, 12, seed)


def test_the_poles_of_a_linear_system_are_recovered():
    rotation = lambda r, a: r * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])  # noqa: E731
    system = np.zeros((1, 4, 4))
    system[0, :2, :2], system[0, 2:, 2:] = rotation(0.95, 0.6), rotation(0.8, 1.9)
    states = simulate(system, np.eye(4), 8000)
    found = fit_linear_system(states / states.std(0), 1).transition[0]
    expected = np.sort_complex(np.linalg.eigvals(system[0]))
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(found)), expected, atol=0.03)


def test_the_poles_of_a_system_with_two_lags_are_recovered():
    system = np.array([[[1.6 * np.cos(0.7)]], [[-0.64]]])  # poles 0.8 exp(+-0.7 i)
    states = simulate(system, np.eye(1), 20_000)
    poles = np.linalg.eigvals(companion(fit_linear_system(states / states.std(), 2).transition))
    np.testing.assert_allclose(np.abs(poles), 0.8, atol=0.03)
    np.testing.assert_allclose(np.abs(np.angle(poles)), 0.7, atol=0.05)


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(6, 60), n=st.integers(1, 5), lags=st.integers(1, 3), growth=st.floats(0.9, 1.2),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_every_system_is_stable_even_one_learned_from_growth(length, n, lags, growth, seed):
    states = np.random.default_rng(seed).standard_normal((length, n)).cumsum(0)
    states *= growth ** np.arange(length)[:, None]
    states = (states - states.mean(0)) / np.maximum(states.std(0), 1e-9)
    system = fit_linear_system(states, lags)
    assert radius(system.transition) < 0.9951
    assert np.isfinite(system.noise_factor).all()


@pytest.mark.parametrize("frames", [4, 5, 12, 60])
def test_the_model_of_any_clip_is_stable_and_draws_finite_frames(frames):
    clips = {
        "waves": small_clip(frames),
        "noise": torch.rand(1, 3, frames, 9, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1,
        "fade": torch.linspace(-1, 1, frames)[:, None, None].expand(1, 3, frames, 9, 12),
        "flash": torch.zeros(1, 3, frames, 9, 12).index_fill(2, torch.tensor([frames // 2]), 1.0),
        "one pixel": small_clip(frames) * torch.zeros(9, 12).index_fill(0, torch.tensor([4]), 1.0),
    }
    for name, clip in clips.items():
        pyramid = fitted(clip)
        assert radius(pyramid.scales[0].transition.double().numpy()) < 0.9952, name
        video = Stream(pyramid, Draw(seeds=[0, 1])).take(20)
        assert video.isfinite().all(), name


@pytest.mark.parametrize("frames", [40, 120])
@pytest.mark.parametrize("components", [6, 16])
def test_the_states_have_the_deviation_of_those_of_the_clip(frames, components):
    """Also where they are nearly periodic, so that hardly any noise drives them."""
    model = fitted(small_clip(frames), components).scales[0]
    covariance = stationary_covariance(model.transition.double().numpy(), model.noise_factor.double().numpy())
    deviation = np.sqrt(np.diag(covariance)[:components])
    np.testing.assert_allclose(deviation, model.states.double().std(0, correction=0), rtol=0.05)


def test_what_is_drawn_has_the_deviation_and_the_mean_of_the_clip():
    clip = small_clip(120)
    video = Stream(fitted(clip, components=16), Draw(seeds=range(8))).take(120)
    ratio = video.std((0, 2)) / clip.std((0, 2))
    assert ratio.median() == pytest.approx(1, abs=0.15)
    assert (video.mean((0, 2)) - clip.mean((0, 2))).abs().mean() < 0.1


def test_a_slow_drift_stays_slow():
    """With about as many coefficients as frames, least squares would make it flicker."""
    t, y, x = torch.meshgrid(torch.arange(110), torch.arange(12), torch.arange(16), indexing="ij")
    phases = 6.28 * torch.rand(12, generator=torch.Generator().manual_seed(0))
    waves = [
        torch.sin(phase + 0.2 * k * x + 0.15 * (k % 3) * y - 0.02 * k * t) / k
        for k, phase in enumerate(phases, 1)
    ]
    clip = (0.3 * torch.stack([sum(waves), sum(waves[2:]), sum(waves[4:])]))[None].clamp(-1, 1)
    video = Stream(fitted(clip, components=55), Draw(seeds=range(3))).take(110)
    for frames in (1, 4, 12):
        moved = [(c[:, :, frames:] - c[:, :, :-frames]).abs().mean() for c in (video, clip)]
        assert moved[0] / moved[1] == pytest.approx(1, abs=0.35), frames


@pytest.mark.parametrize("diversity", [0.0, 1.0, 2.0])
def test_every_pixel_stays_within_what_it_showed(diversity):
    clip = small_clip()
    video = Stream(fitted(clip), Draw(seeds=range(3), diversity=diversity)).take(40)
    low, high = clip.amin(2, keepdim=True), clip.amax(2, keepdim=True)
    rounding = 1e-3  # half precision
    assert (video >= low - rounding).all() and (video <= high + rounding).all()
    assert video.std() > 0.1


def test_black_stays_black_and_fire_never_turns_blue():
    """A pixel that is red whenever it is bright is never bright in another colour."""
    heat = (small_clip()[:, :1] * 3).clamp(0, 1)
    fire = torch.cat([heat, heat**2, torch.zeros_like(heat)], 1) * 2 - 1
    video = Stream(fitted(fire), Draw(seeds=range(3))).take(40)
    assert (video[:, 2] <= -1 + 1e-3).all()
    assert (video[:, 1] <= video[:, 0] + 1e-3).all()
    assert (video[:, 0] < -0.9).float().mean() > 0.5 * (fire[:, 0] < -0.9).float().mean()


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3])
def test_a_still_clip_is_refused(value):
    with pytest.raises(VideoError, match="does not move"):
        fitted(torch.full((1, 3, 20, 9, 12), value))
    still = small_clip()[:, :, :1].expand(-1, -1, 20, -1, -1)
    with pytest.raises(VideoError, match="does not move"):
        fitted(still)


def test_the_source_is_what_its_own_states_give_back():
    clip = small_clip()
    pyramid = fitted(clip, components=30)
    rebuilt = pyramid.scales[0].to_clip(pyramid.scales[0].states[None])
    assert rebuilt.shape == clip.shape
    assert (rebuilt - clip).square().mean() < 0.1 * clip.var()


def test_a_shock_is_forgotten_after_the_memory():
    model = fitted(small_clip()).scales[0]
    matrix = companion(model.transition.double().numpy())
    assert np.linalg.norm(np.linalg.matrix_power(matrix, model.memory()), 2) < 1e-7
    assert model.memory() < 2**14


def test_a_clip_carries_at_most_half_as_many_states_as_frames():
    assert LinearDynamics.num_states(40, 60) == 20
    assert LinearDynamics.num_states(400, 60) == 60
    assert LinearDynamics.num_states(1, 60) == 1


def test_the_stationary_covariance_solves_its_equation():
    rng = np.random.default_rng(0)
    transition = 0.3 * rng.standard_normal((2, 3, 3))
    assert radius(transition) < 1
    noise_factor = np.linalg.cholesky(np.eye(3) + 0.1)
    found = stationary_covariance(transition, noise_factor)
    matrix, shocks = companion(transition), np.zeros((6, 6))
    shocks[:3, :3] = noise_factor @ noise_factor.T
    np.testing.assert_allclose(found, matrix @ found @ matrix.T + shocks, atol=1e-8)
    sampled = np.cov(simulate(transition, noise_factor, 40_000).T)
    np.testing.assert_allclose(found[:3, :3], sampled, rtol=0.1, atol=0.05)


def test_the_mean_of_the_spectrum_is_the_variance():
    model = fitted(small_clip()).scales[0]
    system = model.transition.double().numpy(), model.noise_factor.double().numpy()
    frequencies = 2 * np.pi * np.arange(20_000) / 20_000
    variance = np.diag(stationary_covariance(*system))[: len(system[1])]
    np.testing.assert_allclose(spectrum(*system, frequencies).mean(0), variance, rtol=0.01)


@pytest.mark.parametrize("period", [12, 13, 48, 300])
def test_a_loop_has_the_variance_of_endless_video_however_short_it_is(period):
    model = fitted(small_clip(120), components=16).scales[0]
    system = model.transition.double().numpy(), model.noise_factor.double().numpy()
    bins = 2 * np.pi / period * np.arange(period)
    gain = loop_gain(*system, period)[np.minimum(np.arange(period), period - np.arange(period))]
    looped = (spectrum(*system, bins) * gain**2).mean(0)
    np.testing.assert_allclose(looped, np.diag(stationary_covariance(*system))[:16], rtol=0.2)
    draw = Draw(seeds=range(16), period=period)
    states = LinearSource(model, draw, 0).loop
    assert float(states.std()) == pytest.approx(1, abs=0.35)


# -- normal scores ---


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_equal_values_share_their_score_and_larger_ones_have_larger(values):
    line = np.array(values, float)
    scores = normal_scores(line[:, None])[:, 0]
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            assert (scores[i] < scores[j]) == (a < b)
    assert abs(scores.mean()) < 0.5


def test_scores_of_different_values_are_normal_quantiles():
    values = np.random.default_rng(0).permutation(np.exp(np.linspace(0, 3, 101)))
    scores = normal_scores(values[:, None])[:, 0]
    expected = torch.special.ndtri((torch.arange(101).double() + 0.5) / 101).numpy()
    np.testing.assert_allclose(np.sort(scores), expected, atol=1e-12)
    assert (scores.argsort() == values.argsort()).all()


def test_a_still_pixel_scores_zero():
    np.testing.assert_allclose(normal_scores(np.full((7, 2), 0.3)), 0, atol=1e-12)


def test_the_stored_model_draws_as_the_fitted_one():
    pyramid = fitted(small_clip())
    copy = PyramidGenerator(pyramid.config, pyramid.sizes, pyramid.num_frames)
    copy.load_state_dict(pyramid.state_dict())
    close(Stream(copy.eval(), Draw()).take(6), Stream(pyramid, Draw()).take(6))


# -- what a frame tells ---


def test_hidden_pixels_are_inferred_from_the_others():
    clip = small_clip(80)
    model = fitted(clip[:, :, :60]).scales[0]
    known = torch.ones(9, 12, dtype=torch.bool)
    known[3:6, 4:9] = False
    frames = clip[0, :, 60:].transpose(0, 1).clone()  # unseen
    spoiled = torch.where(known, frames, torch.ones(()))
    hidden = (..., slice(3, 6), slice(4, 9))
    error = {}
    for name, states in (
        ("masked", model.infer(spoiled, known=known)[0]),
        ("fooled", model.infer(spoiled)[0]),
        ("whole", model.infer(frames)[0]),
    ):
        drawn = model.to_clip(states[None])[0].transpose(0, 1)
        error[name] = float((drawn - frames)[hidden].square().mean())
    assert error["masked"] < 0.5 * error["fooled"]
    assert error["masked"] < 0.5 * frames[hidden].var()
    assert error["whole"] < 1.1 * error["masked"]


def test_persistence_begins_at_one_and_never_rises():
    kept = fitted(small_clip()).scales[0].persistence(20)
    assert kept[0] == 1 and (kept.diff() <= 0).all() and kept[-1] >= 0


def test_the_covariance_is_that_of_long_draws():
    model = fitted(small_clip(), components=3).scales[0]
    states = simulate(model.transition.double().numpy(), model.noise_factor.double().numpy(), 60000)
    for lag, expected in enumerate(model.covariance(4)):
        found = states[lag:].T @ states[: len(states) - lag] / (len(states) - lag)
        np.testing.assert_allclose(found, expected.numpy(), atol=0.15)
