"""Rooms and libraries that a machine may lack. Everything optional is looked up here and nowhere else."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def room(name: str) -> ModuleType | None:
    """The module `dtsgan.<name>`, or None where this version has none."""
    address = f"dtsgan.{name}"
    try:
        return import_module(address)
    except ModuleNotFoundError as error:
        if error.name != address:
            raise
        return None


def on_gpu(function: Function) -> Function:
    """Lends `function` a GPU on a ZeroGPU Space; elsewhere the function itself."""
    try:
        spaces = import_module("spaces")
    except ImportError:
        return function
    return spaces.GPU(duration=60)(function)
