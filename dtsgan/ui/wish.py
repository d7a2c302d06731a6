"""What a visitor asks to see: checked, and turned into the settings of `DTSGAN.chunks`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtsgan.errors import ConfigError
from dtsgan.ui.library import Texture

MAX_LOOP_FRAMES = 512  # that a browser keeps of a live loop


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The settings that, with a model, name one video. The page's address holds them."""

    seed: int = 0
    seconds: float = 5.0
    width: int = 0  # 0: as trained
    height: int = 0
    speed: float = 1.0
    diversity: float = 1.0
    loop: bool = False
    tile: str = ""
    start_frame: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Wish":
        """From JSON or the address of the page; what is absent or empty is the default.

        Raises:
            ConfigError: a value that is no number or out of range.
        """
        seconds = _number(values, "seconds", 5.0, 0.04, 3600)
        tile = str(values.get("tile") or "").lower()
        return cls(
            seed=int(_number(values, "seed", 0, 0, 2**40 - 1)),
            seconds=seconds,
            width=int(_number(values, "width", 0, 0, 16384)),
            height=int(_number(values, "height", 0, 0, 16384)),
            speed=_number(values, "speed", 1.0, 0.1, 4),
            diversity=_number(values, "diversity", 1.0, 0, 2),
            loop=str(values.get("loop", "")).lower() in ("1", "true", "yes", "on"),
            tile="" if tile in ("no", "none", "off") else tile,
            start_frame=int(_number(values, "start_frame", 0, 0, 2**52)),
        )

    def num_frames(self, fps: float) -> int:
        return max(2 if self.loop else 1, round(self.seconds * fps))

    def canvas(self, texture: Texture, max_side: int) -> dict[str, int]:
        """`height` and `width` for a free texture; a scene has its own.

        Raises:
            ConfigError: larger than allowed here.
        """
        if not texture.is_free or not (self.width or self.height):
            return {}
        sides = {name: side for name, side in (("height", self.height), ("width", self.width)) if side}
        for name, side in sides.items():
            if not 16 <= side <= max_side:
                raise ConfigError(f"the {name} must be 16 to {max_side} pixels here, got {side}")
        return sides

    def settings(self, texture: Texture, max_side: int) -> dict[str, Any]:
        """Keyword arguments for `DTSGAN.chunks`."""
        return {
            "seed": self.seed,
            "speed": self.speed,
            "diversity": self.diversity,
            "loop": self.loop,
            "tile": self.tile if texture.is_free else "",
            "start_frame": 0 if self.loop else self.start_frame,
            **self.canvas(texture, max_side),
        }


def _number(values: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = values.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name.replace('_', ' ')} must be a number, got {str(value)!r:.40}") from None
    if not math.isfinite(number) or not low <= number <= high:
        raise ConfigError(f"{name.replace('_', ' ')} must be between {low:g} and {high:g}, got {number:g}")
    return number
