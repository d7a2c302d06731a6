"""Train: choose a clip, trim and crop it, see what it costs, start; follow it, stop it, go on."""

import html
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from dtsgan.config import PRESETS, preset
from dtsgan.errors import ConfigError, VideoError
from dtsgan.estimate import available_memory, estimate
from dtsgan.jobs import LOOK, choose_device
from dtsgan.pyramid import is_stationary_in_space, resize, scale_sizes
from dtsgan.trainer import check_length, check_size
from dtsgan.ui.page import Page, lead, plain_errors
from dtsgan.ui.progress import ACTIVE, duration, show
from dtsgan.ui.queue import safe_name
from dtsgan.ui.routes import example_clips
from dtsgan.ui.settings import VIDEO_SUFFIXES, Settings
from dtsgan.ui.visitor import visitor_of
from dtsgan.video import VideoInfo, probe, read_clip

LAYOUTS = [("Decide for me", "auto"), ("A scene", "anchored"), ("A texture", "free")]
ABOUT = {
    "preview": "Preview", "fast": "Full", "quality": "Best", "learned": "Learned detail",
    "paper": "As in the paper",
}  # fmt: skip
EDIT = "window.dtsgan.editor(element, trigger, watch);"
SELECT = """
element.addEventListener('click', (event) => {
  const row = event.target.closest('[data-job]');
  if (row) trigger('select', {job: row.dataset.job});
});
"""
CONFIRM = "(job) => window.confirm('Delete this training and all it has learned?') ? job : ''"


def train_tab(page: Page, demo: gr.Blocks, gallery: gr.HTML, tabs: gr.Tabs) -> None:
    """Call inside `gr.Tab`. The gallery's `submit` brings an example here."""
    settings, queue = page.settings, page.queue
    limits = (
        f"Up to {settings.max_upload_mb} MB; "
        f"a training learns from at most {settings.max_clip_seconds:g} seconds."
    )
    lead(
        "Teach it a texture",
        "A few seconds of water, leaves, flames, a crowd: a steady camera and a motion that goes on. "
        f"The longer it lasts, the more there is to learn. {limits}",
    )
    with gr.Row():
        with gr.Column(scale=7, min_width=320):
            upload = gr.File(
                label="Your clip",
                file_types=list(VIDEO_SUFFIXES),
                type="filepath",
                height=132,
                elem_id="upload",
            )
            editor = gr.HTML(_examples(), elem_id="editor", js_on_load=EDIT, apply_default_css=False)
        with gr.Column(scale=4, min_width=300, elem_classes="dt-panel"):
            seen = gr.HTML(
                _note("Choose a clip: its length, kind and cost then stand here."), apply_default_css=False
            )
            recipe = gr.Radio(
                [(ABOUT[name], name) for name in PRESETS],
                value="fast",
                label="Recipe",
                elem_classes="dt-recipes",
            )
            name = gr.Textbox("", label="Name", placeholder="river", max_length=40)
            with gr.Accordion("More settings", open=False):
                with gr.Row():
                    start = gr.Number(0, label="From (s)", minimum=0, min_width=90)
                    end = gr.Number(0, label="To (s)", minimum=0, min_width=90, info="0: the end")
                crop = gr.Textbox(
                    "", label="Crop", placeholder="x, y, width, height in pixels", max_length=40
                )
                layout = gr.Radio(LAYOUTS, value="auto", label="What it is")
                with gr.Row():
                    size = gr.Number(150, label="Shorter side (px)", precision=0, minimum=16, min_width=90)
                    budget = gr.Number(0, label="Minutes", minimum=0, min_width=90, info="0: the recipe's")
                extra = gr.Textbox(
                    "", label="Any setting", placeholder="lr_g=0.001 batch_size=2", max_length=600,
                    info="for researchers: KEY=VALUE, as of dtsgan train --set",
                )  # fmt: skip
            begin = gr.Button("Start training", variant="primary", size="lg")

    gr.HTML('<h2 class="dt-section" id="trainings">Trainings</h2>', apply_default_css=False)
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            listing = gr.HTML(elem_id="jobs", js_on_load=SELECT, apply_default_css=False)
        with gr.Column(scale=7, min_width=320):
            progress = gr.HTML(elem_id="job-progress", apply_default_css=False)
            preview = gr.HTML(elem_id="job-preview", apply_default_css=False)
            with gr.Row(elem_classes="dt-row-tight"):
                play = gr.Button("Play it", variant="primary", visible=False)
                stop = gr.Button("Stop and save", visible=False)
                resume = gr.Button("Go on", visible=False)
                delete = gr.Button("Delete", visible=False)
    current = gr.BrowserState("", storage_key="dtsgan_training", secret="training")
    chosen = gr.Textbox("", visible="hidden", label="Training")
    answer = gr.JSON(visible=False, label="Training")
    clock = gr.Timer(2.0)
    choice = [upload, start, end, crop, layout, size, extra]

    # -- the clip ---

    @plain_errors
    def open_clip(path: str | None) -> Any:
        if not path:
            return (
                _examples(),
                0,
                0,
                "",
                "",
                _note("Choose a clip: its length, kind and cost then stand here."),
            )
        info = check_upload(Path(path), settings)
        seconds = info.num_frames / info.fps if info.num_frames else 0.0
        last = min(seconds, settings.max_clip_seconds)
        return (
            _editor(path, info, last), 0, round(last, 2) if last < seconds else 0, "",
            safe_name(Path(path).stem), _note("Looking at the clip …"),
        )  # fmt: skip

    @plain_errors
    def look_at(
        path: str | None, start: float, end: float, crop: str, layout: str, size: float, extra: str
    ) -> Any:
        if not path:
            return gr.skip(), gr.skip()
        changes = read_settings(extra)
        words, costs = look(Path(path), start, end, crop, layout, int(size or 150), settings, changes)
        return words, gr.Radio([(f"{ABOUT[key]} · {cost}", key) for key, cost in costs.items()])

    look_options: dict[str, Any] = {
        "inputs": choice, "outputs": [seen, recipe], "show_progress": "hidden", "trigger_mode": "always_last",
        "api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "look",
    }  # fmt: skip
    upload.change(
        open_clip,
        upload,
        [editor, start, end, crop, name, seen],
        show_progress="hidden",
        api_visibility="private",
    ).success(look_at, **look_options)
    gr.on(
        [start.change, end.change, crop.change, layout.change, size.change, extra.submit],
        look_at,
        **look_options,
    )

    def edited(event: gr.EventData) -> Any:
        return event.start, event.end, event.crop

    editor.input(
        edited, None, [start, end, crop], show_progress="hidden", queue=False, api_visibility="private"
    )

    def take_example(event: gr.EventData) -> Any:
        path = example_clips().get(str(event.name))
        return (str(path) if path else gr.skip()), gr.Tabs(selected="train")

    gr.on([gallery.submit, editor.submit], take_example, None, [upload, tabs], show_progress="hidden",
          queue=False, api_visibility="private")  # fmt: skip

    # -- starting ---

    @plain_errors
    def train(
        video: str | None,
        name: str = "",
        preset_name: str = "preview",
        start: float = 0,
        end: float = 0,
        crop: str = "",
        layout: str = "auto",
        size: float = 150,
        minutes: float = 0,
        settings_text: str = "",
        request: gr.Request | None = None,
    ) -> dict[str, Any]:
        """Puts a training in line. Ask `/status` with the id that comes back; then play "runs/NAME".

        Args:
            video: the clip to learn from.
            name: of the texture; the clip's own when empty.
            preset_name: "preview", "fast", "quality", "learned" or "paper".
            start: seconds.
            end: seconds; 0 is the end.
            crop: "x, y, width, height" in the clip's pixels, or empty.
            layout: "auto", "anchored" (a scene) or "free" (a texture).
            size: shorter side of the result in pixels.
            minutes: that the training may take; 0 leaves it to the preset.
            settings_text: any other settings, "KEY=VALUE KEY=VALUE".
        """
        if not video:
            raise VideoError("choose a clip first: upload one, or take one of the examples")
        path = Path(video)
        info = check_upload(path, settings)
        _check_length_of(info, start, end, settings)
        options = ["--preset", preset_name, "--layout", layout, "--size", str(int(size or 150))]
        changes = read_settings(settings_text)
        look(path, start, end, crop, layout, int(size or 150), settings, changes, only=preset_name)
        options += ["--start", f"{start:g}"] if start else []
        options += ["--end", f"{end:g}"] if end else []
        area = read_crop(crop)
        options += ["--crop", ",".join(map(str, area))] if area else []
        if settings.shared and not 0 < minutes <= settings.max_minutes:
            minutes = settings.max_minutes
        options += ["--budget", f"{minutes:g}"] if minutes else []
        for key, value in changes.items():
            options += ["--set", f"{key}={value}"]
        keep = Path(tempfile.mkdtemp(prefix="dtsgan-")) / f"clip{path.suffix.lower()}"
        shutil.copyfile(path, keep)
        try:
            job = queue.submit(visitor_of(request), keep, path.name, name or path.stem, options)
        finally:
            shutil.rmtree(keep.parent, ignore_errors=True)
        return queue.status(job)

    inputs = [upload, name, recipe, start, end, crop, layout, size, budget, extra]
    begun = begin.click(train, inputs, answer, show_progress="minimal", concurrency_limit=2, api_name="train")

    @plain_errors
    def status(job: str) -> dict[str, Any]:
        """How a training is doing: its state, scale, step, seconds to go, error.

        Args:
            job: the id that `/train` returned.
        """
        return queue.status(queue.get(job))

    gr.api(status, api_name="status")

    # -- following ---

    def follow(key: str, shown: Any, request: gr.Request) -> Any:
        """What is shown of the trainings; only what has changed is sent."""
        visitor = visitor_of(request)
        found = queue.jobs(visitor)[:40]
        states = {job.id: queue.status(job) for job in found}
        chosen_job = next((job for job in found if job.id == key), None)
        if chosen_job is None:
            active = [job for job in found if states[job.id]["state"] in ACTIVE]
            chosen_job = next(iter(active or found), None)
        now = show(page, found, states, chosen_job)
        old = shown if isinstance(shown, dict) else {}
        outputs = [
            gr.skip() if old.get(part) == now[part] else now[part] for part in ("list", "text", "clip")
        ]
        if old.get("buttons") == now["buttons"]:
            buttons = [gr.skip()] * 4
        else:
            buttons = [
                gr.Button(visible=part in now["buttons"]) for part in ("play", "stop", "resume", "delete")
            ]
        busy = any(state["state"] in ACTIVE for state in states.values())
        key_now = chosen_job.id if chosen_job else ""
        return [*outputs, *buttons, key_now, now, gr.Timer(1.5 if busy else 6.0)]

    shown = gr.State(None)
    followed: dict[str, Any] = {
        "inputs": [chosen, shown],
        "outputs": [listing, progress, preview, play, stop, resume, delete, chosen, shown, clock],
        "show_progress": "hidden", "queue": False, "api_visibility": "private", "trigger_mode": "once",
    }  # fmt: skip
    clock.tick(follow, **followed)
    demo.load(
        lambda kept: (kept, None), current, [chosen, shown], show_progress="hidden", queue=False,
        api_visibility="private",
    ).then(follow, **followed)  # fmt: skip
    begun.success(
        lambda started: (started["id"], started["id"]), answer, [chosen, current], show_progress="hidden",
        queue=False, api_visibility="private",
    ).then(follow, **followed).then(
        None, None, None, queue=False, api_visibility="private",
        js="() => document.querySelector('#trainings')?.scrollIntoView({behavior: 'smooth'})",
    )  # fmt: skip

    def select(event: gr.EventData) -> Any:
        return event.job, event.job

    listing.select(
        select, None, [chosen, current], show_progress="hidden", queue=False, api_visibility="private"
    ).then(follow, **followed)

    @plain_errors
    def stop_job(key: str, request: gr.Request) -> None:
        queue.stop(queue.get(key, visitor_of(request)))

    @plain_errors
    def resume_job(key: str, request: gr.Request) -> Any:
        return queue.resume(queue.get(key, visitor_of(request))).id

    @plain_errors
    def delete_job(key: str, request: gr.Request) -> Any:
        if not key:  # thought better of it
            return gr.skip()
        queue.delete(queue.get(key, visitor_of(request)))
        return ""

    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    stop.click(stop_job, chosen, None, **quiet).then(follow, **followed)
    resume.click(resume_job, chosen, chosen, **quiet).then(follow, **followed)
    delete.click(delete_job, chosen, chosen, js=CONFIRM, **quiet).then(follow, **followed)

    def texture_of(key: str, request: gr.Request) -> Any:
        return f"runs/{queue.get(key, visitor_of(request)).name}", gr.Tabs(selected="play")

    target = gr.Textbox("", visible="hidden", label="Texture to play")
    play.click(texture_of, chosen, [target, tabs], **quiet).then(
        None,
        target,
        None,
        js="(key) => { window.dtsgan.choose(key); }",
        queue=False,
        api_visibility="private",
    )


def check_upload(path: Path, settings: Settings) -> VideoInfo:
    """Looks at a file's size and header before anything is decoded.

    Raises:
        VideoError: not a video, or larger than is accepted.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        kinds = ", ".join(VIDEO_SUFFIXES[:5])
        raise VideoError(f"{path.name} is not a kind of video that is known here: give {kinds} or a .gif")
    megabytes = path.stat().st_size / 2**20
    if megabytes > settings.max_upload_mb:
        raise VideoError(
            f"{path.name} has {megabytes:.0f} MB, at most {settings.max_upload_mb} are accepted: cut it "
            f"shorter"
        )
    try:
        info = probe(path)
    except VideoError as error:
        raise VideoError(str(error).replace(str(path), path.name)) from error
    if info.source_width * info.source_height > settings.max_upload_pixels:
        raise VideoError(
            f"{path.name} is {info.source_width}x{info.source_height}, more than is accepted here: make "
            f"it smaller"
        )
    return info


def _check_length_of(info: VideoInfo, start: float, end: float, settings: Settings) -> None:
    whole = info.num_frames / info.fps if info.num_frames else 0.0
    seconds = (end or whole) - start
    if seconds > settings.max_clip_seconds + 0.05:
        raise VideoError(
            f"{seconds:.1f} seconds are chosen and at most {settings.max_clip_seconds:g} can be learned "
            f"from: "
            "draw the ends of the time line closer together"
        )


def read_crop(text: str) -> tuple[int, int, int, int] | None:
    """`"x, y, width, height"`, or None when empty.

    Raises:
        ConfigError: anything else.
    """
    if not text.strip():
        return None
    try:
        x, y, width, height = (int(float(part)) for part in text.split(","))
    except ValueError:
        raise ConfigError(f'the crop is "x, y, width, height" in pixels, got "{text:.40}"') from None
    return x, y, width, height


def read_settings(text: str) -> dict[str, str]:
    """`"KEY=VALUE KEY=VALUE"` as a mapping.

    Raises:
        ConfigError: a word without `=`.
    """
    for word in text.split():
        if "=" not in word.strip("="):
            raise ConfigError(f'settings are KEY=VALUE, with spaces between them; got "{word:.60}"')
    return dict(word.split("=", 1) for word in text.split())


def look(
    path: Path, start: float, end: float, crop: str, layout: str, size: int, settings: Settings,
    changes: dict[str, str] | None = None, only: str = "",
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """What a clip is, as HTML, and what each preset will cost here.

    Raises:
        DTSGANError: a sentence, where this part of the clip cannot be learned from.
    """
    info = check_upload(path, settings)
    _check_length_of(info, start, end, settings)
    area = read_crop(crop) or (0, 0, info.source_width, info.source_height)
    shorter = max(1, min(area[2], area[3]))
    try:
        clip, facts = read_clip(
            path,
            start=start or None,
            end=end or None,
            crop=read_crop(crop),
            size=min(2 * LOOK.min_size, shorter),
        )
    except VideoError as error:
        raise VideoError(str(error).replace(str(path), path.name)) from error
    stationary = is_stationary_in_space(resize(clip, scale_sizes(LOOK, *clip.shape[3:])[0]))
    free = layout == "free" or (layout == "auto" and stationary)
    canvas = (round(area[3] * size / shorter), round(area[2] * size / shorter))
    device = choose_device("auto")
    costs: dict[str, str] = {}
    problem: ConfigError | None = None
    for name in [only] if only else PRESETS:
        try:
            config = preset(name, "free" if free else "anchored").with_settings(changes or {})
            if size != config.pyramid.max_size:
                config = replace(config, pyramid=config.pyramid.resized(size))
            check_length(config, facts.num_frames)
            check_size(config, scale_sizes(config.pyramid, *canvas))
        except ConfigError as error:
            problem, costs[name] = error, "not for this clip"
            continue
        cost = estimate(config, facts.num_frames, canvas, device)
        fits = cost.memory < available_memory(device)
        minutes = min(cost.seconds / 60, settings.max_minutes) if settings.shared else cost.seconds / 60
        costs[name] = f"{duration(60 * minutes)}, {cost.memory / 2**30:.1f} GB" + (
            "" if fits else " (too much)"
        )
    if problem and (only or set(costs.values()) == {"not for this clip"}):
        raise problem
    kind = (
        "It is alike everywhere: a <b>texture</b>. It can be drawn at any size, and as a seamless tile."
        if free
        else "Its places differ: a <b>scene</b>. What is learned stays where it is."
    )
    if layout != "auto":
        kind = (
            f"As you say: {'a <b>texture</b>, drawn at any size' if free else 'a <b>scene</b>, with places'}."
        )
    short = (
        ""
        if facts.num_frames >= 60
        else " It is short: with two seconds or more there is more motion to learn."
    )
    if size > shorter:
        short += f" It has {shorter} pixels: enlarged to {size} it gains no detail."
    notes = "".join(f" {html.escape(note.replace(str(path), path.name))}." for note in facts.warnings)
    words = (
        f"<b>{facts.num_frames} frames</b> at {facts.fps:g} a second ({facts.num_frames / facts.fps:.1f} s), "
        f"{area[2]} × {area[3]} pixels, learned at {canvas[1]} × {canvas[0]}. {kind}{short}{notes}"
    )
    return _note(words), costs


def _note(words: str) -> str:
    return f'<p class="dt-note">{words}</p>'


def _examples() -> str:
    tiles = "".join(
        f'<button type="button" class="dt-tile" data-example="{html.escape(name)}" aria-label="Take '
        f'{html.escape(name)}">'
        f'<video src="media/example/{html.escape(name)}.mp4" autoplay muted loop playsinline></video>'
        f'<span class="cap"><span class="name">{html.escape(name.capitalize())}</span></span></button>'
        for name in example_clips()
    )
    return f'<p class="dt-note">or take one of these</p><div class="dt-strip">{tiles}</div>' if tiles else ""


def _editor(path: str, info: VideoInfo, last: float) -> str:
    """The trim and crop editor's markup; `page.js` brings it to life."""
    seconds = info.num_frames / info.fps if info.num_frames else 0.0
    ratio = info.source_width / info.source_height
    return (
        f'<div class="dt-editor" data-width="{info.source_width}" data-height="{info.source_height}" '
        f'data-seconds="{seconds:.3f}" data-end="{last:.3f}">'
        f'<div class="dt-view" style="aspect-ratio:{ratio:.4f};width:calc(400px * {ratio:.4f})">'
        f'<video src="gradio_api/file={html.escape(path)}" autoplay muted playsinline></video>'
        '<div class="dt-crop" tabindex="0" role="group" aria-label="Crop: arrows move it, shift and '
        'arrows resize it">'
        '<i data-h="nw"></i><i data-h="ne"></i><i data-h="sw"></i><i data-h="se"></i></div></div>'
        '<div class="dt-time"><div class="rail"><div class="part"></div><div class="now"></div>'
        '<b data-t="start" role="slider" tabindex="0" aria-label="Start"></b>'
        '<b data-t="end" role="slider" tabindex="0" aria-label="End"></b></div><output></output></div>'
        '<p class="dt-note missing" hidden>This browser cannot show the file; it can be learned from all '
        "the same.</p></div>"
    )
