import math
import resource
import tracemalloc
import warnings
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dtsgan import video
from dtsgan.errors import VideoError
from dtsgan.video import (
    VideoWriter,
    contact_sheet,
    from_uint8,
    probe,
    read_clip,
    side_by_side,
    to_uint8,
    write_clip,
    write_contact_sheet,
    xt_slice,
)

RATES = [10, 12, 15, 23.976, 24000 / 1001, 24, 25, 29.97, 60]
# mean absolute error in [-1, 1] on smooth coloured texture; .gif has 256 colours a frame
TOLERANCE = {".mkv": 1e-6, ".mp4": 0.03, ".webm": 0.03, ".webp": 0.03, ".gif": 0.1, "": 1e-6}
hypothesis_settings = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def texture(num_frames: int = 16, height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    """A smooth moving coloured clip, `(1, 3, T, H, W)`, of whole bytes; no two frames are equal."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 2 + num_frames // 4, 2 + height // 16, 2 + width // 16, generator=rng)
    clip = F.interpolate(coarse, size=(num_frames, height, width), mode="trilinear").mul(0.5).clamp(-1, 1)
    return from_uint8(to_uint8(clip))


def encode(
    path, clip, codec="ffv1", pix_fmt="bgr0", *, rate=24, times=None, rotation=None, matrix=None, aspect=None,
    layout="rgb24", **more
):  # fmt: skip
    """Writes a file as other programs do. `clip` is a clip, or an array `(T, H, W, C)`; `times` are in ms.

    `more` may hold `options` of the codec and `mux` options of the container.
    """
    frames = to_uint8(clip)[0] if isinstance(clip, torch.Tensor) else clip
    rate = Fraction(rate).limit_denominator(1001)
    with av.open(str(path), "w", options=more.get("mux", {})) as container:
        track = container.add_stream(codec, rate=rate, options=more.get("options", {}))
        track.height, track.width, track.pix_fmt = *frames[0].shape[:2], pix_fmt
        track.codec_context.time_base = Fraction(1, 1000) if times else 1 / rate
        if rotation is not None:
            track.set_display_rotation(rotation)
        if matrix is not None:
            a, b, c, d = (round(65536 * value) for value in matrix)
            track.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 2**30])
        if aspect is not None:
            track.codec_context.sample_aspect_ratio = aspect
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout).reformat(
                format=pix_fmt
            )
            frame.pts, frame.time_base = times[index] if times else index, track.codec_context.time_base
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def h264(path, clip, **more):
    return encode(path, clip, codec="libx264", pix_fmt="yuv420p", options={"crf": "10"}, **more)


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(*_):
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr("dtsgan.video.reading._decode", refuse)


# Bytes and floats


def test_every_byte_survives_the_way_to_float_and_back():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1).repeat(3, axis=-1)
    clip = from_uint8(frames)
    assert clip.shape == (1, 3, 1, 16, 16) and clip.dtype == torch.float32
    assert (clip.min(), clip.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(clip), frames)


def test_floats_are_rounded_to_the_nearest_byte_and_clamped():
    clip = torch.tensor([-5.0, -1.0, 0.9 / 127.5 - 1, 0.0, 1.0, 5.0]).view(1, 1, 1, 1, 6)
    assert to_uint8(clip).flatten().tolist() == [0, 0, 1, 128, 255, 255]


def test_a_clip_with_nan_is_refused(tmp_path):
    clip = texture(4)
    clip[0, 0, 2, 0, 0] = math.nan
    with pytest.raises(VideoError, match="diverged"):
        write_clip(tmp_path / "a.mkv", clip, 24)
    assert not any(tmp_path.iterdir())


# Writing and reading back


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif", ".webp", ""])
@pytest.mark.parametrize("fps", RATES)
def test_sixteen_frames_in_are_sixteen_frames_out(tmp_path, suffix, fps):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, texture(16, 17, 22), fps)
    clip, info = read_clip(path)
    assert clip.shape == (1, 3, 16, 17, 22)
    assert (clip - texture(16, 17, 22)).abs().mean() < TOLERANCE[suffix] + 0.02 * (suffix not in ("", ".mkv"))
    assert not info.truncated and not info.warnings
    if suffix in (".mp4", ".webm", ".mkv"):
        assert info.fps == pytest.approx(fps, abs=1e-9)
    elif suffix:
        assert info.fps == pytest.approx(50 if suffix == ".gif" and fps == 60 else fps, rel=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif", ".webp", ""])
def test_a_frozen_clip_keeps_its_frames(tmp_path, suffix):
    path = tmp_path / f"frozen{suffix}"
    still = texture(1).expand(-1, -1, 12, -1, -1)
    write_clip(path, still, 24)
    clip, info = read_clip(path)
    assert clip.shape == still.shape and not info.warnings
    assert (clip - still).abs().mean() < TOLERANCE[suffix]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("fps", RATES)
def test_pictures_move_for_as_long_as_they_should(tmp_path, suffix, fps):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, texture(16, 8, 8), fps)
    durations = []
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
    assert min(durations) > 10, "browsers show frames of 10 ms and less for 100 ms"
    step = 10 if suffix == ".gif" else 1
    assert sum(durations) == pytest.approx(16000 / (min(fps, 50) if suffix == ".gif" else fps), abs=step)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_web_video_is_what_every_browser_plays(tmp_path, suffix):
    path = tmp_path / f"odd{suffix}"
    write_clip(path, texture(4, 31, 45), 24)
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        assert (
            track.codec_context.name == {".mp4": "h264", ".webm": "libvpx-vp9"}[suffix] or suffix == ".webm"
        )
        assert (track.pix_fmt, track.width, track.height) == ("yuv420p", 46, 32)
        frame = next(container.decode(track))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited range
        padded = frame.to_ndarray(format="rgb24")
    assert np.abs(padded[:, -1].astype(int) - padded[:, -2]).mean() < 8  # the border is repeated
    if suffix == ".mp4":
        data = path.read_bytes()
        assert 0 < data.index(b"moov") < data.index(b"mdat")


@hypothesis_settings
@given(height=st.integers(1, 40), width=st.integers(1, 40), num_frames=st.integers(1, 6))
def test_any_size_and_length_comes_back(tmp_path, height, width, num_frames):
    clip = texture(num_frames, height, width)
    for suffix in (".mp4", ".mkv", ".gif"):
        write_clip(tmp_path / f"a{suffix}", clip, 24)
        back, info = read_clip(tmp_path / f"a{suffix}", min_frames=1)
        assert back.shape == clip.shape
        assert (info.num_frames, info.height, info.width) == (num_frames, height, width)
    assert torch.equal(read_clip(tmp_path / "a.mkv", min_frames=1)[0], clip)


def test_a_column_of_one_pixel_comes_back(tmp_path):
    clip = texture(3, 7, 1)
    write_clip(tmp_path / "a.mkv", clip, 24)
    assert torch.equal(read_clip(tmp_path / "a.mkv")[0], clip)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".webp"])
def test_saturated_colours_come_back(tmp_path, suffix):
    colours = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)  # 27 3
    clip = colours.T.view(1, 3, 1, 1, 27).repeat_interleave(16, 4).expand(-1, -1, 3, 32, -1)
    write_clip(tmp_path / f"a{suffix}", clip, 24)
    back, _ = read_clip(tmp_path / f"a{suffix}")
    inside = (back - clip).view(1, 3, 3, 32, 27, 16)[..., 4:12].abs()  # chroma bleeds over the borders
    assert inside.mean() < 0.02 and inside.max() < 0.1


def test_a_frame_a_chunk_or_a_clip_may_be_given(tmp_path):
    clip = texture(7)
    write_clip(tmp_path / "a.mkv", clip, 24)
    write_clip(tmp_path / "b.mkv", clip[0], 24)
    write_clip(tmp_path / "c.mkv", iter(clip[0].unbind(1)), 24)
    write_clip(tmp_path / "d.mkv", [clip[:, :, :3], clip[0, :, 3:4], clip[0, :, 4], clip[0, :, 5:]], 24)
    for name in "abcd":
        assert torch.equal(read_clip(tmp_path / f"{name}.mkv")[0], clip)


def test_a_clip_of_one_channel_is_written_grey(tmp_path):
    grey = texture(4)[:, :1]
    write_clip(tmp_path / "a.mkv", grey, 24)
    assert torch.equal(read_clip(tmp_path / "a.mkv")[0], grey.expand(-1, 3, -1, -1, -1))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ""])
def test_frames_are_written_as_they_come_and_let_go(tmp_path, suffix):
    alive: list[weakref.ref[torch.Tensor]] = []

    def frames():
        for frame in texture(12)[0].unbind(1):
            frame = frame.clone()
            alive.append(weakref.ref(frame))
            yield frame
            assert sum(ref() is not None for ref in alive) <= 2

    write_clip(tmp_path / f"a{suffix}", frames(), 24)
    assert len(alive) == 12


def test_frames_in_a_folder_are_numbered_pngs(tmp_path):
    clip = texture(3)
    write_clip(f"{tmp_path}/deep/frames.v2/", clip, 24)
    files = sorted((tmp_path / "deep/frames.v2").iterdir())
    assert [file.name for file in files] == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(files[1])), to_uint8(clip)[0, 1])


def test_a_folder_of_frames_is_replaced_whole_and_any_other_is_left_alone(tmp_path):
    write_clip(tmp_path / "frames", texture(5), 24)
    write_clip(tmp_path / "frames", texture(3), 24)
    assert len(list((tmp_path / "frames").iterdir())) == 3
    (tmp_path / "frames/thesis.tex").touch()
    with pytest.raises(VideoError, match="holds other things"):
        write_clip(tmp_path / "frames", texture(3), 24)
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


@pytest.mark.parametrize("name", ["a.avi", "a.png", "a.jpg"])
def test_an_unknown_suffix_is_refused_with_those_that_are_known(tmp_path, name):
    with pytest.raises(VideoError, match=r"\.mp4, \.webm, \.mkv, \.gif or \.webp"):
        write_clip(tmp_path / name, texture(2), 24)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, 5000])
def test_a_rate_that_no_player_has_is_refused(tmp_path, fps):
    with pytest.raises(VideoError, match="fps must be between"):
        write_clip(tmp_path / "a.mp4", texture(2), fps)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "frames"])
def test_no_frames_are_an_error(tmp_path, name):
    with pytest.raises(VideoError, match="no frames to write"):
        write_clip(tmp_path / name, iter([]), 24)
    assert not any(tmp_path.iterdir())


def test_frames_of_two_sizes_or_strange_shapes_are_refused(tmp_path):
    with pytest.raises(VideoError, match=r"frame 2 is \(20, 20\), not \(64, 48\)"):
        write_clip(tmp_path / "a.mp4", [texture(2), texture(1, 20, 20)], 24)
    for shape in [(2, 3, 4, 8, 8), (4, 3, 8, 8), (8, 8)]:
        with pytest.raises(VideoError, match="C T H W"):
            write_clip(tmp_path / "a.mp4", torch.zeros(shape), 24)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "frames"])
def test_a_writer_that_is_interrupted_leaves_the_old_file_whole(tmp_path, name):
    write_clip(tmp_path / name, texture(4), 24)
    before, _ = read_clip(tmp_path / name)

    def frames():
        yield from texture(9, seed=1)[0].unbind(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clip(tmp_path / name, frames(), 24)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert torch.equal(read_clip(tmp_path / name)[0], before)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.gif", "a.webp", "frames"])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file_whole(tmp_path, name):
    write_clip(tmp_path / name, texture(2), 24)
    before, _ = read_clip(tmp_path / name)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    try:
        with pytest.raises(VideoError, match=r"cannot be written .*: free some space"):
            write_clip(tmp_path / name, 2 * torch.rand(1, 3, 60, 64, 96) - 1, 24)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert torch.equal(read_clip(tmp_path / name)[0], before)


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match="cannot be written"):
        write_clip(tmp_path / "file" / "a.mp4", texture(2), 24)
    with pytest.raises(VideoError, match="cannot be written"):
        write_contact_sheet(tmp_path / "file" / "a.png", [texture(2)])
    write_clip(tmp_path / "new" / "folders" / "a.mp4", texture(2), 24)
    assert (tmp_path / "new/folders/a.mp4").exists()


# Reading what others wrote


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_video_is_read_upright(tmp_path, rotation):
    stored = np.rot90(to_uint8(texture(3))[0], -rotation // 90, axes=(1, 2))
    path = encode(tmp_path / "a.mp4", stored, "libx264rgb", "rgb24", rotation=rotation, options={"crf": "0"})
    clip, info = read_clip(path)
    assert torch.equal(clip, texture(3))
    assert (info.source_width, info.source_height) == (64, 48)
    assert (probe(path).width, probe(path).height) == (64, 48)


TURNS = {  # (a, b, c, d) of x' = a x + c y, y' = b x + d y, and what becomes of the pixels
    "mirrored": ((-1, 0, 0, 1), lambda x: x[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda x: x[:, ::-1]),
    "turned by a half": ((-1, 0, 0, -1), lambda x: x[:, ::-1, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda x: x.swapaxes(1, 2)),
    "transposed the other way": ((0, -1, -1, 0), lambda x: x.swapaxes(1, 2)[:, ::-1, ::-1]),
    "turned to the left": ((0, -1, 1, 0), lambda x: np.rot90(x, 1, (1, 2))),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_mirrored_or_turned_video_is_read_as_players_show_it(tmp_path, turn):
    matrix, shown = TURNS[turn]
    stored = to_uint8(texture(3))[0]
    path = encode(tmp_path / "a.mp4", stored, "libx264rgb", "rgb24", matrix=matrix, options={"crf": "0"})
    clip, info = read_clip(path)
    np.testing.assert_array_equal(to_uint8(clip)[0], shown(stored))
    assert (info.source_height, info.source_width) == shown(stored).shape[1:3]


def test_a_video_turned_by_less_than_a_quarter_is_refused(tmp_path):
    half = 0.5**0.5
    path = h264(tmp_path / "a.mp4", texture(3), matrix=(half, -half, half, half))
    with pytest.raises(VideoError, match="turned by 45 degrees, which is no quarter turn: write it upright"):
        read_clip(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "aspect, size", [(Fraction(4, 3), (48, 85)), (Fraction(2, 3), (72, 64)), (Fraction(1), (48, 64))]
)
def test_pixels_that_are_not_square_are_made_so(tmp_path, suffix, aspect, size):
    wide = texture(3, *size)  # as it should be seen
    stored = F.interpolate(wide[0].transpose(0, 1), (48, 64), mode="bilinear", antialias=True)  # T C 48 64
    path = h264(tmp_path / f"a{suffix}", stored.transpose(0, 1)[None], aspect=aspect)
    clip, info = read_clip(path)
    assert clip.shape[3:] == size and (info.source_height, info.source_width) == size
    assert (clip - wide).abs().mean() < 0.03
    assert (probe(path).height, probe(path).width) == size
    small, _ = read_clip(path, size=24)
    assert small.shape[3:] == (round(size[0] * 24 / min(size)), round(size[1] * 24 / min(size)))
    part, _ = read_clip(path, crop=(2, 3, 40, 30))
    assert torch.equal(part, clip[..., 3:33, 2:42])


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path):
    path = h264(tmp_path / "a.mp4", texture(3), aspect=Fraction(4, 3), rotation=90)
    _, info = read_clip(path)
    assert (info.width, info.height) == (48, 85)


def test_a_frame_that_is_too_large_once_its_pixels_are_square_is_refused_undecoded(tmp_path, no_decoding):
    path = h264(tmp_path / "a.mp4", texture(3), aspect=Fraction(4, 3))
    with pytest.raises(VideoError, match="85x48, more than 4000 pixels a frame"):
        read_clip(path, max_pixels=4000)


def test_a_crop_is_measured_on_the_upright_picture(tmp_path):
    stored = np.rot90(to_uint8(texture(3))[0], -1, axes=(1, 2))
    path = encode(tmp_path / "a.mp4", stored, "libx264rgb", "rgb24", rotation=90, options={"crf": "0"})
    clip, info = read_clip(path, crop=(10, 4, 30, 20))
    assert torch.equal(clip, texture(3)[..., 4:24, 10:40])
    assert (info.width, info.height, info.source_width, info.source_height) == (30, 20, 64, 48)


@pytest.mark.parametrize("crop", [(0, 0, 65, 10), (-1, 0, 5, 5), (0, 40, 5, 9), (0, 0, 0, 5)])
def test_a_crop_that_leaves_the_picture_is_refused(tmp_path, crop):
    path = encode(tmp_path / "a.mkv", texture(3))
    with pytest.raises(VideoError, match="64x48: make it fit"):
        read_clip(path, crop=crop)


def test_unevenly_spaced_frames_are_taken_as_they_are_at_their_average_rate(tmp_path):
    times = [0, 33, 66, 200, 233, 400, 700, 1000]
    path = h264(tmp_path / "a.mp4", texture(8), rate=30, times=times)
    clip, info = read_clip(path)
    assert clip.shape[2] == 8 and info.fps == pytest.approx(7)
    assert "unevenly spaced" in info.warnings[0]
    assert read_clip(path, start=0.2, end=0.7)[0].shape[2] == 3


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".gif", ""])
def test_a_part_is_the_same_frames_as_in_the_whole(tmp_path, suffix):
    write_clip(tmp_path / f"a{suffix}", texture(40, 16, 24), 10)
    whole, _ = read_clip(tmp_path / f"a{suffix}", fps=10)
    for start, end in [(0, 1), (0.5, 1.0), (1.7, None), (3.0, 3.4), (None, 0.2)]:
        part, info = read_clip(tmp_path / f"a{suffix}", start=start, end=end, fps=10)
        first, last = round((start or 0) * 10), 40 if end is None else round(end * 10)
        assert torch.equal(part, whole[:, :, first:last])
        assert info.fps == 10


def test_a_part_far_into_a_video_without_an_index_is_the_same_frames(tmp_path):
    for name in ("a.ts", "a.avi"):
        codec, pix_fmt = ("libx264", "yuv420p") if name == "a.ts" else ("mpeg4", "yuv420p")
        path = encode(tmp_path / name, texture(80, 16, 24), codec, pix_fmt, rate=10)
        whole, _ = read_clip(path)
        part, _ = read_clip(path, start=6, end=7)
        assert torch.equal(part, whole[:, :, 60:70])


@pytest.mark.parametrize(
    "kwargs",
    [{"start": -1}, {"start": 2, "end": 1}, {"end": 0}, {"start": math.nan}, {"size": 0}, {"fps": 0}],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, kwargs):
    path = encode(tmp_path / "a.mkv", texture(3))
    with pytest.raises(VideoError, match="are needed"):
        read_clip(path, **kwargs)


def test_a_part_beyond_the_end_is_refused_with_how_long_the_video_is(tmp_path):
    path = encode(tmp_path / "a.mkv", texture(24))
    with pytest.raises(VideoError, match=r"0 frames from 5 s to the end \(it lasts 1.00 s\).*--start"):
        read_clip(path, start=5)


@hypothesis_settings
@given(height=st.integers(8, 60), width=st.integers(8, 60), size=st.integers(4, 60))
def test_the_shorter_side_becomes_size_and_the_aspect_is_kept(tmp_path, height, width, size):
    path = encode(tmp_path / "a.mkv", texture(2, height, width))
    clip, info = read_clip(path, size=size)
    assert min(info.height, info.width) == size
    assert max(info.height, info.width) == round(max(height, width) * size / min(height, width))
    assert clip.shape[-2:] == (info.height, info.width)
    assert ("enlarged" in "".join(info.warnings)) == (size > min(height, width))


def test_shrinking_averages_rather_than_picks(tmp_path):
    stripes = torch.ones(1, 3, 2, 64, 96)
    stripes[..., ::2] = -1
    clip, _ = read_clip(encode(tmp_path / "a.mkv", stripes), size=16)
    assert clip.shape[-2:] == (16, 24)
    assert clip[..., 2:-2].abs().max() < 0.05


def test_reading_keeps_the_small_frames_only(tmp_path):
    path = h264(tmp_path / "a.mp4", texture(2, 240, 320).expand(-1, -1, 2, -1, -1).repeat(1, 1, 30, 1, 1))
    tracemalloc.start()
    clip, _ = read_clip(path, size=16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert clip.shape == (1, 3, 60, 16, 21)
    assert peak < 10 * 240 * 320 * 3


def test_odd_sizes_and_grey_and_deep_colour_are_read(tmp_path):
    clip = texture(3, 33, 47)
    encode(tmp_path / "odd.webm", clip, "libvpx-vp9", "yuv420p", options={"crf": "4"})
    encode(tmp_path / "grey.mkv", to_uint8(clip)[0, ..., 0], "ffv1", "gray", layout="gray")
    encode(tmp_path / "deep.mkv", clip, "ffv1", "yuv444p10le")
    assert (read_clip(tmp_path / "odd.webm")[0] - clip).abs().mean() < 0.05
    assert torch.equal(read_clip(tmp_path / "grey.mkv")[0], clip[:, :1].expand(-1, 3, -1, -1, -1))
    assert (read_clip(tmp_path / "deep.mkv")[0] - clip).abs().mean() < 0.01


@pytest.mark.parametrize(("height", "matrix"), [(480, "itu601"), (720, "itu709")])
def test_a_file_that_names_no_colours_is_read_as_players_read_it(tmp_path, height, matrix):
    frame = av.VideoFrame.from_ndarray(np.full((height, 64, 3), (20, 160, 90), np.uint8), format="rgb24")
    if height == 720:
        frame = av.VideoFrame.from_ndarray(np.full((height, 720, 3), (20, 160, 90), np.uint8), format="rgb24")
    planes = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range="MPEG").to_ndarray()
    untagged = av.VideoFrame.from_ndarray(planes, format="yuv444p")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        track = container.add_stream("ffv1", rate=24)
        track.width, track.height, track.pix_fmt = frame.width, frame.height, "yuv444p"
        for index in range(2):
            untagged.pts, untagged.time_base = index, Fraction(1, 24)
            container.mux(track.encode(untagged))
        container.mux(track.encode(None))
    clip, _ = read_clip(tmp_path / "a.mkv")
    assert np.abs(to_uint8(clip)[0, 0, 9, 9].astype(int) - (20, 160, 90)).max() <= 2


def test_transparency_is_put_on_black(tmp_path):
    rgba = np.zeros((2, 16, 16, 4), np.uint8)
    rgba[...] = (200, 100, 50, 255)
    rgba[:, :, 8:, 3] = 0
    rgba[:, 8:, :8, 3] = 128
    (tmp_path / "frames").mkdir()
    for index, pixels in enumerate(rgba):
        Image.fromarray(pixels).save(tmp_path / f"frames/{index}.png")
    encode(tmp_path / "a.mov", rgba, "png", "rgba", layout="rgba")
    for path in (tmp_path / "frames", tmp_path / "a.mov"):
        pixels = to_uint8(read_clip(path)[0])[0, 0]
        assert pixels[0, 0].tolist() == [200, 100, 50]
        assert pixels[12, 0].tolist() == [100, 50, 25]
        assert not pixels[:, 8:].any()


def test_a_gif_with_a_palette_and_holes_is_read_frame_by_frame(tmp_path):
    images = []
    for index in range(4):
        image = Image.new("P", (12, 10), 0)
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.paste(1, (index, 0, index + 3, 3))
        images.append(image)
    images[0].save(
        tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=50, transparency=0, disposal=2
    )
    clip, info = read_clip(tmp_path / "a.gif")
    assert clip.shape == (1, 3, 4, 10, 12) and info.fps == 20
    for index in range(4):
        red = to_uint8(clip)[0, index, :, :, 0] == 255
        assert red.sum() == 9 and red[:3, index : index + 3].all()


def test_a_gif_hurried_beyond_what_browsers_play_is_as_slow_as_in_browsers(tmp_path):
    images = [Image.fromarray(frame) for frame in to_uint8(texture(4))[0]]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=10)
    assert read_clip(tmp_path / "a.gif")[1].fps == pytest.approx(10)


def test_frames_in_a_folder_are_sorted_as_people_count(tmp_path):
    frames = to_uint8(texture(12))[0]
    for index, pixels in enumerate(frames):
        Image.fromarray(pixels).save(tmp_path / f"shot{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_text("not a frame")
    clip, info = read_clip(tmp_path)
    assert torch.equal(clip, texture(12))
    assert (info.fps, info.num_frames) == (25, 12)
    clip, info = read_clip(tmp_path, fps=10, start=0.5)
    assert torch.equal(clip, texture(12)[:, :, 5:]) and info.fps == 10


def test_pictures_are_turned_as_the_camera_says_and_deep_grey_is_not_clipped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(to_uint8(texture(1))[0, 0]).save(tmp_path / "0.png", exif=exif)
    assert read_clip(tmp_path, min_frames=1)[0].shape[-2:] == (64, 48)
    (tmp_path / "0.png").unlink()
    Image.fromarray(np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)).save(tmp_path / "1.png")
    clip, _ = read_clip(tmp_path, min_frames=1)
    assert to_uint8(clip)[0, 0, :, :, 0].flatten().tolist() == list(range(256))


def test_frames_of_two_sizes_are_refused(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "0.png")
    Image.new("RGB", (12, 10)).save(tmp_path / "1.png")
    with pytest.raises(VideoError, match="from 10x10 to 12x10 at frame 1"):
        read_clip(tmp_path)


def test_a_broken_frame_in_a_folder_is_named(tmp_path):
    write_clip(tmp_path / "frames", texture(3), 24)
    broken = tmp_path / "frames" / "frame_00001.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(VideoError, match=r"frame_00001\.png cannot be read"):
        read_clip(tmp_path / "frames")


def test_a_picture_is_a_video_of_one_frame_where_one_is_enough(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp"):
        Image.fromarray(to_uint8(texture(1))[0, 0]).save(tmp_path / name, quality=95)
        with pytest.raises(VideoError, match=r"has 1 frame; at least 2 are needed: give a longer video"):
            read_clip(tmp_path / name)
        clip, info = read_clip(tmp_path / name, min_frames=1)
        assert clip.shape == (1, 3, 1, 48, 64) and info.num_frames == 1
        assert (clip - texture(1)).abs().mean() < 0.03


# What cannot be read


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4 does not exist: give a video"):
        read_clip(tmp_path / "nothing.mp4")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.mp4", b"", "is empty"),
        ("a.mp4", b"hello " * 99, "cannot be read"),
        ("a.txt", b"hello\n" * 99, "is not a video"),
        ("a.ffconcat", b"ffconcat version 1.0\nfile secret.mkv\n", "is not a video"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n", "cannot be read|is not a video"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\nhello\n", "holds no pictures"),
        ("a.gif", b"GIF89a", "cannot be read"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "no frame of .* can be decoded"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    encode(tmp_path / "secret.mkv", texture(3))
    (tmp_path / name).write_bytes(content)
    for read in (read_clip, probe):
        with pytest.raises(VideoError, match=sentence) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        track = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with pytest.raises(VideoError, match="holds only sound: give a video"):
        read_clip(tmp_path / "a.m4a")


def test_sound_that_goes_on_after_the_pictures_is_no_damage(tmp_path):
    for suffix in (".mp4", ".mkv"):
        with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
            track = container.add_stream("libx264", rate=24)
            track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
            sound = container.add_stream("aac", rate=44100)
            for index, pixels in enumerate(to_uint8(texture(24))[0]):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 24)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
            for index in range(150):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = 44100, 1024 * index
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        _, info = read_clip(tmp_path / f"a{suffix}", max_frames=24)
        assert (info.num_frames, info.fps, info.truncated, info.warnings) == (24, 24, False, ())


def test_a_folder_without_frames_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(VideoError, match="holds no frames"):
        read_clip(tmp_path)


def test_a_file_cut_off_before_its_index_is_refused(tmp_path):
    path = h264(tmp_path / "a.mp4", texture(30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="cut off before its index"):
        read_clip(path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
@pytest.mark.parametrize("part", [0.4, 0.93])
def test_of_a_cut_file_the_good_frames_are_used_and_it_is_said(tmp_path, suffix, part):
    clip = from_uint8(to_uint8(texture(60) + 0.1 * torch.randn(1, 3, 60, 48, 64)))
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    fast = {"cpu-used": "8", "deadline": "realtime"} if suffix == ".webm" else {}
    mux = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = encode(tmp_path / f"a{suffix}", clip, codec, "yuv420p", options=fast, mux=mux)
    whole, info = read_clip(path)
    assert whole.shape[2] == 60 and not info.truncated and not info.warnings
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    cut, info = read_clip(path)
    num_frames = cut.shape[2]
    assert 2 <= num_frames < 60
    assert torch.equal(cut, whole[:, :, :num_frames]), "every frame is one of the whole file's, none repeated"
    assert info.truncated and info.num_frames == num_frames
    assert f"its first {num_frames} good frames are used" in info.warnings[0]
    _, info = read_clip(path, end=num_frames / 24 - 0.3)
    assert not info.truncated and not info.warnings, "nothing after `end` is decoded"
    with pytest.raises(VideoError, match=f"{num_frames} frames, then it is cut .* at least 60 are needed"):
        read_clip(path, min_frames=60)


def test_a_frame_that_waits_for_one_that_was_cut_off_is_not_shown_in_its_place(tmp_path):
    order = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=0:scenecut=0"}  # every fourth waits for three
    path = encode(tmp_path / "a.mkv", texture(60), "libx264", "yuv420p", options=order)
    whole, _ = read_clip(path)
    with av.open(str(path)) as container:
        packets = [(p.pts, p.pos) for p in container.demux(container.streams.video[0]) if p.size]
    for k in range(len(packets) - 1, 0, -1):  # between two packets, so that the cut alone tells nothing
        kept, lost = [pts for pts, _ in packets[:k]], [pts for pts, _ in packets[k:]]
        if min(lost) < max(kept) < max(lost) - 50:
            break
    assert max(lost) - max(kept) < 130, "milliseconds, so few that the length alone does not tell"
    path.write_bytes(path.read_bytes()[: packets[k][1]])
    cut, info = read_clip(path)
    assert torch.equal(cut, whole[:, :, : cut.shape[2]])
    assert info.truncated and "is cut or damaged" in info.warnings[0]


def test_of_a_cut_gif_the_good_frames_are_used(tmp_path):
    path = tmp_path / "a.gif"
    write_clip(path, texture(10), 20)
    whole, _ = read_clip(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.55)])
    cut, info = read_clip(path)
    assert 2 <= info.num_frames < 10 and info.truncated
    assert torch.equal(cut, whole[:, :, : info.num_frames])


def test_too_many_frames_are_refused_before_one_is_decoded(tmp_path, no_decoding):
    for suffix in (".mp4", ".webm", ".mkv"):
        write_clip(tmp_path / f"a{suffix}", texture(40, 8, 8), 20)
        sentence = r"40 frames in the range, the limit is 30: choose a part of it with --start and --end"
        with pytest.raises(VideoError, match=sentence):
            read_clip(tmp_path / f"a{suffix}", max_frames=30)
        with pytest.raises(VideoError, match="about 20 frames in the range, the limit is 15"):
            read_clip(tmp_path / f"a{suffix}", max_frames=15, start=0.5, end=1.5)


def test_where_no_header_tells_reading_stops_at_the_limit(tmp_path):
    h264(tmp_path / "a.h264", texture(40, 16, 16))
    write_clip(tmp_path / "a.gif", texture(40, 16, 16), 20)
    with pytest.raises(VideoError, match="more than 30 frames in the range"):
        read_clip(tmp_path / "a.h264", max_frames=30)
    with pytest.raises(VideoError, match="40 frames in the range"):
        read_clip(tmp_path / "a.gif", max_frames=30)
    assert read_clip(tmp_path / "a.h264", max_frames=40)[0].shape[2] == 40


def test_huge_frames_are_refused_before_one_is_decoded(tmp_path, no_decoding):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    encode(tmp_path / "a.mp4", texture(3, 160, 160), "libx264", "yuv420p")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoError, match="10000x10000, more than 16777216 pixels a frame"):
            read_clip(tmp_path / "a.png")
    with pytest.raises(VideoError, match="160x160, more than 10000 pixels a frame"):
        read_clip(tmp_path / "a.mp4", max_pixels=100 * 100)


def test_a_huge_result_is_refused(tmp_path):
    path = encode(tmp_path / "a.mkv", texture(3))
    with pytest.raises(VideoError, match="20000x15000"):
        read_clip(path, size=15_000)


def test_probe_tells_what_the_header_states(tmp_path):
    for suffix in (".mp4", ".webm", ".mkv"):
        write_clip(tmp_path / f"a{suffix}", texture(24, 31, 45), 12)
        info = probe(tmp_path / f"a{suffix}")
        assert (info.num_frames, info.fps, info.width, info.height) == (24, 12, 45, 31)
    write_clip(tmp_path / "frames", texture(24, 31, 45), 12)
    assert (probe(tmp_path / "frames").num_frames, probe(tmp_path / "frames").fps) == (24, 25)


# Pictures of clips


def test_clips_stand_side_by_side_for_as_long_as_the_shortest():
    left, right = texture(9, 20, 30), texture(5, 20, 12)
    pair = side_by_side(left, right, gap=3)
    assert pair.shape == (1, 3, 5, 20, 45)
    assert torch.equal(pair[..., :30], left[:, :, :5]) and torch.equal(pair[..., 33:], right)
    assert (pair[..., 30:33] == 1).all()
    with pytest.raises(ValueError, match="one height"):
        side_by_side(left, texture(5, 21, 12))


def test_a_contact_sheet_shows_frames_in_a_row_and_a_clip_a_row(tmp_path):
    rows = [texture(20, 10, 12), texture(3, 10, 12)]
    sheet = np.asarray(contact_sheet(rows, columns=5, gap=2))
    assert sheet.shape == (22, 5 * 12 + 4 * 2, 3)
    np.testing.assert_array_equal(sheet[:10, :12], to_uint8(rows[0])[0, 0])
    np.testing.assert_array_equal(sheet[:10, -12:], to_uint8(rows[0])[0, -1])
    np.testing.assert_array_equal(sheet[12:, 14:26], to_uint8(rows[1])[0, 1])
    write_contact_sheet(tmp_path / "a" / "sheet.png", rows)
    assert Image.open(tmp_path / "a" / "sheet.png").size == (8 * 12 + 7 * 2, 22)
    with pytest.raises(VideoError, match=r"\.png"):
        write_contact_sheet(tmp_path / "sheet.jpg", rows)


def test_an_xt_slice_is_one_row_over_time():
    clip = texture(9, 20, 30)
    assert torch.equal(xt_slice(clip, 7)[:, :, 4], clip[:, :, 4, 7])


def test_a_writer_can_be_fed_by_hand(tmp_path):
    clip = texture(6)
    with VideoWriter(tmp_path / "a.mkv", 24) as writer:
        for frame in clip[0].unbind(1):
            writer.write(frame)
        assert not (tmp_path / "a.mkv").exists(), "the file appears whole, at the end"
    assert writer.num_frames == 6
    assert torch.equal(read_clip(Path(tmp_path / "a.mkv"))[0], clip)


# -- one picture ---


def test_a_picture_is_read_with_what_is_opaque(tmp_path):
    picture = Image.new("RGBA", (6, 4), (255, 0, 0, 255))
    picture.paste((0, 255, 0, 0), (0, 0, 2, 4))
    picture.save(tmp_path / "a.png")
    image, info = video.read_picture(tmp_path / "a.png")
    assert image.shape == (3, 4, 6) and (info.width, info.height) == (6, 4)
    assert "transparent" in info.warnings[-1]
    alpha = video.read_alpha(tmp_path / "a.png")
    assert alpha.shape == (1, 4, 6) and not alpha[..., :2].any() and alpha[..., 2:].eq(1).all()
    Image.new("RGB", (6, 4)).save(tmp_path / "b.jpg")
    assert video.read_picture(tmp_path / "b.jpg")[1].warnings == ()
    assert video.read_alpha(tmp_path / "b.jpg").eq(1).all()


@pytest.mark.parametrize("suffix", [".mkv", ".gif", ""])
def test_a_video_is_no_picture_but_each_of_its_frames_is(tmp_path, suffix):
    clip = torch.linspace(-1, 1, 5).view(1, 1, 5, 1, 1).expand(1, 3, 5, 8, 8)
    path = tmp_path / f"five{suffix}"
    write_clip(path, clip, 10)
    with pytest.raises(VideoError, match="--frame"):
        video.read_picture(path)
    for frame in (0, 3, 4):
        image, _ = video.read_picture(path, frame)
        torch.testing.assert_close(image, clip[0, :, frame], rtol=0, atol=0.1)
    with pytest.raises(VideoError, match="0 to 4"):
        video.read_picture(path, 5)


def test_a_frame_as_jpeg_is_the_frame(clip, tmp_path):
    path = tmp_path / "frame.jpg"
    path.write_bytes(video.encode_jpeg(clip[0, :, 3]))
    shown, info = video.read_clip(path, min_frames=1)
    assert (info.width, info.height) == (clip.shape[4], clip.shape[3])
    assert (shown[0, :, 0] - clip[0, :, 3]).abs().mean() < 0.06
