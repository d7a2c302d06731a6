"""Frames as they lie in a model's file: each a picture, together a seventh of their size or so.

What a JPEG picture shows is not what was put into it. So frames that a model is to keep are `settled` first:
they become what their own JPEG pictures show, and then a model that is written and read again draws the same
video to the bit. Frames that are not settled, those of models of before, are written as WebP pictures without
loss.

Each picture is off by other errors, which would flicker where nothing moves. So a block of pixels that
changes by less than a level stays as the frame before shows it, as in every video codec.
"""

import io

import numpy as np
import torch
from torch import Tensor

QUALITY = 96  # of JPEG
FORMER = (92, 91, 90, 88, 85)  # those of models saved before
ROUNDS = 128  # of coding a frame until it stays as it is: 30 are usual, some frames never do
SMALLEST = 64  # pixels, shorter side: in smaller frames the blocks that the border cuts weigh more, and drift
BLOCK = 8  # pixels, each way, that JPEG codes by themselves
STILL = 1.0  # mean absolute change of a block, in levels of 255, below which it is shown as it was


def settled(frames: Tensor) -> Tensor:
    """Frames `(3, K, h, w)`, uint8, changed a little such that `pack` keeps them in a small picture each; as
    they are where they are small anyway."""
    if min(frames.shape[2:]) < SMALLEST:
        return frames
    shown: list[np.ndarray] = []
    since = None  # each block of the frames as given, of the moment since when it is shown as it is
    for frame in _split(frames):
        if since is None:
            since = frame
        else:
            still = _still_blocks(frame, since)
            since, frame = np.where(still, since, frame), np.where(still, shown[-1], frame)
        shown.append(_settled(frame))
    return _join(shown).to(frames.device)


def pack(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames `(3, K, h, w)`, uint8, as the bytes of their pictures, one after the other, `(N,)`, uint8, and
    how many each has, `(K,)`, int32. `unpack` gives the same frames back."""
    pictures = []
    for frame in _split(frames):
        tried = (_jpeg(frame, quality) for quality in (QUALITY, *FORMER))
        kept = next((picture for picture in tried if np.array_equal(_opened(picture), frame)), None)
        pictures.append(kept or _encoded(frame, "WEBP", lossless=True, method=2))
    lengths = torch.tensor([len(picture) for picture in pictures], dtype=torch.int32)
    return torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8), lengths


def unpack(pictures: Tensor, lengths: Tensor, height: int, width: int) -> Tensor:
    """The frames that `pack` was given.

    Raises:
        ValueError: these are not pictures of this size; nothing larger is decoded.
    """
    counts = lengths.tolist()
    if min(counts, default=0) < 1 or sum(counts) != pictures.numel():
        raise ValueError("the pictures have other lengths than their list says")
    parts = pictures.split(counts)
    return _join([_opened(part.numpy().tobytes(), (width, height)) for part in parts])


def _still_blocks(frame: np.ndarray, since: np.ndarray) -> np.ndarray:
    """Which pixels lie in blocks that have not changed, `(h, w, 1)`, bool."""
    height, width = frame.shape[:2]
    change = np.abs(frame.astype(np.int16) - since)
    beyond = [(0, -side % BLOCK) for side in (height, width)]
    blocks = np.pad(change, [*beyond, (0, 0)], mode="edge")
    blocks = blocks.reshape(-(-height // BLOCK), BLOCK, -(-width // BLOCK), BLOCK, 3).mean((1, 3, 4))
    still = (blocks < STILL).repeat(BLOCK, 0).repeat(BLOCK, 1)
    return still[:height, :width, None]


def _settled(frame: np.ndarray) -> np.ndarray:
    now = frame
    for _ in range(ROUNDS):
        before, now = now, _opened(_jpeg(now, QUALITY))
        if np.array_equal(before, now):
            return now
    return frame  # which `pack` writes without loss: of another quality, all of it would flicker


def _split(frames: Tensor) -> list[np.ndarray]:
    """Each frame, `(h, w, 3)`."""
    return list(frames.permute(1, 2, 3, 0).contiguous().cpu().numpy())


def _join(frames: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).contiguous()


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    return _encoded(frame, "JPEG", quality=quality, subsampling=0)


def _encoded(frame: np.ndarray, kind: str, **options: int) -> bytes:
    from PIL import Image  # when it is needed: a model without such frames is loaded without it

    memory = io.BytesIO()
    Image.fromarray(frame).save(memory, kind, **options)
    return memory.getvalue()


def _opened(picture: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture), formats=("JPEG", "WEBP")) as image:
            if size is not None and (image.size != size or image.mode != "RGB"):
                raise ValueError(f"a picture is {image.mode}, {image.size}, and not RGB, {size}")
            return np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture cannot be read: {error}") from error
