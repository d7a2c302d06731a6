"""Predict: one picture and its futures."""

import html
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from dtsgan.errors import RunError, VideoError
from dtsgan.model import DTSGAN
from dtsgan.pyramid import resize
from dtsgan.ui.gpu import on_gpu
from dtsgan.ui.library import Texture, drawing_device
from dtsgan.ui.page import Page, cancellable, empty, lead, plain_errors, progress_bar, texture_picker
from dtsgan.ui.visitor import visitor_of
from dtsgan.ui.wish import Wish
from dtsgan.video import VideoWriter, probe, read_clip, write_clip

UNTRAINED = "{} was learned without prediction: train it below, in a third of the training's time again."


def predict_tab(page: Page, tab: gr.Tab) -> None:
    """Call inside `gr.Tab`."""
    lead(
        "What comes next?",
        "Give it a picture of the texture, or take a frame of its source: the video goes on from there. "
        "There is "
        "not one future but many; each seed is one.",
    )
    with gr.Row():
        with gr.Column(scale=4, min_width=300, elem_classes="dt-panel"):
            picker = texture_picker(page, tab)
            ability = gr.HTML(apply_default_css=False)
            teach = gr.Button("Train prediction", visible=False)
            frame = gr.Slider(0, 1, 0, step=1, label="Frame of the source", visible=False)
            picture = gr.Image(
                label="Start picture",
                type="filepath",
                height=220,
                buttons=[],
                sources=["upload", "clipboard"],
            )
            with gr.Row():
                count = gr.Slider(1, 4, 2, step=1, label="Futures", min_width=100)
                seconds = gr.Slider(0.5, 10, 3, step=0.5, label="Seconds", min_width=100)
            seed = gr.Number(0, label="Seed of the first", precision=0, minimum=0)
            with gr.Row():
                go = gr.Button("Predict", variant="primary")
                cancel = gr.Button("Cancel", visible=False)
            note = gr.HTML(apply_default_css=False)
        with gr.Column(scale=7, min_width=320):
            futures = gr.HTML(
                empty(
                    "The futures play here",
                    "Side by side: all begin with the same picture, and each goes its own way.",
                ),
                apply_default_css=False,
            )
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}

    @plain_errors
    def able(key: str | None, request: gr.Request) -> Any:
        if not key:
            return "", gr.Button(visible=False), gr.Slider(visible=False)
        texture = page.library.find(key, visitor_of(request))
        model = page.library.model(texture)
        words, can_be_taught = "", False
        if not model.can_predict:
            words, can_be_taught = UNTRAINED.format(texture.title), texture.run is not None
        length = model.pyramid.num_frames
        slider = gr.Slider(0, length - 1, 0, visible=texture.source is not None)
        return (
            (f'<p class="dt-note">{html.escape(words)}</p>' if words else ""),
            gr.Button(visible=can_be_taught),
            slider,
        )

    gr.on(
        [tab.select, picker.change],
        able,
        picker,
        [ability, teach, frame],
        trigger_mode="always_last",
        **quiet,
    )

    @plain_errors
    def take_frame(key: str | None, number: float, request: gr.Request) -> Any:
        texture = page.library.find(key or "", visitor_of(request))
        return str(source_frame(page, texture, int(number)))

    begun = gr.State("")  # the texture whose first frame the start picture was

    @plain_errors
    def first_frame(key: str | None, begun: str, request: gr.Request) -> Any:
        """One click is then enough to see a future; a picture that was given since stays."""
        if not key or key == begun:
            return gr.skip(), begun
        texture = page.library.find(key, visitor_of(request))
        return (str(source_frame(page, texture, 0)) if texture.source else None), key

    at_once: dict[str, Any] = {  # the veil keeps a visitor's picture from being overtaken by an earlier frame
        "show_progress": "full", "show_progress_on": picture, "api_visibility": "private",
        "trigger_mode": "always_last",
    }  # fmt: skip
    frame.input(take_frame, [picker, frame], picture, **at_once)
    gr.on([tab.select, picker.change], first_frame, [picker, begun], [picture, begun], **at_once)

    @plain_errors
    def teach_it(key: str, request: gr.Request) -> str:
        texture = page.library.find(key, visitor_of(request))
        name = texture.run.name if texture.run else ""
        found = next((job for job in page.queue.jobs(visitor_of(request)) if job.name == name), None)
        if found is None:
            raise RunError(f"{texture.title} was not trained here: only its trainer can add prediction")
        page.queue.resume(found, ["--with-prediction"])
        return '<p class="dt-note">It is in line; follow it in Train.</p>'

    teach.click(teach_it, picker, ability, **quiet)

    @plain_errors
    @on_gpu
    def show_futures(
        key: str | None, path: str | None, count: float, seconds: float, seed: float, request: gr.Request
    ) -> Iterator[Any]:
        texture = page.library.find(key or "", visitor_of(request))
        model = page.library.model(texture, drawing_device())
        wish = Wish.read({"seed": seed, "seconds": seconds})
        start = read_picture(path)
        figures = ""
        for k in range(int(count)):
            yield figures, progress_bar(k / count, f"Drawing future {k + 1} of {int(count)}")
            with page.library.turns.take():
                clip = predict_clip(model, start, wish.num_frames(model.fps), wish.seed + k)
            place = page.library.new_clip()
            write_clip(place, clip, model.fps)
            error = first_frame_error(start, clip)
            figures += _figure(
                place, f"seed {wish.seed + k} · its first frame is the picture ({error:.0f} dB)"
            )
            yield f'<div class="dt-many wide">{figures}</div>', progress_bar((k + 1) / count, "")
        yield f'<div class="dt-many wide">{figures}</div>', ""

    cancellable(
        go, cancel, note, show_futures, [picker, picture, count, seconds, seed], [futures, note],
        concurrency_limit=2, concurrency_id="predict", api_visibility="private",
    )  # fmt: skip

    @plain_errors
    @on_gpu
    def predict(
        model: str, image: str | None, seconds: float = 3, seed: float = 0, request: gr.Request | None = None
    ) -> str:
        """The future of a picture, as an MP4 whose first frame is the picture.

        Args:
            model: as for `/sample`.
            image: the picture.
            seconds: length.
            seed: which future.
        """
        texture = page.library.find(model, visitor_of(request))
        drawn = page.library.model(texture, drawing_device())
        wish = Wish.read({"seed": seed, "seconds": seconds})
        with page.library.turns.take():
            clip = predict_clip(drawn, read_picture(image), wish.num_frames(drawn.fps), wish.seed)
        place = page.library.new_clip()
        write_clip(place, clip, drawn.fps)
        return str(place)

    with gr.Column(visible=False):  # what a program sends and gets
        asked, result = gr.Textbox(label="Model"), gr.File(label="Future")
        gr.Button("Predict by program").click(
            predict, [asked, picture, seconds, seed], result, api_name="predict", concurrency_limit=2,
            concurrency_id="predict",
        )  # fmt: skip


def predict_clip(model: DTSGAN, picture: Tensor, num_frames: int, seed: int) -> Tensor:
    """`(1, 3, T, H, W)` from a picture `(3, H, W)`.

    Raises:
        ConfigError: this texture cannot predict.
    """
    with torch.inference_mode():
        return model.predict(picture.to(model.device), num_frames, seed).cpu()


def read_picture(path: str | None) -> Tensor:
    """`(3, H, W)` in [-1, 1] of an uploaded picture.

    Raises:
        VideoError: none was given, or it cannot be read.
    """
    if not path:
        raise VideoError("choose a start picture first: upload one, or take a frame of the source")
    try:
        return read_clip(path, min_frames=1, max_frames=1)[0][0, :, 0]
    except VideoError as error:
        raise VideoError(str(error).replace(str(path), Path(path).name)) from error


def source_frame(page: Page, texture: Texture, number: int) -> Path:
    """A frame of the real video as a picture file."""
    if texture.source is None:
        raise VideoError(f"the source of {texture.title} is not here: upload a picture")
    fps = probe(texture.source).fps
    end = (max(0, number) + 0.5) / fps  # nothing after the frame is decoded
    clip, info = read_clip(texture.source, end=end, size=min(texture.height, texture.width), min_frames=1)
    folder = page.library.new_clip().with_suffix("")
    with VideoWriter(folder, info.fps) as writer:
        writer.write(clip[0, :, -1])
    return next(folder.glob("*.png"))


def first_frame_error(picture: Tensor, clip: Tensor) -> float:
    """PSNR in decibels between the picture and the first frame, at the frame's size, the middle cut out."""
    height, width = clip.shape[3:]
    factor = max(height / picture.shape[1], width / picture.shape[2])
    sides = (max(height, round(picture.shape[1] * factor)), max(width, round(picture.shape[2] * factor)))
    whole = resize(picture[None, :, None], sides)[0, :, 0]
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    error = (whole[:, top : top + height, left : left + width] - clip[0, :, 0]).square().mean().item()
    return 10 * math.log10(4 / max(error, 1e-10))


def _figure(path: Path, caption: str) -> str:
    return (
        f'<figure><video src="media/clip/{path.stem}.mp4" autoplay muted loop playsinline '
        f'aria-label="{html.escape(caption)}"></video><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
