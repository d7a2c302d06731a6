"""What every tab is given, and how errors become sentences."""

import functools
import html
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dtsgan.errors import DTSGANError
from dtsgan.ui.library import Library
from dtsgan.ui.queue import TrainingQueue
from dtsgan.ui.settings import Settings
from dtsgan.ui.visitor import visitor_of


@dataclass(frozen=True)
class Page:
    """The page's settings, its textures and its trainings."""

    settings: Settings
    library: Library
    queue: TrainingQueue


def plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows what a visitor can mend as the sentence that it is; other errors are bugs and stay loud."""

    def sentence(error: Exception) -> gr.Error:
        return gr.Error(html.escape(" ".join(str(error).split())), print_exception=False, title="Not so")

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from function(*args, **kwargs)
            except (DTSGANError, OSError) as error:
                raise sentence(error) from error

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (DTSGANError, OSError) as error:
            raise sentence(error) from error

    return plain


def lead(title: str, text: str) -> gr.HTML:
    """A tab's heading."""
    return gr.HTML(f'<div class="dt-lead"><h2>{title}</h2><p>{text}</p></div>', apply_default_css=False)


def empty(title: str, text: str) -> str:
    """What stands where something will be: what it will be, and how to get it."""
    return f'<div class="dt-empty"><b>{title}</b><span>{text}</span></div>'


def rule(title: str, first: bool = False) -> gr.HTML:
    """A heading inside a panel, with a line above it unless it is the first."""
    kind = "dt-rule first" if first else "dt-rule"
    return gr.HTML(f'<h3 class="{kind}">{title}</h3>', apply_default_css=False)


def texture_picker(page: Page, tab: gr.Tab, label: str = "Texture") -> gr.Dropdown:
    """A choice among the visitor's textures, brought up to date whenever the tab is opened."""

    def known(request: gr.Request) -> Any:
        textures = page.library.textures(visitor_of(request))
        choices = [(texture.title, texture.key) for texture in textures]
        return gr.Dropdown(choices=choices) if choices else gr.Dropdown(choices=[], value=None)

    at_first = [(texture.title, texture.key) for texture in page.library.textures("0" * 32)]
    picker = gr.Dropdown(at_first, value=at_first[0][1] if at_first else None, label=label, min_width=180)
    tab.select(known, None, picker, show_progress="hidden", queue=False, api_visibility="private")
    return picker


def progress_bar(done: float, text: str) -> str:
    """A bar and a sentence; `done` is 0 to 1."""
    percent = round(100 * min(1.0, max(0.0, done)))
    return (
        f'<div class="dt-progress" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-label="{html.escape(text)}"><div class="dt-track"><i '
        f'style="width:{percent}%"></i></div>'
        f"<span>{html.escape(text)}</span></div>"
    )


def cancellable(
    go: gr.Button, cancel: gr.Button, note: gr.HTML, function: Callable[..., Any], inputs: Sequence[Any],
    outputs: Sequence[Any], **options: Any,
) -> Any:  # fmt: skip
    """A click on `go` runs the function; while it does, `cancel` is there, and stops it. Returns the event.

    An error takes `cancel` and the half-told `note` away, too: Gradio's `then` is not run after one.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    shows = go.click(lambda: gr.Button(visible=True), None, cancel, **quiet)
    running = shows.then(function, inputs, outputs, show_progress="hidden", **options)
    running.success(lambda: gr.Button(visible=False), None, cancel, **quiet)
    running.failure(lambda: ("", gr.Button(visible=False)), None, [note, cancel], **quiet)
    cancel.click(lambda: ("", gr.Button(visible=False)), None, [note, cancel], cancels=[running], **quiet)
    return running
