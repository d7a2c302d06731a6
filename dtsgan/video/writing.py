"""Clips to files, frame by frame: memory does not grow with the length of what is drawn."""

import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image
from torch import Tensor

from dtsgan.errors import VideoError
from dtsgan.video.pixels import CAREFUL, PathLike, Pixels, to_uint8


class _Encoding(NamedTuple):
    container: str
    codec: str
    pix_fmt: str
    options: dict[str, str]
    container_options: dict[str, str]


# The conversion to 4:2:0 averages four pixels; unless told, H.264 takes that to lie half a pixel to the left.
H264 = {"crf": "18", "chroma_sample_location": "center"}
ENCODINGS = {
    ".mp4": _Encoding("mp4", "libx264", "yuv420p", H264, {"movflags": "+faststart"}),
    ".webm": _Encoding("webm", "libvpx-vp9", "yuv420p", {"crf": "24", "cpu-used": "4", "row-mt": "1"}, {}),
    # exact; cut into more slices, as FFV1 does unless told, a column of one pixel would be refused
    ".mkv": _Encoding("matroska", "ffv1", "bgr0", {"slices": "1"}, {}),
    ".gif": _Encoding("gif", "gif", "pal8", {}, {"loop": "0"}),
    ".webp": _Encoding("webp", "libwebp", "bgra", {"quality": "90"}, {"loop": "0"}),
}
WRITABLE = "name a file ending in .mp4, .webm, .mkv, .gif or .webp, or a folder (no suffix) for .png frames"


class VideoWriter:
    """Writes frames as they come, in the format that the name asks for, one frame of the file for each.

    .mp4 (H.264) and .webm (VP9) are yuv420p and BT.709, which every browser plays; an odd side is made even
    by repeating the border, which `read_clip` takes off. .mkv (FFV1) is exact. A .gif shows at most 50 frames
    a second, as browsers slow faster ones down to 10; .webp moves in browsers too. A name without a suffix,
    or one that ends in `/`, is a folder of `frame_00000.png`, ..., which may replace such a folder only.

    Use it in a `with` block: at its end the file appears, whole; an error leaves none, or the old one.

    Raises:
        VideoError: if the name, the rate or a frame will not do, or the disk refuses.
    """

    def __init__(self, path: PathLike, fps: float) -> None:
        self.path = Path(os.path.abspath(path))
        is_folder = not self.path.suffix or os.fspath(path).endswith("/") or self.path.is_dir()
        self.encoding = None if is_folder else ENCODINGS.get(self.path.suffix.lower())
        if self.encoding is None and not is_folder:
            raise VideoError(f"cannot write {path}, as {self.path.suffix} is not known: {WRITABLE}")
        if is_folder and self.path.exists() and not _holds_only_frames(self.path):
            raise VideoError(f"{path} holds other things than frames, which would be lost: {WRITABLE}")
        if not 0.1 <= fps <= 1000:
            raise VideoError(f"fps must be between 0.1 and 1000, got {fps}")
        fastest = 50 if self.path.suffix.lower() == ".gif" else 1000
        self.rate = Fraction(min(fps, fastest)).limit_denominator(1001)
        self.num_frames = 0
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._size = (0, 0)
        self._container: Any = None
        self._track: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._clean_up()

    def write(self, frames: Tensor) -> None:
        """Adds a frame `(C, H, W)`, or a chunk `(C, T, H, W)` or `(1, C, T, H, W)`; all of one size."""
        chunk = frames[:, None] if frames.ndim == 3 else frames.squeeze(0) if frames.ndim == 5 else frames
        if chunk.ndim != 4 or len(chunk) not in (1, 3):
            raise VideoError(
                f"frames must be 'C H W', 'C T H W' or '1 C T H W', C 1 or 3, got {[*frames.shape]}"
            )
        for frame in chunk.expand(3, -1, -1, -1).unbind(1):  # C H W
            pixels = to_uint8(frame[None, :, None])[0, 0]  # H W C
            size = (pixels.shape[1], pixels.shape[0])
            if self.num_frames and size != self._size:
                raise VideoError(f"frame {self.num_frames} is {size}, not {self._size} as those before it")
            with self._disk_errors():
                if self.num_frames == 0:
                    self._begin(*size)
                if self._container is None:
                    Image.fromarray(pixels).save(self._partial / f"frame_{self.num_frames:05d}.png")
                else:
                    video_frame = _video_frame(pixels, self._track.pix_fmt)
                    video_frame.pts, video_frame.time_base = self.num_frames, 1 / self.rate
                    self._container.mux(self._track.encode(video_frame))
            self.num_frames += 1

    def _begin(self, width: int, height: int) -> None:
        self._size = width, height
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.encoding is None:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir()
            return
        name, codec, pix_fmt, options, container_options = self.encoding
        self._container = av.open(str(self._partial), "w", format=name, options=container_options)
        self._track = self._container.add_stream(codec, rate=self.rate, options=options)
        self._track.width, self._track.height, self._track.pix_fmt = width, height, pix_fmt
        context = self._track.codec_context
        context.time_base = 1 / self.rate
        if pix_fmt == "yuv420p":
            context.width, context.height = width + width % 2, height + height % 2
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
            self._container.metadata["comment"] = f"true size {width}x{height}"

    def _finish(self) -> None:
        if self.num_frames == 0:
            raise VideoError(f"there are no frames to write to {self.path}: draw at least one")
        with self._disk_errors():
            if self._container is not None:
                self._container.mux(self._track.encode(None))
                self._container.close()
            elif self.path.exists():
                shutil.rmtree(self.path)
            self._partial.replace(self.path)

    def _clean_up(self) -> None:
        if self._container is not None:
            with suppress(OSError, av.FFmpegError):
                self._container.close()
            self._partial.unlink(missing_ok=True)
        elif self.encoding is None:
            shutil.rmtree(self._partial, ignore_errors=True)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            advice = "free some space or choose another place"
            raise VideoError(
                f"{self.path} cannot be written ({error.strerror or error}): {advice}"
            ) from error


def write_clip(path: PathLike, clip: Tensor | Iterable[Tensor], fps: float) -> None:
    """Writes a clip, or frames or chunks as they come, holding no more than one. See `VideoWriter`."""
    with VideoWriter(path, fps) as writer:
        for frames in [clip] if isinstance(clip, Tensor) else clip:
            writer.write(frames)


def _video_frame(pixels: Pixels, pix_fmt: str) -> av.VideoFrame:
    if pix_fmt == "pal8":
        image = Image.fromarray(pixels)
        sample = image.resize((48, 48), Image.Resampling.NEAREST)  # enough to choose colours from, and fast
        colours = sample.quantize(256, Image.Quantize.MAXCOVERAGE)
        indices = np.asarray(image.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG))
        rgb = np.array(colours.getpalette(), np.uint8).reshape(-1, 3)
        palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
        palette[: len(rgb), 1:] = rgb
        paletted: Any = (indices, palette)
        return av.VideoFrame.from_ndarray(paletted, format="pal8")
    if pix_fmt != "yuv420p":
        return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
        format=pix_fmt,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=CAREFUL,
    )


def _holds_only_frames(folder: Path) -> bool:
    return folder.is_dir() and all(re.fullmatch(r"frame_\d+\.png", file.name) for file in folder.iterdir())


def encode_jpeg(frame: Tensor, quality: int = 92) -> bytes:
    """A frame `(3, H, W)` as a JPEG picture without chroma subsampling, for a live view."""
    pixels = to_uint8(frame[None, :, None])[0, 0]  # H W C
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, format="JPEG", quality=quality, subsampling=0)
    return memory.getvalue()
