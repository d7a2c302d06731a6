"""LDS finds the system that made a clip; in closed loop it lives on where LDS dies or explodes."""

import numpy as np
import pytest
import torch
from conftest import make_clip
from torch import Tensor

from dtsgan.baselines.closed_loop_lds import ClosedLoopLDS
from dtsgan.baselines.lds import LDS
from dtsgan.errors import VideoError

SIDE = 12


def rotation(radius: float, angle: float) -> np.ndarray:
    return radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def clip_of_a_system(length: int) -> tuple[Tensor, np.ndarray]:
    """A video that a linear system of four states made, and its poles."""
    transition = np.zeros((4, 4))
    transition[:2, :2], transition[2:, 2:] = rotation(0.97, 0.5), rotation(0.9, 1.7)
    rng = np.random.default_rng(0)
    states = np.zeros((length + 200, 4))
    for t in range(1, len(states)):
        states[t] = transition @ states[t - 1] + rng.standard_normal(4)
    components = np.linalg.qr(rng.standard_normal((3 * SIDE * SIDE, 4)))[0]
    frames = 0.1 + 0.3 * states[200:] @ components.T  # far from where pixels are clipped
    clip = torch.from_numpy(frames).float().view(1, length, 3, SIDE, SIDE).transpose(1, 2)
    return clip, np.linalg.eigvals(transition)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def motion(video: Tensor) -> float:
    return float(video.diff(dim=2).square().mean().sqrt())


def test_the_poles_of_the_system_that_made_a_clip_are_recovered():
    clip, poles = clip_of_a_system(4000)
    method = LDS(num_states=4)
    method.fit(clip)
    found = np.linalg.eigvals(method.transition)
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(poles), atol=0.02)


def test_a_drawn_video_has_the_variance_and_the_motion_of_the_system_that_made_the_clip():
    clip, _ = clip_of_a_system(4000)
    method = LDS(num_states=4)
    method.fit(clip)
    video = method.sample(4000, seeded(0))
    assert video.std() / clip.std() == pytest.approx(1, abs=0.1)
    assert motion(video) / motion(clip) == pytest.approx(1, abs=0.05)


def test_the_clip_is_what_its_states_give_back():
    clip = make_clip(20, 8, 10)
    method = LDS()
    method.fit(clip)
    assert len(method.transition) == 19
    torch.testing.assert_close(method.to_clip(method.states), clip, rtol=0, atol=1e-4)


def test_the_first_frame_is_that_of_the_clip():
    clip = make_clip(20, 8, 10)
    method = LDS()
    method.fit(clip)
    torch.testing.assert_close(method.sample(3, seeded(5))[:, :, 0], clip[:, :, 0], rtol=0, atol=1e-4)


def growing() -> Tensor:
    """Waves that grow: what is learned of them explodes."""
    clip = make_clip(24, 8, 10)
    return clip * torch.linspace(0.1, 1, 24)[:, None, None]


def dying() -> Tensor:
    """Waves that fade: what is learned of them comes to rest."""
    return growing().flip(2)


@pytest.mark.parametrize("clip", [growing(), dying()], ids=["growing", "dying"])
def test_in_closed_loop_a_texture_lives_on_where_an_open_loop_does_not(clip):
    ratio = {}
    for method in (LDS(num_states=6), ClosedLoopLDS(num_states=6)):
        method.fit(clip)
        video = method.sample(400, seeded(0))
        assert video.isfinite().all()
        ratio[method.name] = abs(np.log(motion(video[:, :, -60:]) / motion(clip)))
    assert ratio["closed-loop LDS"] < 0.7
    assert ratio["LDS"] > 2 * ratio["closed-loop LDS"]


def test_feedback_makes_the_joints_of_the_reference_smoother():
    clip = make_clip(60, 8, 10)
    method = ClosedLoopLDS(num_states=12, run_length=8)
    method.fit(clip)
    chosen = method.runs(300, seeded(0))
    reference = method.states[chosen]
    quiet = np.zeros((300, method.noise_factor.shape[1]))
    joints = np.flatnonzero(np.diff(chosen) != 1)
    assert len(joints) > 20
    jump = lambda states: np.linalg.norm(np.diff(states, axis=0), axis=1)[joints].mean()  # noqa: E731
    ordinary = np.linalg.norm(np.diff(method.states, axis=0), axis=1).mean()
    assert jump(reference) > 1.15 * ordinary
    assert jump(method.follow(reference, quiet)) < 0.85 * jump(reference)


def test_the_gain_leads_from_an_open_loop_to_a_replay():
    clip = make_clip(40, 8, 10)
    replay = ClosedLoopLDS(gain=1.0)
    replay.fit(clip)
    chosen = replay.runs(30, seeded(2))
    video = replay.sample(30, seeded(2))
    torch.testing.assert_close(video, clip[:, :, chosen], rtol=0, atol=1e-3)
    for gain in (0.0, 0.3):  # an unstable system gets the feedback that it needs
        method = ClosedLoopLDS(gain=gain)
        method.fit(growing())
        closed = (1 - method.feedback) * np.abs(np.linalg.eigvals(method.transition)).max()
        assert closed < 0.91


@pytest.mark.parametrize("method", [LDS(), ClosedLoopLDS()])
def test_a_clip_that_does_not_move_or_is_hardly_one_is_refused(method):
    with pytest.raises(VideoError, match="does not move"):
        method.fit(torch.zeros(1, 3, 20, 8, 10))
    with pytest.raises(VideoError, match=r"2 frames; .* needs at least"):
        method.fit(make_clip(2, 8, 10))


@pytest.mark.parametrize(
    "settings, sentence",
    [({"num_states": 0}, "num_states"), ({"gain": 1.5}, "gain must be"), ({"run_length": 1}, "run_length")],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClosedLoopLDS(**settings)
