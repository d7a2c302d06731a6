"""Play: a gallery of textures; a click plays endless new video of one, and any stretch of it can be saved."""

import html
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from torch import Tensor

from dtsgan.errors import ConfigError
from dtsgan.ui.gpu import on_gpu
from dtsgan.ui.library import Texture, drawing_device
from dtsgan.ui.page import Page, cancellable, plain_errors, progress_bar, rule
from dtsgan.ui.routes import example_clips
from dtsgan.ui.theme import icon
from dtsgan.ui.visitor import visitor_of
from dtsgan.ui.wish import Wish
from dtsgan.video import VideoWriter

FORMATS = {"MP4": ".mp4", "WebM": ".webm", "GIF": ".gif", "WebP": ".webp", "PNG frames": ""}
TILES = [("None", "none"), ("Left to right", "x"), ("Top to bottom", "y"), ("Both", "xy")]

STAGE = f"""
<section class="dt-stage" aria-label="Live view">
  <div class="dt-screen">
    <canvas class="glow" width="12" height="12" aria-hidden="true"></canvas>
    <canvas class="film" width="0" height="0" role="img"
      aria-label="New video of the texture, drawn live"></canvas>
    <div class="wait" role="status" hidden></div><div class="trouble" role="alert" hidden></div>
  </div>
  <div class="dt-bar">
    <span class="title"></span><span class="dt-pill">LIVE</span><span class="facts"></span>
    {icon("pause", "Pause")}{icon("restart", "Play from the first frame")}
    {icon("link", "Copy link")}{icon("full", "Full screen")}{icon("stop", "Close")}
  </div>
</section>"""

OWN = """
<button type="button" class="dt-tile own" data-example="" aria-label="Learn a clip of your own">
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v16M4 12h16"/></svg>
<span class="cap"><span class="name">Your own clip</span>
<span class="meta">water, leaves, flames, a crowd</span></span></button>"""

CHOOSE = """
element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-texture]');
  if (tile) { window.dtsgan.choose(tile.dataset.texture); trigger('select', {key: tile.dataset.texture}); }
  const example = event.target.closest('[data-example]');
  if (example) trigger('submit', {name: example.dataset.example});
});
"""


def play_tab(page: Page, demo: gr.Blocks) -> tuple[gr.HTML, gr.Textbox]:
    """The first tab. Call inside `gr.Tab`. Returns the gallery, whose `submit` names an example to train on,
    and the box that holds the key of the texture on the stage."""
    settings, library = page.settings, page.library

    with gr.Row(elem_id="stage-row"):
        with gr.Column(scale=7, min_width=320):
            gr.HTML(STAGE, apply_default_css=False)
        with gr.Column(scale=3, min_width=290, elem_classes="dt-panel"):
            with gr.Row(elem_classes="dt-row-tight"):
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)
                surprise = gr.Button("Surprise me", min_width=120)
            speed = gr.Slider(0.1, 4, 1, step=0.05, label="Speed", info="slow motion is new video, too")
            diversity = gr.Slider(
                0,
                2,
                1,
                step=0.05,
                label="Diversity",
                info="0 the source's motion · 1 all new · 2 wilder",
            )
            with gr.Column(visible=False) as free:
                with gr.Row():
                    width = gr.Number(
                        0, label="Width", info="pixels; 0: as trained", precision=0, min_width=90
                    )
                    height = gr.Number(
                        0, label="Height", info="pixels; 0: as trained", precision=0, min_width=90
                    )
                tile = gr.Radio(TILES, value="none", label="Tile without a seam")
            rule("Take it with you")
            seconds = gr.Slider(
                0.5, settings.max_seconds, 5, step=0.5, label="Length", info="seconds, to save or to loop"
            )
            loop = gr.Checkbox(False, label="Loop without a seam")
            file_format = gr.Radio(list(FORMATS), value="MP4", label="Save as")
            with gr.Row(elem_classes="dt-row-tight"):
                save = gr.Button("Save video", variant="primary")
                cancel = gr.Button("Cancel", visible=False)
            note = gr.HTML(apply_default_css=False)
            saved = gr.File(label="Saved video", interactive=False, elem_id="saved")

    gallery = gr.HTML(
        gallery_html(page, "0" * 32), elem_id="gallery", js_on_load=CHOOSE, apply_default_css=False
    )
    model = gr.Textbox("", label="Texture", visible="hidden")
    watch = gr.Timer(3.0)

    wish: list[Any] = [model, seed, seconds, speed, diversity, loop, width, height, tile]

    # -- the gallery ---

    def refresh(shown: str | None, request: gr.Request) -> Any:
        visitor = visitor_of(request)
        now = gallery_html(page, visitor)
        textures = library.textures(visitor)
        library.make_loops(textures)
        busy = any(library.loop(texture) is None for texture in textures)
        return (gr.skip() if now == shown else now), gr.Timer(3.0 if busy else 10.0)

    watch.tick(
        refresh, gallery, [gallery, watch], show_progress="hidden", queue=False, api_visibility="private"
    )

    def panel_for(texture: Texture) -> Any:
        return gr.Column(visible=texture.is_free)

    @plain_errors
    def choose(event: gr.EventData, request: gr.Request) -> Any:
        texture = library.find(str(event.key), visitor_of(request))
        return texture.key, panel_for(texture), 0, 0, "none"

    gallery.select(
        choose, None, [model, free, width, height, tile],
        show_progress="hidden", queue=False, api_visibility="private",
    )  # fmt: skip

    def open_address(request: gr.Request) -> Any:
        """The address of the page names a video: show it."""
        visitor = visitor_of(request)
        now = gallery_html(page, visitor)
        query = dict(request.query_params)
        if not query.get("model"):
            return [now, *[gr.skip()] * 10]
        try:
            texture = library.find(query["model"], visitor)
            asked = Wish.read(query)
        except ConfigError as error:
            gr.Warning(html.escape(str(error)), title="This link")
            return [now, *[gr.skip()] * 10]
        except ValueError:
            gr.Warning("It names a texture that is not here.", title="This link")
            return [now, *[gr.skip()] * 10]
        return [
            now, texture.key, asked.seed, min(asked.seconds, settings.max_seconds), asked.speed,
            asked.diversity, asked.loop, asked.width, asked.height, asked.tile or "none", panel_for(texture),
        ]  # fmt: skip

    # in the queue, since only there a warning reaches the page
    demo.load(
        open_address, None, [gallery, *wish, free], show_progress="hidden", api_visibility="private",
        concurrency_limit=None,
    )  # fmt: skip

    # -- the live view: the browser's own affair ---

    tune = "(...wish) => { window.dtsgan.tune(...wish); }"
    gr.on([part.change for part in wish], None, wish, None, js=tune, queue=False, api_visibility="private")
    surprise.click(
        None, None, seed, js="() => Math.floor(Math.random() * 1e6)", queue=False, api_visibility="private"
    )

    # -- saving ---

    @plain_errors
    @on_gpu
    def sample(
        model: str,
        seed: float = 0,
        seconds: float = 5.0,
        speed: float = 1.0,
        diversity: float = 1.0,
        loop: bool = False,
        width: float = 0,
        height: float = 0,
        tile: str = "none",
        file_format: str = "MP4",
        request: gr.Request | None = None,
    ) -> Iterator[Any]:
        """Draws new video of a texture. The same model, seed and settings give the same file.

        Args:
            model: name of a bundled texture, "runs/NAME" of one trained here, or "user/name" of a pulled one.
            seed: which of the endless videos, 0 or more.
            seconds: length; with loop the period.
            speed: of the motion, 0.1 to 4.
            diversity: 0 the source's own motion, 1 all new, up to 2 wilder.
            loop: a loop without a seam.
            width: pixels, for free textures; 0 as trained.
            height: pixels, for free textures; 0 as trained.
            tile: "none", "x", "y" or "xy", for free textures.
            file_format: "MP4", "WebM", "GIF", "WebP" or "PNG frames" (a zip archive).
        """
        texture = library.find(model, visitor_of(request))
        asked = Wish.read({
            "seed": seed, "seconds": seconds, "speed": speed, "diversity": diversity, "loop": loop,
            "width": width, "height": height, "tile": tile,
        })  # fmt: skip
        if asked.seconds > settings.max_seconds:
            raise ConfigError(
                f"a saved video lasts at most {settings.max_seconds:g} seconds here: choose a shorter length"
            )
        if file_format not in FORMATS:
            raise ConfigError(f'the format "{file_format:.20}" is not known: choose {", ".join(FORMATS)}')
        drawn = library.model(texture, drawing_device())
        count = asked.num_frames(drawn.fps)
        folder = Path(tempfile.mkdtemp(prefix="dtsgan-"))
        try:
            name = f"{_safe(texture.title)}_seed{asked.seed}{'_loop' if asked.loop else ''}"
            path = folder / (name + FORMATS[file_format])
            chunks = library.chunks(drawn, count, **asked.settings(texture, settings.max_side))
            yield None, progress_bar(0, "Drawing")
            for done in _write(path, chunks, drawn.fps):
                yield None, progress_bar(done / count, f"Drawing frame {done} of {count}")
            if path.is_dir():
                path = Path(shutil.make_archive(str(path), "zip", path))
            size = path.stat().st_size / 2**20
            words = f"{count} frames at {drawn.fps:g} a second, {size:.1f} MB"
            yield str(path), progress_bar(1, words)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    drawing = cancellable(
        save, cancel, note, sample, [*wish, file_format], [saved, note], concurrency_limit=4,
        concurrency_id="draw", api_name="sample",
    )  # fmt: skip
    drawing.success(
        None, saved, None, queue=False, api_visibility="private",
        js="(file) => { window.dtsgan.download(file); }",
    )  # fmt: skip
    return gallery, model


def gallery_html(page: Page, visitor: str) -> str:
    """Every texture as a moving tile; below them the clips that one can learn from."""
    textures = page.library.textures(visitor)
    tiles = "".join(_tile(page, texture) for texture in textures)
    examples = {name for name in example_clips()}
    known = {texture.title.lower() for texture in textures}
    left = [name for name in sorted(examples) if name not in known]
    parts = []
    if textures:
        parts.append(
            '<div class="dt-hero"><h1>Endless water, fire <em>&amp;</em> smoke.</h1><p>Each texture was '
            "learned from one "
            "short clip. Click one: what then plays is new video, drawn here as you watch. It never "
            "repeats.</p></div>"
            f'<div class="dt-grid">{tiles}</div>'
        )
    else:
        parts.append(
            '<div class="dt-hero"><h1>One short clip in, endless video <em>out.</em></h1><p>No texture '
            "has been learned here "
            "yet. Choose one of these clips, or bring your own in Train: minutes later it plays for ever."
            "</p></div>"
        )
    if left:
        cards = "".join(_example(name) for name in left) + OWN
        if textures:
            parts.append('<h2 class="dt-section">Teach it another</h2>')
        parts.append(f'<div class="dt-grid dt-sources">{cards}</div>')
    return "".join(parts)


def _tile(page: Page, texture: Texture) -> str:
    ready = page.library.loop(texture) is not None
    shown = ready or (texture.folder / "preview.mp4").is_file()
    kind = "" if ready else " half" if shown else " blank"
    film = (
        f'<video src="media/loop/{texture.id}.mp4?{int(ready)}" autoplay muted loop playsinline '
        f"disablepictureinpicture></video>"
    )
    meta = "any size" if texture.is_free else f"{texture.width} × {texture.height}"
    origin = "" if texture.origin == "bundled" else f" · {texture.origin}"
    title = html.escape(texture.title)
    return (
        f'<button type="button" class="dt-tile{kind}" '
        f'data-texture="{html.escape(texture.key)}" '
        f'aria-pressed="false" aria-label="Play {title}">'
        f'{film if shown else ""}<span class="go">Play</span>'
        f'<span class="cap"><span class="name">{title}</span>'
        f'<span class="meta">{meta}{origin}</span></span></button>'
    )


def _example(name: str) -> str:
    title = html.escape(name.replace("_", " ").capitalize())
    return (
        f'<button type="button" class="dt-tile" data-example="{html.escape(name)}" aria-label="Learn '
        f'{title}">'
        f'<video src="media/example/{html.escape(name)}.mp4" autoplay muted loop playsinline '
        f"disablepictureinpicture></video>"
        f'<span class="go">Learn</span><span class="cap"><span class="name">{title}</span>'
        f'<span class="meta">source clip</span></span></button>'
    )


def _write(path: Path, chunks: Iterator[Tensor], fps: float) -> Iterator[int]:
    """Writes chunk by chunk, telling how many frames are written."""
    done = 0
    # Each step may run on another thread, and torch's modes are a thread's own: one entered here would stay.
    with VideoWriter(path, fps) as writer:
        for chunk in chunks:
            writer.write(chunk[0])
            done += chunk.shape[2]
            yield done


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()[:60] or "texture"
