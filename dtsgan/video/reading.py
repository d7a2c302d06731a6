"""Files to clips: any video, a moving or still picture, a folder of frames.

Reading keeps only the resized frames, so memory does not grow with the size of the source.
"""

import math
import re
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.stream import Disposition
from av.video.reformatter import Colorspace
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dtsgan.errors import VideoError
from dtsgan.video.pixels import CAREFUL, PathLike, Pixels, from_uint8

Frames = Generator[tuple[float, Callable[[], Pixels]]]  # seconds, and a call that decodes

READABLE = "give a video (.mp4, .mov, .webm, .mkv, ...), a .gif or .webp, or a folder of .png or .jpg frames"
PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
FOLDER_FPS = 25.0  # a folder of frames states no rate
TICK = 0.001  # seconds, to which WebM and others round the time of a frame
BROKEN = (
    av.FFmpegError,
    OSError,
    EOFError,
    SyntaxError,
)  # what damaged files raise; the last two are Pillow's
# FFmpeg opens these as video, but they are text drawn as in a terminal, and lists of other files.
NOT_VIDEO = {"tty", "concat", "hls", "dash"}
NO_MATRIX = 2  # FFmpeg's number for "the file names no colour matrix"


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What was read. `source_width` and `source_height` are of the file as players show it, upright and in
    square pixels; all else is of the clip."""

    path: Path
    num_frames: int
    fps: float  # the average, where frames are unevenly spaced
    width: int
    height: int
    source_width: int
    source_height: int
    truncated: bool = False  # the file is cut or damaged; only the good frames before that are used
    warnings: tuple[str, ...] = ()


class _Source(NamedTuple):
    """What a header states, and the frames from `start` on, not yet decoded."""

    width: int
    height: int
    frames: Frames
    fps: float | None = None  # None: the times of the frames are all there is
    num_frames: int | None = None
    seconds: float | None = None


class _EndsEarly(Exception):
    """The file is cut or damaged here; the frames before are good."""


def read_clip(
    path: PathLike,
    *,
    start: float | None = None,
    end: float | None = None,
    crop: tuple[int, int, int, int] | None = None,
    size: int | None = None,
    fps: float | None = None,
    max_frames: int = 3000,
    max_pixels: int = 4096 * 4096,
    min_frames: int = 2,
) -> tuple[Tensor, VideoInfo]:
    """Reads a video, a moving or still picture, or a folder of frames in natural order.

    Frames are taken as they are, none repeated or dropped; they are turned and mirrored as the file says,
    pixels that are not square are made so, transparency is put on black.

    Args:
        start, end: seconds. Frames with `start <= time < end` are read; none beyond `end` is decoded.
        crop: `(x, y, width, height)` in pixels of the source as it is shown, upright and in square pixels.
        size: shorter side of the result, resized with antialiasing, aspect kept; None keeps the source's.
        fps: overrules the rate that the file states (a folder of frames states none and counts as 25).
        max_frames: most frames in the range; held against the header before decoding.
        max_pixels: most pixels in a frame, in the source and in the result.
        min_frames: fewest frames that will do.

    Returns:
        The clip, `(1, 3, T, H, W)`, and what was read.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        VideoError: if it is no video, or none that can be read so; the sentence says why and what to do.
    """
    path, first = Path(path), start or 0.0
    last = math.inf if end is None else end
    sides_fit = size is None or size >= 1
    rate_fits = fps is None or 0 < fps < math.inf
    if not (0 <= first < last and sides_fit and rate_fits):
        wanted = "0 <= start < end (seconds), size at least 1 pixel, and fps above 0"
        raise VideoError(f"got start={start}, end={end}, size={size}, fps={fps}: {wanted} are needed")
    source = _open(path, first, fps, max_pixels)
    _check_length(path, source, first, last, max_frames)

    frames: list[Pixels] = []
    times: list[float] = []
    height = width = 0
    problem = ""
    with closing(source.frames):
        try:
            for time, decode in source.frames:
                if time >= last - TICK / 2:
                    break
                if len(frames) == max_frames:
                    raise _too_long(path, f"more than {max_frames}", max_frames)
                pixels = decode()
                if frames and pixels.shape[:2] != (height, width):
                    turned = f"{width}x{height} to {pixels.shape[1]}x{pixels.shape[0]} at frame {len(frames)}"
                    raise VideoError(f"{path} changes from {turned}: give frames of one size")
                height, width = pixels.shape[:2]
                frames.append(_resize(path, _crop(path, pixels, crop), size, max_pixels))
                times.append(time)
        except (_EndsEarly, *BROKEN) as error:
            problem = getattr(error, "strerror", None) or str(error) or "it breaks off"

    trimmed = start is not None or end is not None
    if not frames and not trimmed:
        raise VideoError(f"no frame of {path} can be decoded ({problem or 'it holds none'}): {READABLE}")
    notes = []
    if problem:
        notes.append(f"{path} is cut or damaged ({problem}): its first {len(frames)} good frames are used")
    if len(frames) < min_frames or not frames:
        where = f" from {first:g} s to {'the end' if end is None else f'{end:g} s'}" if trimmed else ""
        lasts = f" (it lasts {source.seconds:.2f} s)" if trimmed and source.seconds else ""
        found = f"{path} has {len(frames)} frame{'s' * (len(frames) != 1)}{where}{lasts}"
        found += f", then it is cut or damaged ({problem})" if problem else ""
        advice = "widen --start/--end" if trimmed else "give a longer video"
        raise VideoError(f"{found}; at least {max(1, min_frames)} are needed: {advice}")
    rate = fps or _frame_rate(times, source.fps)
    gaps = [b - a for a, b in pairwise(times)]
    if gaps and max(gaps) > 2 * min(gaps) + 0.01:
        notes.append(f"{path} has unevenly spaced frames: they are used evenly, {rate:.4g} a second")
    result_height, result_width = frames[0].shape[:2]
    if size is not None and size > min(crop[2:] if crop else (width, height)):
        notes.append(f"{path} is enlarged to {result_width}x{result_height}, which adds no detail")
    info = VideoInfo(
        path=path,
        num_frames=len(frames),
        fps=rate,
        width=result_width,
        height=result_height,
        source_width=width,
        source_height=height,
        truncated=bool(problem),
        warnings=tuple(notes),
    )
    return from_uint8(np.stack(frames)[None]), info


def read_picture(path: PathLike, frame: int | None = None) -> tuple[Tensor, VideoInfo]:
    """Reads one picture, `(3, H, W)`, and what was read.

    Args:
        frame: of a video, the number of the frame to take. Without it a video is refused.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        VideoError: if it is no picture, or a video where no frame was named, or one that has no such frame.
    """
    if frame is not None:
        return _read_frame(Path(path), frame)
    seen = probe(path)
    if Path(path).is_dir() or seen.num_frames > 1:
        raise VideoError(
            f"{path} is a video of {seen.num_frames} frames and a picture is wanted: give a picture, or name "
            "one of its frames with --frame"
        )
    clip, info = read_clip(path, min_frames=1)
    if clip.shape[2] > 1:
        raise VideoError(f"{path} is a video and a picture is wanted: name one of its frames with --frame")
    if seen.num_frames <= 1 and float(read_alpha(path).min()) < 1:
        note = f"{path} is transparent in parts, which are taken as black"
        info = replace(info, warnings=(*info.warnings, note))
    return clip[0, :, 0], info


def _read_frame(path: Path, number: int) -> tuple[Tensor, VideoInfo]:
    """One frame of a video, found by counting: not every file tells when its frames are shown."""
    source, count = _open(path, 0.0, None, max_pixels=4096 * 4096), 0
    with closing(source.frames), suppress(_EndsEarly, *BROKEN):
        for _, decode in source.frames:
            if count == number:
                pixels = np.ascontiguousarray(decode())
                height, width = pixels.shape[:2]
                sides = {"width": width, "height": height, "source_width": width, "source_height": height}
                info = VideoInfo(path=path, num_frames=1, fps=source.fps or FOLDER_FPS, **sides)
                return from_uint8(pixels[None, None])[0, :, 0], info
            count += 1
    if not count:
        raise VideoError(f"no frame of {path} can be decoded: {READABLE}")
    raise VideoError(f"{path} has {count} frames: name one from 0 to {count - 1}")


def read_alpha(path: PathLike) -> Tensor:
    """How opaque a picture is, `(1, H, W)`: 1 all over where it has no alpha, 0 where nothing is seen."""
    try:
        with _picture(Path(path)) as image:
            upright = ImageOps.exif_transpose(image)
            if "A" in upright.getbands() or "transparency" in upright.info:
                alpha = np.asarray(upright.convert("RGBA"))[..., 3]
            else:
                alpha = np.full((upright.height, upright.width), 255, np.uint8)
    except UnidentifiedImageError:
        info = probe(path)
        alpha = np.full((info.height, info.width), 255, np.uint8)
    return torch.from_numpy(alpha.copy()).float().div_(255)[None]


def probe(path: PathLike) -> VideoInfo:
    """What the header and one frame tell. Where they do not, `num_frames` is 0 and `fps` 25."""
    path = Path(path)
    source = _open(path, 0.0, None, max_pixels=4096 * 4096)
    with closing(source.frames):
        try:
            height, width = next(source.frames)[1]().shape[:2]
        except (StopIteration, _EndsEarly, *BROKEN) as error:
            raise VideoError(f"no frame of {path} can be decoded: {READABLE}") from error
    fps = source.fps or FOLDER_FPS
    num_frames = source.num_frames or round((source.seconds or 0) * fps)
    sides = {"width": width, "height": height, "source_width": width, "source_height": height}
    return VideoInfo(path=path, num_frames=num_frames, fps=fps, **sides)


# Opening a file: its header at once, its frames one by one, by a generator that opens the file for itself.


def _open(path: Path, start: float, fps: float | None, max_pixels: int) -> _Source:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {READABLE}")
    try:
        if path.is_dir():
            source = _open_folder(path, start, fps or FOLDER_FPS)
        elif path.stat().st_size == 0:
            raise VideoError(f"{path} is empty: {READABLE}")
        else:
            source = _open_picture(path, start) or _open_video(path, start, max_pixels)
    except Image.DecompressionBombError:
        raise VideoError(
            f"{path} is larger than {max_pixels} pixels a frame, the limit: make it smaller"
        ) from None
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror or error}): {READABLE}") from error
    _check_pixels(path, source.width, source.height, max_pixels)
    return source


def _open_folder(path: Path, start: float, fps: float) -> _Source:
    def natural(file: Path) -> list[str | int]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", file.name)]

    def decode(file: Path) -> Pixels:
        try:
            with _picture(file) as image:
                return _picture_rgb(image)
        except BROKEN as error:
            raise VideoError(f"{file} cannot be read as a picture: write it anew or take it away") from error

    def frames() -> Frames:
        for index, file in enumerate(files):
            if index / fps >= start - TICK / 2:
                yield index / fps, partial(decode, file)

    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
    files = [f for f in path.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".")]
    if not files:
        raise VideoError(f"the folder {path} holds no frames: {READABLE}")
    files.sort(key=natural)
    try:
        with _picture(files[0]) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise VideoError(f"{files[0]} cannot be read as a picture: write it anew or take it away") from None
    return _Source(width, height, frames(), fps, len(files), len(files) / fps)


def _open_picture(path: Path, start: float) -> _Source | None:
    """A GIF, WebP or PNG (moving or not), a JPEG or BMP; None for anything else."""

    def frames() -> Frames:
        elapsed = 0  # milliseconds
        with _picture(path) as image:
            for index in range(num_frames):
                image.seek(index)
                image.load()
                if elapsed / 1000 >= start - TICK / 2:
                    yield elapsed / 1000, partial(_picture_rgb, image)
                duration = int(image.info.get("duration", 0))
                elapsed += duration if duration > 10 else 100  # as every browser plays it

    try:
        with _picture(path) as image:
            width, height = image.size
            moves = image.format in ("GIF", "WEBP", "PNG")  # a JPEG's further pictures are previews
            num_frames = getattr(image, "n_frames", 1) if moves else 1
    except UnidentifiedImageError:
        return None
    return _Source(width, height, frames(), num_frames=num_frames)


def _picture(path: Path) -> Image.Image:
    with warnings.catch_warnings():  # `max_pixels` judges the size
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=PICTURES)


def _picture_rgb(image: Image.Image) -> Pixels:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        return _on_black(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _on_black(rgba: Pixels) -> Pixels:
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)


@contextmanager
def _container(path: Path, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """The opened file and its video track. The path is absolute, so no URL, and no other file is fetched."""
    options = {"protocol_whitelist": "file", "max_pixels": str(max_pixels)}
    try:
        container = av.open(str(path.resolve()), options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        why = "it is no video, or was cut off before its index"
        raise VideoError(f"{path} cannot be read ({why}): {READABLE}") from error
    with container:
        if container.format.name in NOT_VIDEO:
            raise VideoError(f"{path} is not a video: {READABLE}")
        tracks = [t for t in container.streams.video if not t.disposition & Disposition.attached_pic]
        if not tracks:
            what = "only sound" if container.streams.audio else "no pictures"
            raise VideoError(f"{path} holds {what}: {READABLE}")
        tracks[0].thread_type = "AUTO"
        yield container, tracks[0]


def _open_video(path: Path, start: float, max_pixels: int) -> _Source:
    with _container(path, max_pixels) as (container, track):
        width, height = track.codec_context.width, track.codec_context.height
        end = _stated_end(track)
        seconds = container.duration / av.time_base if container.duration else None
        if end is not None:
            seconds = end - float((track.start_time or 0) * track.time_base)
        comment = " ".join(v for k, v in container.metadata.items() if k.lower() == "comment")
        stated = re.search(r"true size (\d+)x(\d+)", comment)  # of a clip that VideoWriter made even
        true_size = (int(stated[1]), int(stated[2])) if stated else (width, height)
        padded = (width, height) == tuple(side + side % 2 for side in true_size)
        rate = track.average_rate or track.guessed_rate
        shape = _square_shape(track, width, height)
        frames = _video_frames(path, start, max_pixels, true_size if padded else None, shape)
        width, height = shape or (width, height)
        return _Source(width, height, frames, float(rate) if rate else None, track.frames or None, seconds)


def _stated_end(track: Any) -> float | None:
    """Seconds at which the last frame should end; None where the header does not tell."""
    if track.duration:
        return float((track.duration + (track.start_time or 0)) * track.time_base)
    clock = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", track.metadata.get("DURATION", ""))  # Matroska's
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def _square_shape(track: Any, width: int, height: int) -> tuple[int, int] | None:
    """Width and height in square pixels; None where the file's are square, or it does not say.

    The longer side of a pixel is kept, as players do, so that no detail is lost.
    """
    aspect = track.sample_aspect_ratio or 1  # width by height of a pixel
    shape = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return None if shape == (width, height) else shape


def _video_frames(
    path: Path, start: float, max_pixels: int, true_size: tuple[int, int] | None,
    shape: tuple[int, int] | None,
) -> Frames:  # fmt: skip
    for jump in (True, False) if start > 1 else (False,):
        with _container(path, max_pixels) as (container, track):
            zero, period = track.start_time or 0, 1 / (track.average_rate or FOLDER_FPS)
            late = jump  # until a frame at or before `start` shows that the jump was not too far
            num_good = 0
            try:
                if jump:  # a second of margin, as some containers seek by the time of decoding
                    container.seek(zero + int((start - 1) / track.time_base), stream=track)
                for index, frame in enumerate(_decode(container, track)):
                    ticks = index * period / track.time_base if frame.pts is None else frame.pts - zero
                    time = float(ticks * track.time_base)
                    if late and (frame.pts is None or time > start):
                        break
                    late = False
                    if frame.is_corrupt and num_good:
                        raise _EndsEarly("a damaged frame")
                    if time >= start - TICK / 2 and not frame.is_corrupt:  # a broadcast may begin with some
                        num_good += 1
                        yield time, partial(_frame_rgb, path, frame, true_size, shape)
            except (_EndsEarly, av.FFmpegError):
                if not late:
                    raise
            if not late:
                return


def _decode(container: Any, track: Any) -> Iterator[av.VideoFrame]:
    """Frames in order of display. Raises `_EndsEarly` after the last good one of a cut or damaged file."""
    period, stated_end = 1 / float(track.average_rate or FOLDER_FPS), _stated_end(track)
    reached, problem = -math.inf, ""
    shown: Any = None  # time of the last frame given, in ticks
    try:
        for packet in container.demux(track):
            if packet.is_corrupt:
                problem = "the file is incomplete"
            if packet.is_corrupt or (packet.dts is None and packet.size == 0):  # the latter is the end
                break
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * track.time_base))
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                if shown is None:
                    continue  # a broadcast recorded from the middle on: wait for its first whole picture
                raise
            for frame in frames:
                shown = frame.pts
                yield frame
    except av.FFmpegError as error:
        problem = error.strerror or "invalid data"
    missing = 0.0 if stated_end is None or reached == -math.inf else stated_end - reached
    if missing > 2 * period + 0.05:  # stated ends are not exact
        problem = problem or "the file is incomplete"
    with suppress(av.FFmpegError):
        for frame in track.codec_context.decode(None):  # those that waited for their turn
            gap = 0 if None in (shown, frame.pts) else (frame.pts - shown) * track.time_base
            if gap > 1.5 * period and (problem or missing > 1.5 * period):
                problem = problem or "the file is incomplete"
                break  # the frame between was lost
            shown = frame.pts
            yield frame
    if problem:
        raise _EndsEarly(problem)


def _frame_rgb(
    path: Path, frame: av.VideoFrame, true_size: tuple[int, int] | None, shape: tuple[int, int] | None
) -> Pixels:
    alpha = any(component.is_alpha for component in frame.format.components)
    # A file that names no colour matrix means BT.709 if it is larger than standard definition, else BT.601.
    large = frame.colorspace == NO_MATRIX and min(frame.width, frame.height) > 576
    matrix = Colorspace.ITU709 if large else None
    layout = "rgba" if alpha else "rgb24"
    width, height = shape or (frame.width, frame.height)
    # 4K is shrunk anyway, so it may be converted without care, which is 20 times faster.
    care = CAREFUL if frame.width * frame.height <= 1920 * 1088 else None
    pixels: Any = frame.to_ndarray(
        format=layout, width=width, height=height, src_colorspace=matrix, interpolation=care
    )
    if true_size is not None and shape is None:
        pixels = pixels[: true_size[1], : true_size[0]]
    return _as_shown(path, _on_black(pixels) if alpha else pixels, frame)


def _as_shown(path: Path, pixels: Pixels, frame: av.VideoFrame) -> Pixels:
    """Turned and mirrored as the file's display matrix says: x' = a x + c y, y' = b x + d y."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return pixels
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5] / 65536
    slack = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
    if max(abs(b), abs(c)) > slack:
        if max(abs(a), abs(d)) > slack:
            angle = f"{-math.degrees(math.atan2(b, a)):.0f} degrees"
            raise VideoError(f"{path} is to be turned by {angle}, which is no quarter turn: write it upright")
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


# Judging, cropping and resizing.


def _check_pixels(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        limit = f"more than {max_pixels} pixels a frame, the limit"
        raise VideoError(f"{path} would be {width}x{height}, {limit}: make it smaller")


def _check_length(path: Path, source: _Source, start: float, end: float, max_frames: int) -> None:
    """Refuses before decoding. An estimate must be well over the limit to count; reading counts exactly."""
    if start == 0 and end == math.inf and source.num_frames:
        if source.num_frames > max_frames:
            raise _too_long(path, str(source.num_frames), max_frames)
    elif source.fps:
        seconds = min(end, source.seconds or end) - start
        if math.isfinite(seconds) and seconds * source.fps > 1.05 * max_frames:
            raise _too_long(path, f"about {seconds * source.fps:.0f}", max_frames)


def _too_long(path: Path, number: str, max_frames: int) -> VideoError:
    advice = "choose a part of it with --start and --end"
    return VideoError(f"{path} has {number} frames in the range, the limit is {max_frames}: {advice}")


def _crop(path: Path, pixels: Pixels, crop: tuple[int, int, int, int] | None) -> Pixels:
    if crop is None:
        return pixels
    x, y, w, h = crop
    height, width = pixels.shape[:2]
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise VideoError(
            f"a crop of {w}x{h} at ({x}, {y}) leaves {path}, which is {width}x{height}: make it fit"
        )
    return pixels[y : y + h, x : x + w]


def _resize(path: Path, pixels: Pixels, size: int | None, max_pixels: int) -> Pixels:
    height, width = pixels.shape[:2]
    if size is None or size == min(height, width):
        return np.array(pixels)  # a copy, so that a crop does not keep the whole frame
    factor = size / min(height, width)
    height, width = round(height * factor), round(width * factor)
    _check_pixels(path, width, height, max_pixels)
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]  # 1 3 H W
    image = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return image[0].permute(1, 2, 0).contiguous().numpy()


def _frame_rate(times: list[float], stated: float | None) -> float:
    """The stated rate where the times agree with it, else the average of the times."""
    num, span = len(times) - 1, times[-1] - times[0]
    if span <= 0 or (stated and abs(span - num / stated) <= 2 * TICK + 0.02 * span):
        return stated or FOLDER_FPS
    gaps = [b - a for a, b in pairwise(times)]
    whole = max(1.0, float(round(num / span)))
    if max(gaps) - min(gaps) > TICK and abs(span - num / whole) <= 0.01:
        return whole  # a GIF says 24 frames a second with gaps of 4, 4 and 5 hundredths
    return round(num / span, 6)
