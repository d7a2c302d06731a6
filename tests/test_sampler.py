"""A seed names one endless video: however, from wherever and in whatever parts it is drawn."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import FPS, close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator
from dtsgan.pyramid import resize
from dtsgan.sampler import Draw, Stream, tiled_chunks

few = settings(max_examples=4, deadline=None)


def draw_video(pyramid: PyramidGenerator, num_frames: int, *, canvas=None, window=None, **fields) -> Tensor:
    return Stream(pyramid, Draw(**fields), canvas, window).take(num_frames)


def motion(video: Tensor) -> Tensor:
    """Mean change from each frame to the next, `(T - 1,)`."""
    return (video[:, :, 1:] - video[:, :, :-1]).abs().mean((0, 1, 3, 4))


def held_bytes(stream: Stream) -> int:
    """Memory of every tensor that a stream and its sources keep, views counted with all that they hold."""
    storages: dict[int, int] = {}
    seen: set[int] = set()

    def walk(value: object) -> None:
        if isinstance(value, Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif hasattr(value, "__dict__") and id(value) not in seen:
            seen.add(id(value))
            walk(vars(value))

    walk(stream)
    return sum(storages.values())


def test_a_tiny_video_is_neither_still_nor_saturated(pyramid):
    """What the tests below compare is worth comparing."""
    video = draw_video(pyramid, 24)
    assert video.shape == (1, 3, 24, *pyramid.sizes[-1])
    assert video.std() > 0.05
    assert motion(video).min() > 0.005
    assert (video.abs() == 1).float().mean() < 0.05


@few
@given(chunks=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 2**40 - 1))
@pytest.mark.parametrize("speed", [1.0, 0.7])
def test_any_chunking_gives_the_same_video(pyramid, chunks, seed, speed):
    stream = Stream(pyramid, Draw(seeds=[seed], speed=speed))
    parts = torch.cat([stream.take(count) for count in chunks], 2)
    close(parts, draw_video(pyramid, sum(chunks), seeds=[seed], speed=speed))


def test_chunks_give_the_number_of_frames_that_is_asked_for(free_pyramid):
    lengths = [part.shape[2] for part in Stream(free_pyramid, Draw()).chunks(10, chunk=4)]
    assert lengths == [4, 4, 2]
    endless = Stream(free_pyramid, Draw()).chunks(None, chunk=4)
    assert [next(endless).shape[2] for _ in range(4)] == [4] * 4


@few
@given(seeds=st.lists(st.integers(0, 2**40 - 1), min_size=2, max_size=3))
@pytest.mark.parametrize("fields", [{}, {"period": 12}, {"diversity": 0.6}])
def test_a_seed_names_one_video_whatever_batch_it_is_drawn_in(pyramid, seeds, fields):
    batch = draw_video(pyramid, 6, seeds=seeds, **fields)
    for k, seed in enumerate(seeds):
        close(batch[k : k + 1], draw_video(pyramid, 6, seeds=[seed], **fields))


def test_different_seeds_draw_different_videos(pyramid):
    videos = draw_video(pyramid, 12, seeds=[0, 1, 2, 2**39])
    for k, video in enumerate(videos):
        for other in videos[k + 1 :]:
            assert (video - other).abs().mean() > 0.02


@few
@given(start=st.integers(1, 60))
@pytest.mark.parametrize("fields", [{}, {"speed": 0.7}, {"speed": 2.3}, {"diversity": 0.5}, {"period": 13}])
def test_drawing_from_a_frame_on_equals_streaming_to_it(pyramid, start, fields):
    streamed = draw_video(pyramid, start + 6, **fields)[:, :, start:]
    close(draw_video(pyramid, 6, start_frame=start, **fields), streamed)


@pytest.mark.parametrize("speed", [1.0, 0.7])
def test_overlapping_windows_agree_at_frame_one_million(pyramid, speed):
    first = draw_video(pyramid, 12, start_frame=1_000_000, speed=speed)
    second = draw_video(pyramid, 12, start_frame=1_000_005, speed=speed)
    close(second[:, :, :7], first[:, :, 5:])
    assert (first - draw_video(pyramid, 12, speed=speed)).abs().mean() > 0.02


@few
@given(period=st.integers(12, 40))
@pytest.mark.parametrize("fields", [{}, {"speed": 0.5}, {"speed": 1.7}, {"diversity": 0.5}, {"diversity": 0}])
def test_a_loop_of_any_length_repeats_exactly(pyramid, period, fields):
    video = draw_video(pyramid, 2 * period + 3, period=period, **fields)
    close(video[:, :, period : 2 * period], video[:, :, :period])
    close(video[:, :, 2 * period :], video[:, :, :3])
    assert motion(video).min() > 1e-4


def test_a_short_loop_repeats_too(pyramid):
    for period in (2, 3, 7):
        video = draw_video(pyramid, 2 * period, period=period)
        close(video[:, :, period:], video[:, :, :period])


@pytest.mark.parametrize("speed", [1.0, 0.6])
def test_the_seam_of_a_loop_is_not_rougher_than_its_interior(pyramid, speed):
    for period in (12, 31):
        looped = motion(draw_video(pyramid, period + 1, seeds=range(4), period=period, speed=speed))
        assert looped[-1] < 1.3 * looped[:-1].mean()
    # and a cut would be seen by that measure
    open_ended = draw_video(pyramid, 26, seeds=range(4), speed=speed)
    cut = (open_ended[:, :, -1] - open_ended[:, :, 0]).abs().mean()
    assert cut > 1.3 * motion(open_ended).mean()


@few
@given(height=st.integers(16, 44), width=st.integers(16, 44))
def test_a_free_texture_is_drawn_at_any_height_and_width(free_pyramid, height, width):
    video = DTSGAN(free_pyramid, FPS).sample(3, height, width)
    assert video.shape == (1, 3, 3, height, width)
    assert video.std() > 0.05
    part = draw_video(free_pyramid, 3, canvas=(height, width), window=((3, 14), (2, 16)))
    close(video[..., 3:14, 2:16], part)


def test_a_free_texture_has_no_border(free_pyramid):
    """A window may reach beyond the canvas, and what lies there is as alive as what lies within."""
    wide = draw_video(free_pyramid, 12, canvas=(20, 27), window=((-12, 32), (-12, 39)))
    close(wide[..., 12:32, 12:39], draw_video(free_pyramid, 12, canvas=(20, 27)))
    inner, outer = wide[..., 12:32, 12:39].std(), wide[..., :12, :].std()
    assert 0.7 < outer / inner < 1.4


def test_a_window_of_a_scene_is_cut_from_the_whole(anchored_pyramid):
    whole = draw_video(anchored_pyramid, 6)
    window = draw_video(anchored_pyramid, 6, window=((4, 13), (0, 11)))
    close(window, whole[..., 4:13, 0:11])


@pytest.mark.parametrize("canvas", [(20, 27), (31, 18)])
@pytest.mark.parametrize("tile", [(True, True), (True, False), (False, True)])
def test_a_tile_is_exactly_periodic_along_the_axes_asked_for(free_pyramid, canvas, tile):
    height, width = canvas
    twice = ((0, 2 * height), (0, 2 * width))
    video = draw_video(free_pyramid, 4, canvas=canvas, window=twice, tile=tile)
    first, second = video[..., :height, :], video[..., height:, :]
    left, right = video[..., :width], video[..., width:]
    for periodic, (one, other) in zip(tile, ((first, second), (left, right)), strict=True):
        if periodic:
            close(other, one)
        else:
            assert (other - one).abs().mean() > 0.02


@pytest.mark.parametrize("tile_side", [11, 64])
@pytest.mark.parametrize("fields", [{}, {"tile": (True, True)}, {"period": 12}, {"start_frame": 90}])
def test_drawing_by_tiles_equals_drawing_the_whole(free_pyramid, tile_side, fields):
    draw = Draw(seeds=[3, 8], **fields)
    tiled = torch.cat([*tiled_chunks(free_pyramid, draw, (25, 26), 4, tile_side, chunk=3)], 2)
    close(tiled, Stream(free_pyramid, draw, (25, 26)).take(4))


def test_new_video_does_not_depend_on_the_length_of_the_source(free_pyramid, anchored_pyramid):
    longer = copy.deepcopy(free_pyramid)
    longer.num_frames = 7
    close(draw_video(longer, 8), draw_video(free_pyramid, 8))
    assert (
        draw_video(longer, 8, diversity=0.5) - draw_video(free_pyramid, 8, diversity=0.5)
    ).abs().max() > 0.01

    forgetful = copy.deepcopy(anchored_pyramid)
    forgetful.scales[0].states = forgetful.scales[0].states[:7].clone()
    forgetful.num_frames = 7
    close(draw_video(forgetful, 8), draw_video(anchored_pyramid, 8))


def test_a_video_may_be_longer_than_its_source_without_repeating_it(pyramid):
    length = 3 * pyramid.num_frames
    video = draw_video(pyramid, length)
    turn = 2 * (pyramid.num_frames - 1)  # there and back again would return here
    assert (video[:, :, turn:] - video[:, :, : length - turn]).abs().mean((0, 1, 3, 4)).min() > 0.01


def test_diversity_zero_is_the_reconstruction_for_every_seed(pyramid):
    seeds = draw_video(pyramid, pyramid.num_frames, seeds=[0, 1, 12345], diversity=0)
    rebuilt = DTSGAN(pyramid, FPS).reconstruct()
    assert motion(rebuilt).min() > 0.005
    for video in seeds:
        close(video[None], rebuilt)


def test_the_reconstruction_of_the_linear_model_is_the_source(anchored_pyramid, clip):
    coarse = anchored_pyramid.truncated(1)  # the scales above are random here
    target = resize(clip, coarse.sizes[0])
    error = draw_video(coarse, clip.shape[2], diversity=0) - target
    assert error.square().mean() < 0.1 * target.var()


def test_more_diversity_moves_further_from_the_source(pyramid):
    source = draw_video(pyramid, 20, diversity=0)
    distances = [
        float((draw_video(pyramid, 20, diversity=d) - source).square().mean()) for d in (0, 0.3, 0.7, 1)
    ]
    assert distances[0] == 0
    assert all(a < b for a, b in pairwise(distances))


def test_half_the_speed_moves_about_half_as_much_a_frame(pyramid):
    coarse = pyramid.truncated(1)  # the scales above add detail of their own at every speed
    normal = motion(draw_video(coarse, 96, seeds=range(3))).mean()
    slow = motion(draw_video(coarse, 96, seeds=range(3), speed=0.5)).mean()
    fast = motion(draw_video(coarse, 48, seeds=range(3), speed=2)).mean()
    assert 0.4 < slow / normal < 0.65
    assert fast / normal > 1.2


def test_slow_motion_passes_through_the_frames_of_the_normal_one(pyramid):
    coarse = pyramid.truncated(1)
    normal = draw_video(coarse, 10)
    slow = draw_video(coarse, 19, speed=0.5)
    close(slow[:, :, ::2], normal)


@pytest.mark.parametrize("fields", [{}, {"speed": 0.5}, {"period": 24}, {"diversity": 0.5}])
def test_the_memory_of_a_stream_does_not_grow(pyramid, fields):
    stream = Stream(pyramid, Draw(seeds=[1], **fields))
    sizes = []
    for number in range(50):
        stream.take(4 if number % 2 else 2)
        if number + 1 in (6, 50):
            sizes.append(held_bytes(stream))
    assert sizes[0] == sizes[1]


def test_a_draw_is_not_changed_by_drawing(free_pyramid):
    draw = Draw(seeds=[5], speed=0.5, period=12)
    before = replace(draw)
    Stream(free_pyramid, draw).take(5)
    assert draw == before
