"""GPUs that are lent for the length of a call."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def on_gpu(function: Function) -> Function:
    """Lends `function` a GPU on a ZeroGPU Space; elsewhere the function itself."""
    try:
        spaces = import_module("spaces")
    except ImportError:
        return function
    return spaces.GPU(duration=60)(function)
