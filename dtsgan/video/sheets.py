"""Clips beside each other, and as pictures to look at: contact sheets, one row over time."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dtsgan.errors import VideoError
from dtsgan.video.pixels import PathLike, to_uint8


def side_by_side(*clips: Tensor, gap: int = 4) -> Tensor:
    """Clips `(B, C, T, H, W)` of one height, `gap` white columns between, as long as the shortest."""
    if len({clip.shape[-2] for clip in clips}) != 1:
        raise ValueError(f"clips side by side need one height, got {[clip.shape[-2] for clip in clips]}")
    num_frames = min(clip.shape[2] for clip in clips)
    white = clips[0].new_ones((*clips[0].shape[:2], num_frames, clips[0].shape[3], gap))
    return torch.cat([part for clip in clips for part in (white, clip[:, :, :num_frames])][1:], dim=-1)


def contact_sheet(rows: Sequence[Tensor], columns: int = 8, gap: int = 2) -> Image.Image:
    """One clip `(1, C, T, H, W)` a row: up to `columns` of its frames, evenly spaced from first to last."""
    strips = []
    for clip in rows:
        shown = torch.linspace(0, clip.shape[2] - 1, min(columns, clip.shape[2])).round().long()
        strip = side_by_side(*clip[:1, :, shown].split(1, dim=2), gap=gap)  # 1 C 1 H W
        strips.append(F.pad(strip, (0, 0, 0, gap), value=1.0))
    width = max(strip.shape[-1] for strip in strips)
    sheet = torch.cat([F.pad(strip, (0, width - strip.shape[-1]), value=1.0) for strip in strips], dim=-2)
    return Image.fromarray(to_uint8(sheet[..., :-gap, :])[0, 0])


def write_contact_sheet(path: PathLike, rows: Sequence[Tensor], columns: int = 8) -> None:
    """Writes `contact_sheet` as a .png file."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise VideoError(f"a contact sheet is a picture, got {path}: name a file ending in .png")
    sheet, unfinished = contact_sheet(rows, columns), path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(unfinished, format="PNG")
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise VideoError(
            f"{path} cannot be written ({error.strerror or error}): choose another place"
        ) from error


def xt_slice(clip: Tensor, y: int) -> Tensor:
    """Row `y` over time: `(B, C, T, H, W)` to `(B, C, T, W)`, time downwards."""
    return clip[:, :, :, y]
