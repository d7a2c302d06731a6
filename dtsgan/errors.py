"""The errors a user can meet. Each carries one sentence: what was given, what is accepted, what to do next.

The command line prints that sentence and exits with status 1; any other exception is a bug and keeps its
traceback.
"""


class DTSGANError(ValueError):
    """Base of every error that the user, not the programmer, can mend."""


class VideoError(DTSGANError):
    """A video that cannot be read or written as asked."""


class ConfigError(DTSGANError):
    """A setting that does not exist or does not fit."""


class ModelFileError(DTSGANError):
    """A model folder that is missing, damaged, unsafe or from a newer version."""


class RunError(DTSGANError):
    """A run's folder that cannot be started, resumed or overwritten."""


class HubError(DTSGANError):
    """The Hugging Face Hub, or the way to it, did not do what was asked. Never carries a token."""


class TrainingDivergedError(DTSGANError):
    """Training that produced NaN or whose discriminator collapsed; going on would waste time."""


class WeightsUnavailable(DTSGANError):
    """Pretrained weights of a metric or a baseline that cannot be had; what needs them is left out."""


def nearest(word: str, known: list[str]) -> str:
    """`' (did you mean "fast"?)'` when a known word is close to `word`, else `''`."""
    from difflib import get_close_matches

    match = get_close_matches(word, known, n=1)
    return f' (did you mean "{match[0]}"?)' if match else ""
