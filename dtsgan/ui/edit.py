"""Edit: paint on a frame of the texture's video, and the texture grows over it again."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.errors import ConfigError
from dtsgan.model import DTSGAN
from dtsgan.ui.gpu import on_gpu
from dtsgan.ui.library import Texture, drawing_device
from dtsgan.ui.page import Page, cancellable, empty, lead, plain_errors, progress_bar, texture_picker
from dtsgan.ui.visitor import visitor_of
from dtsgan.ui.wish import Wish
from dtsgan.video import VideoWriter, from_uint8, read_clip, write_clip

ENLARGED = 4  # the frame to paint on, so that a brush has something to stand on
COLOURS: list[str | tuple[str, float]] = ["#ffffff", "#c9d6df", "#2a6f97", "#e85d04", "#111111"]
WAYS = [("Keep what I painted, and let it move", "keep"), ("Redraw the painted part", "redraw")]


def edit_tab(page: Page, tab: gr.Tab) -> None:
    """Call inside `gr.Tab`."""
    lead(
        "Paint on moving water",
        "Paint, or paste a patch and move it, on a frame of the texture's own video. What you did is "
        "carried into "
        "every frame, and the finer scales are drawn again so that it belongs.",
    )
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            canvas = gr.ImageEditor(
                label="Frame", type="numpy", format="png", layers=True, transforms=(), height=460,
                brush=gr.Brush(colors=COLOURS, default_size=14),
                sources=["upload", "clipboard"],
            )  # fmt: skip
        with gr.Column(scale=4, min_width=300, elem_classes="dt-panel"):
            picker = texture_picker(page, tab)
            with gr.Row(elem_classes="dt-row-tight"):
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90)
                take = gr.Button("Take its first frame", min_width=120)
            way = gr.Radio(WAYS, value="keep", label="What the paint means")
            scale = gr.Slider(
                0,
                7,
                1,
                step=1,
                label="Start scale",
                info="coarser: the texture may change more of it; finer: less",
            )
            seconds = gr.Slider(0.5, 8, 3, step=0.5, label="Seconds")
            with gr.Row():
                go = gr.Button("Harmonise", variant="primary")
                cancel = gr.Button("Cancel", visible=False)
            note = gr.HTML(apply_default_css=False)
    shown = gr.HTML(
        empty("Before and after play here", "The video as it was, with the paint, and grown together."),
        elem_id="edited",
        apply_default_css=False,
    )
    drawn = gr.State(None)  # texture and seed of the frame on the canvas

    @plain_errors
    def first_frame(key: str | None, seed: float, request: gr.Request) -> Any:
        texture = page.library.find(key or "", visitor_of(request))
        model = page.library.model(texture)
        wish = Wish.read({"seed": seed})
        clip = torch.cat(list(page.library.chunks(model, 1, seed=wish.seed)), 2)
        folder = page.library.new_clip().with_suffix("")
        with VideoWriter(folder, model.fps) as writer:
            writer.write(F.interpolate(clip[:, :, 0], scale_factor=ENLARGED, mode="bicubic")[0].clamp(-1, 1))
        picture = str(next(folder.glob("*.png")))
        editor = {"background": picture, "layers": [], "composite": picture}
        last = len(model.edit_sizes(*model.size)) - 1
        start = gr.Slider(maximum=max(1, last), value=model.default_edit_size(*model.size), visible=last > 0)
        return editor, start, (key, seed)

    def follow(key: str | None, seed: float, drawn: Any, request: gr.Request) -> Any:
        """The frame of what is chosen, unless it is there already and may be painted on."""
        is_there = not key or (key, seed) == drawn
        return (gr.skip(), gr.skip(), drawn) if is_there else first_frame(key, seed, request)

    at_once: dict[str, Any] = {  # the veil keeps paint from being laid on a frame that is about to go
        "outputs": [canvas, scale, drawn], "show_progress": "full", "show_progress_on": canvas,
        "api_visibility": "private",
    }  # fmt: skip
    take.click(first_frame, [picker, seed], **at_once)
    gr.on(
        [tab.select, picker.change, seed.submit], follow, [picker, seed, drawn], trigger_mode="always_last",
        **at_once,
    )  # fmt: skip

    @plain_errors
    @on_gpu
    def harmonise(
        key: str | None, painted: dict[str, Any] | None, way: str, scale: float, seconds: float, seed: float,
        request: gr.Request,
    ) -> Iterator[Any]:  # fmt: skip
        texture = page.library.find(key or "", visitor_of(request))
        model = page.library.model(texture, drawing_device())
        wish = Wish.read({"seed": seed, "seconds": seconds})
        paint, mask = read_paint(painted, model)
        yield gr.skip(), progress_bar(0.1, "Drawing the video")

        def drawn_of(seed: int) -> Tensor:
            return torch.cat([*page.library.chunks(model, wish.num_frames(model.fps), seed=seed)], 2).cpu()

        before = drawn_of(wish.seed)
        pasted = torch.lerp(before, drawn_of(wish.seed + 1) if way == "redraw" else paint, mask)
        yield gr.skip(), progress_bar(0.5, "Letting it grow together")
        with page.library.turns.take():
            after = edit_clip(model, pasted, mask, int(scale), wish.seed)
        files = [page.library.new_clip() for _ in range(3)]
        for path, clip in zip(files, (before, pasted, after), strict=True):
            write_clip(path, clip, model.fps)
        captions = ("before", "with other video" if way == "redraw" else "with the paint", "harmonised")
        figures = "".join(
            f'<figure><video src="media/clip/{path.stem}.mp4" autoplay muted loop playsinline '
            f'aria-label="{caption}"></video><figcaption>{caption}</figcaption></figure>'
            for path, caption in zip(files, captions, strict=True)
        )
        yield f'<div class="dt-many wide">{figures}</div>', ""

    running = cancellable(
        go, cancel, note, harmonise, [picker, canvas, way, scale, seconds, seed], [shown, note],
        concurrency_limit=1, concurrency_id="edit", api_visibility="private",
    )  # fmt: skip
    running.success(
        None, None, None, queue=False, api_visibility="private",
        js="() => document.querySelector('#edited')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})",
    )  # fmt: skip

    @plain_errors
    @on_gpu
    def edit(
        model: str, edited: str | None, mask: str | None, start_scale: float | None = None, seed: float = 0,
        request: gr.Request | None = None,
    ) -> str:  # fmt: skip
        """Harmonises an edited video of a texture: the white part of the mask is drawn again.

        Args:
            model: as for `/sample`.
            edited: the video, at the texture's size.
            mask: a picture, white where it was edited.
            start_scale: 0 is the coarsest: the texture may change more of it. The default is the first of
                half the video's size.
            seed: of what is drawn.
        """
        if not edited or not mask:
            raise ConfigError("give the edited video and the mask")
        texture = page.library.find(model, visitor_of(request))
        drawn = page.library.model(texture, drawing_device())
        clip = _at_size(read_clip(edited)[0], texture)
        where = _at_size(read_clip(mask, min_frames=1, max_frames=1)[0], texture).mean(1, keepdim=True)
        with page.library.turns.take():
            start = None if start_scale is None else int(start_scale)
            after = edit_clip(drawn, clip, (where > 0).float(), start, Wish.read({"seed": seed}).seed)
        place = page.library.new_clip()
        write_clip(place, after, drawn.fps)
        return str(place)

    with gr.Column(visible=False):  # what a program sends and gets
        asked, video, mask_file = gr.Textbox(label="Model"), gr.File(label="Edited"), gr.File(label="Mask")
        start, result = gr.Number(None, label="Start scale", precision=0), gr.File(label="Harmonised")
        gr.Button("Edit by program").click(
            edit, [asked, video, mask_file, start, seed], result, api_name="edit", concurrency_limit=1,
            concurrency_id="edit",
        )  # fmt: skip


def edit_clip(model: DTSGAN, clip: Tensor, mask: Tensor, start_scale: int | None, seed: int) -> Tensor:
    """The harmonised clip."""
    with torch.inference_mode():
        everywhere = mask.expand(-1, -1, clip.shape[2], -1, -1)
        return model.edit(clip, everywhere, start_scale=start_scale, seed=seed)


def read_paint(painted: dict[str, Any] | None, model: DTSGAN) -> tuple[Tensor, Tensor]:
    """The paint `(1, 3, 1, H, W)` in [-1, 1] and where it is `(1, 1, 1, H, W)`, at the model's size.

    Raises:
        ConfigError: nothing is painted.
    """
    layers = [layer for layer in (painted or {}).get("layers", []) if layer is not None]
    if not layers or painted is None:
        raise ConfigError("nothing is painted yet: take a frame, and paint or paste something on it")
    alpha = torch.stack([torch.from_numpy(layer[..., 3].copy()).float() / 255 for layer in layers]).amax(0)
    if not bool((alpha > 0.02).any()):
        raise ConfigError("nothing is painted yet: choose the brush, and paint on the frame")
    whole = from_uint8(painted["composite"][None, None, ..., :3])[:, :, 0]  # 1 3 H W
    size = model.size
    paint = F.interpolate(whole, size, mode="bilinear", antialias=True)
    mask = F.interpolate(alpha[None, None], size, mode="bilinear", antialias=True)
    return paint[:, :, None].clamp(-1, 1), (mask[:, :, None] > 0.1).float()


def _at_size(clip: Tensor, texture: Texture) -> Tensor:
    size = (texture.height, texture.width)
    if clip.shape[3:] == size:
        return clip
    return F.interpolate(clip, (clip.shape[2], *size), mode="trilinear")
