"""Frames as they lie in a model's file: each a picture, together a seventh of their size or so.

What a JPEG picture shows is not what was put into it. So frames that a model is to keep are `settled` first:
they become what their own JPEG pictures show, and then a model that is written and read again draws the same
video to the bit. Frames that are not settled, those of models of before, are written as WebP pictures without
loss.
"""

import io

import numpy as np
import torch
from torch import Tensor

# of JPEG; a frame is tried with the next one where it goes on changing for so many rounds
QUALITIES, ROUNDS = (92, 91, 90, 88, 85), 16


def settled(frames: Tensor) -> Tensor:
    """Frames `(3, K, h, w)`, uint8, changed a little such that `pack` keeps them in a small picture each."""
    return _join([_settled(frame) for frame in _split(frames)]).to(frames.device)


def pack(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames `(3, K, h, w)`, uint8, as the bytes of their pictures, one after the other, `(N,)`, uint8, and
    how many each has, `(K,)`, int32. `unpack` gives the same frames back."""
    pictures = []
    for frame in _split(frames):
        tried = (_jpeg(frame, quality) for quality in QUALITIES)
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


def _settled(frame: np.ndarray) -> np.ndarray:
    for quality in QUALITIES:
        now = frame
        for _ in range(ROUNDS):
            before, now = now, _opened(_jpeg(now, quality))
            if np.array_equal(before, now):
                return now
    return frame


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
