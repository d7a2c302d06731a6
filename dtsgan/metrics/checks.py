"""What every score asks of its clips before it looks at them."""

from torch import Tensor


def check_clips(score: str, *clips: Tensor, min_frames: int = 2, min_size: int = 1) -> None:
    """Refuses clips that `score` could only answer with nonsense.

    Args:
        score: the name of the score, for the message.
        clips: each `(B, C, T, H, W)`; they may differ in everything but C.
        min_frames: the fewest frames that the score is defined for.
        min_size: the smallest shorter side in pixels that the score is defined for.

    Raises:
        ValueError: if a clip is not a clip, is too short or too small, or the channels differ.
    """
    for clip in clips:
        if clip.ndim != 5 or clip.numel() == 0:
            raise ValueError(f"{score} takes clips of shape (B, C, T, H, W), got {[*clip.shape]}")
        if clip.shape[2] < min_frames:
            raise ValueError(f"{score} needs at least {min_frames} frames, got {clip.shape[2]}")
        if min(clip.shape[3:]) < min_size:
            raise ValueError(f"{score} needs frames of at least {min_size} pixels, got {[*clip.shape[3:]]}")
        if clip.shape[1] != clips[0].shape[1]:
            raise ValueError(f"{score} needs equal channels, got {clips[0].shape[1]} and {clip.shape[1]}")
