"""What a texture draws, and how it refuses what it cannot."""

from itertools import pairwise

import pytest
import torch
from conftest import FPS

import dtsgan
from dtsgan.errors import ConfigError
from dtsgan.model import DTSGAN
from dtsgan.pyramid import resize


@pytest.fixture
def model(pyramid) -> DTSGAN:
    return DTSGAN(pyramid, FPS, {"preset": "tiny"})


def test_the_public_name_is_this_class():
    assert dtsgan.DTSGAN is DTSGAN


# -- what can be drawn ---


@pytest.mark.parametrize("fields", [{"height": 40}, {"width": 40}, {"height": 20, "width": 28}])
def test_a_scene_is_drawn_at_no_other_size(anchored_model, fields):
    with pytest.raises(ConfigError, match=r"anchored at 27x20 pixels.*another size.*--layout free"):
        anchored_model.sample(2, **fields)


@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_a_scene_is_not_tiled(anchored_model, tile):
    with pytest.raises(ConfigError, match=r"anchored.*cannot be tiled"):
        anchored_model.sample(2, tile=tile)


def test_a_scene_may_be_asked_for_at_its_own_size(anchored_model):
    assert torch.equal(anchored_model.sample(2, 20, 27), anchored_model.sample(2))


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"num_frames": 0}, "num_frames"), ({"num_frames": -3}, "num_frames"),
        ({"num_frames": 1, "loop": True}, "loop"),
        ({"seed": -1}, "seed"), ({"seed": 2**40}, "seed"), ({"num_videos": 0}, "num_videos"),
        ({"start_frame": -1}, "start_frame"), ({"speed": 0.0}, "speed"), ({"speed": 5.0}, "speed"),
        ({"speed": float("nan")}, "speed"), ({"diversity": -0.1}, "diversity"),
        ({"diversity": 2.1}, "diversity"),
        ({"diversity": float("nan")}, "diversity"), ({"tile": "z"}, "tile"), ({"height": 15}, "height"),
        ({"width": 20_000}, "width"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_named(free_model, fields, named):
    with pytest.raises(ConfigError, match=named):
        free_model.sample(**{"num_frames": 4, **fields})


def test_an_endless_loop_is_refused(free_model):
    with pytest.raises(ConfigError, match="loop"):
        next(free_model.stream(loop=True))


def test_one_side_alone_keeps_the_aspect(free_model):
    assert free_model.sample(1, height=40).shape[3:] == (40, 54)
    assert free_model.sample(1, width=54).shape[3:] == (40, 54)


def test_the_frames_of_a_stream_are_those_of_a_sample(model):
    frames = model.stream(seed=5, start_frame=3)
    streamed = torch.stack([next(frames) for _ in range(11)], 2)
    torch.testing.assert_close(streamed, model.sample(11, seed=5, start_frame=3), rtol=0, atol=1e-5)


def test_video_k_of_a_batch_is_the_one_that_seed_plus_k_names(model):
    batch = model.sample(5, seed=8, num_videos=3)
    assert len(batch) == 3
    torch.testing.assert_close(batch[2:], model.sample(5, seed=10), rtol=0, atol=1e-5)


def test_a_loop_of_a_model_is_a_period_of_its_frames(free_model):
    loop = free_model.sample(12, loop=True)
    after = free_model.sample(12, loop=True, start_frame=12)
    torch.testing.assert_close(after, loop, rtol=0, atol=1e-5)


def test_a_huge_canvas_is_drawn_by_tiles_and_equals_the_whole(free_model, monkeypatch):
    whole = free_model.sample(3, 40, 50, tile="x")
    monkeypatch.setattr("dtsgan.model.TILE", 18)
    torch.testing.assert_close(free_model.sample(3, 40, 50, tile="x"), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{}, {"loop": True}, {"speed": 0.4}, {"start_frame": 50}, {"diversity": 0.5}]
)
def test_drawn_scale_by_scale_the_last_is_the_sample_bit_for_bit(model, fields):
    clips = list(model.scale_by_scale(11, seed=3, **fields))
    assert [clip.shape[3:] for clip in clips] == [(9, 12), (13, 17), (20, 27)]
    assert torch.equal(clips[-1], model.sample(11, seed=3, **fields))
    for coarse, fine in pairwise(clips):  # each is the one above it, seen from further away
        shrunk = resize(fine, coarse.shape[3:])
        assert torch.corrcoef(torch.stack([shrunk.flatten(), coarse.flatten()]))[0, 1] > 0.8


def test_a_value_out_of_its_range_is_named_scale_by_scale_too(free_model):
    with pytest.raises(ConfigError, match="num_frames"):
        next(free_model.scale_by_scale(0))


@pytest.mark.parametrize("draws", ["chunks", "scale_by_scale"])
def test_several_videos_are_drawn_by_every_way_of_drawing(free_model, draws):
    drawn = list(getattr(free_model, draws)(5, seed=8, num_videos=3))[-1]
    assert torch.equal(drawn, free_model.sample(5, seed=8, num_videos=3))


# -- prediction ---


def test_a_texture_without_an_encoder_says_how_to_get_one(free_model, anchored_model):
    assert not free_model.can_predict and not free_model.has_encoder
    with pytest.raises(ConfigError, match="--with-prediction"):
        free_model.predict(torch.zeros(3, 20, 20))
    assert anchored_model.can_predict and not anchored_model.has_encoder


@pytest.mark.parametrize(
    "image, said",
    [
        (torch.zeros(20, 20), r"\(3, H, W\)"),
        (torch.zeros(4, 20, 20), r"\(3, H, W\)"),
        (torch.zeros(3, 20, 20, dtype=torch.uint8), "uint8"),
        (torch.full((3, 20, 20), 255.0), r"\[-1, 1\]"),
        (torch.full((3, 20, 20), torch.nan), r"\[-1, 1\]"),
        (torch.zeros(3, 2, 20), "8 to"),
    ],
)
def test_what_is_no_picture_is_refused(anchored_model, image, said):
    with pytest.raises(ConfigError, match=said):
        anchored_model.predict(image, 4)


@pytest.mark.parametrize("height, width", [(9, 100), (100, 30), (20, 27), (333, 444)])
def test_a_picture_of_any_size_is_cut_to_the_texture(anchored_model, height, width):
    ramp = torch.linspace(-0.8, 0.8, width).expand(3, height, width)
    video = anchored_model.predict(ramp, 2)
    assert video.shape == (1, 3, 2, *anchored_model.size)
    first = video[0, 0, 0].mean(0)
    assert (first.diff() > -0.01).all()  # still a ramp, its middle
    assert abs(float(first.mean())) < 0.05


@pytest.mark.parametrize(
    "values", [{"num_frames": 0}, {"seed": -1}, {"speed": 9.0}, {"num_frames": 1, "loop": True}]
)
def test_a_prediction_out_of_range_is_refused(anchored_model, values):
    with pytest.raises(ConfigError):
        anchored_model.predict(torch.zeros(3, 20, 20), **values)
