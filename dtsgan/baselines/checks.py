"""What every baseline asks of a clip and of a length before it begins."""

from torch import Tensor

from dtsgan.errors import VideoError


def check_clip(clip: Tensor, method: str, num_frames: int = 1, side: int = 1, moves: bool = False) -> None:
    """Refuses a clip that `method` cannot learn from.

    Args:
        num_frames, side: the fewest frames and the smallest shorter side in pixels that will do.
        moves: whether some pixel has to change over time.

    Raises:
        ValueError: not `(1, 3, T, H, W)`, or with values that are not finite.
        VideoError: too short, too small or too still.
    """
    if clip.ndim != 5 or clip.shape[:2] != (1, 3):
        raise ValueError(f"{method} learns from one clip (1, 3, T, H, W), got {[*clip.shape]}")
    if not clip.isfinite().all():
        raise ValueError(f"{method} was given a clip with values that are not finite")
    if clip.shape[2] < num_frames:
        raise VideoError(
            f"the clip has {clip.shape[2]} frames; {method} needs at least {num_frames}: give a longer one"
        )
    if min(clip.shape[3:]) < side:
        raise VideoError(
            f"the clip is {clip.shape[3]} x {clip.shape[4]} pixels; {method} needs at least {side} on the "
            "shorter side: read it at a larger size"
        )
    if moves and float((clip.amax(2) - clip.amin(2)).max()) < 2 / 255:
        raise VideoError("the clip does not move: no pixel changes over time; choose a part with motion")


def check_length(num_frames: int, most: int | None = None) -> None:
    """Refuses to draw no frame, or more than `most`.

    Raises:
        ValueError: says which lengths can be drawn.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    if most is not None and num_frames > most:
        raise ValueError(f"num_frames={num_frames} is longer than the clip, which has {most} frames")
