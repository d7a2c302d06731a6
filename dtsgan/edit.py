"""Editing video with patches: what is pasted, moved, painted or erased becomes part of the texture.

An edit is made twice. First plainly, as in any picture editor, on the pixels of the video; what was put on
one frame only is carried to the others by the motion that the video shows there. Then the result enters the
pyramid at a coarse scale, and the scales above draw it anew inside the mask, as they draw the texture, while
all around it the video stays what it is at every scale (`DTSGAN.edit`). Outside the feathered mask not a bit
changes.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dtsgan.config import parse_settings
from dtsgan.errors import ConfigError
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.model import DTSGAN
from dtsgan.pyramid import resize
from dtsgan.rundir import read_json, write_json
from dtsgan.sampler import Draw, Stream, there_and_back
from dtsgan.steering import Inferred
from dtsgan.video import read_alpha, read_picture, to_uint8

EDITS_VERSION = 1
Box = tuple[int, ...]  # x, y, width, height, in pixels


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit. Places are in pixels of the video, frames are counted from 0.

    Without `frame` an edit is made on every frame, and a patch copied from the video moves as it did there.
    With it, what that frame shows is carried through time by the motion of what it is put on.
    """

    op: Literal["copy", "move", "paste", "paint", "erase", "extend"]
    box: Box = ()  # x, y, width, height: of what is copied, moved, painted or erased
    to: tuple[int, ...] = ()  # x, y of the upper left corner of where it goes
    size: tuple[int, ...] = ()  # width, height that a pasted picture is made; its own when not given
    image: str = ""  # file of a picture to paste
    color: tuple[int, ...] = ()  # red, green, blue to paint with, 0 to 255
    shape: Literal["box", "ellipse"] = "ellipse"  # of the box's part that is meant
    frame: int = -1  # the one frame that is edited; -1: all of them
    delay: int = 0  # frames by which the copy of a patch is later than the patch
    num_frames: int = 0  # that a video is extended by

    def __post_init__(self) -> None:
        needs: dict[str, dict[str, int]] = {
            "copy": {"box": 4, "to": 2},
            "move": {"box": 4, "to": 2},
            "paste": {"to": 2},
            "paint": {"box": 4, "color": 3},
            "erase": {"box": 4},
            "extend": {},
        }
        for name, count in needs[self.op].items():
            if len(getattr(self, name)) != count:
                raise ConfigError(f'the edit "{self.op}" needs "{name}", {count} whole numbers')
        if self.op == "paste" and not self.image:
            raise ConfigError('the edit "paste" needs "image", the name of a file')
        if self.op == "paste" and len(self.size) not in (0, 2):
            raise ConfigError('the edit "paste" takes "size", 2 whole numbers')
        if self.op == "extend" and not 1 <= self.num_frames <= 10**5:
            raise ConfigError(f'the edit "extend" needs "num_frames", 1 to 100000, got {self.num_frames}')
        if self.box and min(self.box[2:]) < 1:
            raise ConfigError(f"a box is x, y, width, height with sides of 1 or more, got {list(self.box)}")
        if self.color and not all(0 <= value <= 255 for value in self.color):
            raise ConfigError(f"a color is red, green, blue from 0 to 255, got {list(self.color)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Edit":
        """
        Raises:
            ConfigError: a name that does not exist (the nearest one is suggested) or a value that does not
            fit.
        """
        if not isinstance(values, dict) or "op" not in values:
            raise ConfigError(f'an edit is an object with an "op", got {values!r:.80}')
        return cls(**parse_settings(cls, values))

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults: the inverse of `from_dict`, also after a trip through JSON."""
        fields = {f.name: f.default for f in dataclasses.fields(self)}
        return {k: v for k, v in dataclasses.asdict(self).items() if v != fields[k]}


def edit(model: DTSGAN, clip: Tensor, mask: Tensor, start_scale: int | None = None, seed: int = 0) -> Tensor:
    """Makes what was edited plainly part of the texture: see `DTSGAN.edit`."""
    return model.edit(clip, mask, start_scale, seed)


def apply_edits(
    model: DTSGAN,
    clip: Tensor,
    edits: Iterable[Edit],
    start_scale: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] = ".",
) -> Tensor:
    """Edits a video of the texture, in order, and makes the result part of it.

    Args:
        clip: `(1, 3, T, H, W)` in [-1, 1], of the texture's own size (any size, if it is free).
        folder: where pictures to be pasted lie, unless their names are absolute.

    Returns:
        The video, `(1, 3, T, H, W)`, longer if it was extended. The same edits and seed give the same one.

    Raises:
        ConfigError: an edit that does not fit the video.
    """
    for one in edits:
        if one.op == "extend":
            later = model.predict(clip[0, :, -1], one.num_frames + 1, seed)
            clip = torch.cat([clip, later[:, :, 1:]], 2)
            continue
        edited, mask = plain_edit(model, clip, one, seed, folder)
        clip = model.edit(torch.where(mask > 0, edited, clip), mask, start_scale, seed)
    return clip


def plain_edit(
    model: DTSGAN, clip: Tensor, one: Edit, seed: int = 0, folder: str | os.PathLike[str] = "."
) -> tuple[Tensor, Tensor]:
    """One edit on the pixels alone: the video, and the mask `(1, 1, T, H, W)`, 0 or 1, of what it changed."""
    height, width = clip.shape[3:]
    if one.frame >= clip.shape[2] or one.frame < -1:
        raise ConfigError(f"the video has frames 0 to {clip.shape[2] - 1}, and an edit names {one.frame}")
    if one.op == "erase":
        return _erased(model, clip, _shape_mask(clip, one, one.box), seed)
    if one.op == "move":
        erased, hole = _erased(model, clip, _shape_mask(clip, one, one.box), seed)
        copied, mask = plain_edit(model, clip, dataclasses.replace(one, op="copy"), seed, folder)
        return torch.where(mask > 0, copied, erased), torch.maximum(mask, hole)
    if one.op == "paint":
        box, alpha = one.box, None
        colour = torch.tensor(one.color, dtype=torch.float32).div(127.5).sub(1)
        patch = colour.view(1, 3, 1, 1, 1).expand_as(clip)
    elif one.op == "paste":
        patch, alpha, box = _pasted(clip, one, Path(folder))
    else:
        x, y, w, h = _inside(one.box, width, height)
        box = (one.to[0] + x - one.box[0], one.to[1] + y - one.box[1], w, h)
        order = there_and_back(torch.arange(clip.shape[2]) - one.delay, clip.shape[2])
        patch, alpha = _placed(clip[:, :, order, y : y + h, x : x + w], clip.shape, box), None
    mask = _shape_mask(clip, one, box)
    if alpha is not None:
        mask = mask * alpha
    edited = torch.where(mask > 0, patch, clip)
    if one.frame >= 0:
        return _carried(clip, edited[:, :, one.frame], mask[:, :, one.frame], one.frame)
    return edited, mask


def save_edits(path: str | os.PathLike[str], edits: Sequence[Edit]) -> None:
    """Writes a list of edits as JSON, whole or not at all."""
    write_json(Path(path), {"version": EDITS_VERSION, "edits": [one.to_dict() for one in edits]})


def load_edits(path: str | os.PathLike[str]) -> list[Edit]:
    """
    Raises:
        FileNotFoundError: if there is no such file.
        ConfigError: if it is no list of edits.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: give a file that holds a list of edits (JSON)")
    values = read_json(Path(path))
    if values.get("version") != EDITS_VERSION or not isinstance(values.get("edits"), list):
        raise ConfigError(
            f'{path} is no list of edits: it needs "version": {EDITS_VERSION} and "edits": [...]'
        )
    return [Edit.from_dict(one) for one in values["edits"]]


# -- the plain edits ---


def _inside(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a box that is in the frame, as x, y, width, height."""
    x, y, w, h = box
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
    if right <= left or bottom <= top:
        raise ConfigError(f"the box {list(box)} lies outside the video, which is {width}x{height}")
    return left, top, right - left, bottom - top


def _shape_mask(clip: Tensor, one: Edit, box: Box) -> Tensor:
    """`(1, 1, T, H, W)`: 1 in the box, or in the ellipse that fills it, where that is in the frame."""
    height, width = clip.shape[3:]
    _inside(box, width, height)
    x, y, w, h = box
    across = (torch.arange(width) + 0.5 - x) * (2 / w) - 1
    down = (torch.arange(height) + 0.5 - y) * (2 / h) - 1
    if one.shape == "ellipse" and one.op != "paste":
        inside = across.square() + down.square()[:, None] <= 1
    else:
        inside = (across.abs() <= 1) & (down.abs() <= 1)[:, None]
    return inside.float().expand(1, 1, clip.shape[2], height, width).contiguous()


def _placed(patch: Tensor, shape: Sequence[int], box: Box) -> Tensor:
    """A patch `(1, C, T, h, w)` at its place in an empty video of `shape`, cut where it leaves the frame."""
    height, width = shape[3:]
    left, top, w, h = _inside(box, width, height)
    video = patch.new_zeros(*patch.shape[:3], height, width)
    x, y = left - box[0], top - box[1]
    video[..., top : top + h, left : left + w] = patch[..., y : y + h, x : x + w]
    return video


def _pasted(clip: Tensor, one: Edit, folder: Path) -> tuple[Tensor, Tensor, Box]:
    """A picture at its place, and where it is: what is transparent stays as it was."""
    picture, _ = read_picture(folder / one.image)
    alpha = read_alpha(folder / one.image)
    width, height = one.size or (picture.shape[2], picture.shape[1])
    if not (1 <= width <= 4096 and 1 <= height <= 4096):
        raise ConfigError(f"a pasted picture is 1 to 4096 pixels wide and high, got {width}x{height}")
    box = (one.to[0], one.to[1], width, height)
    resized = resize(picture[None, :, None], (height, width))
    patch = _placed(resized, clip.shape, box).expand(-1, -1, clip.shape[2], -1, -1)
    seen = _placed(resize(alpha[None, :, None], (height, width)), clip.shape, box)
    return patch, (seen > 0.5).float(), box


def _erased(model: DTSGAN, clip: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The video with what the mask covers made up from the rest: of a scene, what its coarse model infers
    from what is around; of a texture without places, new texture."""
    pyramid = model.pyramid
    coarse, size = pyramid.scales[0], (clip.shape[3], clip.shape[4])
    if not isinstance(coarse, LinearDynamics):
        return torch.where(mask > 0, model.sample(clip.shape[2], *size, seed=seed).to(clip), clip), mask
    small = resize(clip.to(model.device), coarse.size)
    hidden = resize(mask[:, :, :1], coarse.size)[0, 0, 0].to(model.device) > 0.02
    states, _ = coarse.infer(small[0].transpose(0, 1), known=~hidden)
    inferred = torch.where(hidden, coarse.to_clip(states[None]).to(small), small)
    stream = Stream(pyramid, Draw(seeds=[seed]), guidance=Inferred(inferred))
    drawn = torch.cat([*stream.chunks(clip.shape[2])], 2).to(clip)
    return torch.where(mask > 0, drawn, clip), mask


def _carried(clip: Tensor, frame: Tensor, mask: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """What was put on one frame, `(1, 3, H, W)` where `mask` `(1, 1, H, W)`, on every frame: it follows the
    motion of what it was put on, forwards and backwards, as dense optical flow finds it (Kroeger et al.
    2016)."""
    import cv2

    empty: Any = None
    length, height, width = clip.shape[2:]
    grey = np.ascontiguousarray(to_uint8(clip)[0].mean(-1).round().astype(np.uint8))  # T H W
    library: Any = cv2  # whose hints do not know this algorithm
    flow = library.DISOpticalFlow_create(library.DISOPTICAL_FLOW_PRESET_MEDIUM)
    patch = np.concatenate([frame[0].numpy(), mask[0].numpy()]).transpose(1, 2, 0)  # H W 4
    own = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float32)  # H W 2: x, y
    edited, masks = clip.clone(), torch.zeros_like(clip[:, :1])
    for step in (1, -1):
        origin: Any = own  # where on the edited frame each pixel of the current one was
        for t in range(number, length if step > 0 else -1, step):
            if t != number:
                back = own + flow.calc(grey[t], grey[t - step], empty)
                origin = cv2.remap(origin, back, empty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            seen: Any = cv2.remap(patch, origin, empty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            inside = torch.from_numpy(seen[..., 3] > 0.5)
            moved = torch.from_numpy(seen[..., :3] / seen[..., 3:].clip(0.5)).permute(2, 0, 1)
            edited[0, :, t] = torch.where(inside, moved, clip[0, :, t])
            masks[0, 0, t] = inside.float()
    return edited, masks


__all__ = ["Edit", "apply_edits", "edit", "load_edits", "plain_edit", "save_edits"]
