"""Two-Stream: its optical flow is right, its samples come to the clip's statistics, go on and close."""

import os
import urllib.request
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.baselines import BASELINES
from dtsgan.baselines import two_stream as ts
from dtsgan.errors import WeightsUnavailable

WEIGHTS = os.environ.get("DTSGAN_METRIC_WEIGHTS")
needs_weights = pytest.mark.skipif(not WEIGHTS, reason="needs DTSGAN_METRIC_WEIGHTS, a folder of weights")
SIDE = 32


def blobs(num_frames: int, dx: int, dy: int, side: int = SIDE) -> Tensor:
    """Soft blobs that move by `(dx, dy)` pixels a frame, right and down, `(1, 3, T, side, side)`."""
    rng = torch.Generator().manual_seed(3)
    field = F.interpolate(torch.randn(1, 3, 40, 40, generator=rng), (160, 160), mode="bicubic")[0]
    frames = [
        torch.roll(field, (t * dy, t * dx), (1, 2))[:, 48 : 48 + side, 48 : 48 + side]
        for t in range(num_frames)
    ]
    return 0.5 * torch.stack(frames, 1).clamp(-2, 2)[None]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@needs_weights
@pytest.mark.parametrize("motion", [(2, 0), (-2, 0), (0, 2), (0, -3), (0, 0)])
def test_msoe_sees_the_motion_of_a_pattern_that_is_moved(motion):
    clip = blobs(2, *motion, side=64)
    flow = ts.load_msoe(Path(WEIGHTS)).flow(ts.in_pairs(ts.gray(clip[0].transpose(0, 1))))
    assert flow[0].flatten(1).median(1).values.tolist() == pytest.approx(motion, abs=0.4)


@pytest.fixture(scope="module")
def fitted() -> ts.TwoStream:
    method = BASELINES["two_stream_lite"].create(weights=WEIGHTS, iterations=40, window=3)
    method.fit(blobs(5, 2, 1))
    return method


@needs_weights
def test_a_sample_comes_nearer_to_the_clip_in_appearance_and_in_dynamics(fitted):
    noise = 2 * fitted.look.mean - 1 + ts.NOISE_STD * torch.randn(3, 3, SIDE, SIDE, generator=seeded(7))
    look, move = fitted.losses(noise)
    sample = fitted.sample(3, seeded(7))
    assert sample.shape == (1, 3, 3, SIDE, SIDE)
    new_look, new_move = fitted.losses(sample[0].transpose(0, 1))
    assert new_look < 0.5 * look and new_move < 0.8 * move
    clip_look, clip_move = fitted.losses(blobs(5, 2, 1)[0].transpose(0, 1))
    assert clip_look < new_look and clip_move < new_move  # the clip itself is the goal


def seam(method: ts.TwoStream, first: Tensor, second: Tensor) -> float:
    """How far the motion from one frame to another is from the clip's."""
    return method.losses(torch.stack([first, second]))[1]


@needs_weights
def test_a_longer_video_goes_on_from_the_last_frame_of_the_window_before(fitted):
    longer = fitted.sample(4, seeded(7))[0].transpose(0, 1)
    torch.testing.assert_close(longer[:3], fitted.sample(3, seeded(7))[0].transpose(0, 1))
    stranger = fitted.sample(1, seeded(8))[0, :, 0]
    assert seam(fitted, longer[2], longer[3]) < 0.8 * seam(fitted, longer[2], stranger)


@needs_weights
@pytest.mark.parametrize("num_frames", [3, 4])
def test_the_last_frame_of_a_loop_leads_to_its_first(fitted, num_frames):
    open_ended = fitted.sample(num_frames, seeded(7))[0].transpose(0, 1)
    fitted.loop = True
    try:
        loop = fitted.sample(num_frames, seeded(7))[0].transpose(0, 1)
    finally:
        fitted.loop = False
    assert seam(fitted, loop[-1], loop[0]) < 0.8 * seam(fitted, open_ended[-1], open_ended[0])


@needs_weights
def test_time_that_is_up_ends_the_optimisation_with_what_there_is(fitted):
    assert fitted.sample(3, seeded(7), seconds=0.0).isfinite().all()


def test_without_a_folder_of_weights_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv(ts.VARIABLE, raising=False)
    with pytest.raises(ValueError, match=r"msoenet\.safetensors"):
        BASELINES["two_stream_lite"].create().fit(blobs(2, 1, 0))
    with pytest.raises(WeightsUnavailable, match=r"has no msoenet\.safetensors"):
        BASELINES["two_stream_lite"].create(weights=tmp_path).fit(blobs(2, 1, 0))


@needs_weights
def test_without_vgg19_it_refuses_with_the_reason_and_uses_no_random_weights(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"VGG-19 cannot be downloaded \(no route to host\)"):
        BASELINES["two_stream"].create(weights=WEIGHTS).fit(blobs(2, 1, 0))


def test_the_stages_of_vgg19_are_conv1_1_and_its_first_four_pools(monkeypatch, tmp_path):
    models = pytest.importorskip("torchvision.models")
    layers = models.vgg.make_layers(models.vgg.cfgs["E"])
    whole = type("VGG", (), {"features": layers})
    monkeypatch.setattr(models, "vgg19", lambda weights, progress: whole)
    file = models.VGG19_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / file).touch()  # in the cache: nothing is asked for
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    maps = list(ts.load_vgg19()(blobs(1, 0, 0)[:, :, 0]))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2),
    ]  # fmt: skip
    torch.testing.assert_close(maps[0], layers[1](layers[0](entry(blobs(1, 0, 0)[:, :, 0]))))


def entry(frames: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (ts.IMAGENET_MEAN, ts.IMAGENET_STD))
    return ((frames + 1) / 2 - mean) / std


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="vgg19 and lite"):
        ts.TwoStream(appearance="resnet")
    with pytest.raises(ValueError, match="window must be 2"):
        ts.TwoStream(window=1)
    with pytest.raises(ValueError, match="needs at least 32"):
        ts.TwoStream().fit(torch.zeros(1, 3, 4, 16, 40))
