"""The page: assembles the tabs and says how it is served."""

import os
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from starlette.middleware import Middleware

from dtsgan.ui.edit import edit_tab
from dtsgan.ui.hub import hub_tab
from dtsgan.ui.library import Library
from dtsgan.ui.page import Page
from dtsgan.ui.play import play_tab
from dtsgan.ui.predict import predict_tab
from dtsgan.ui.quality import quality_tab
from dtsgan.ui.queue import TrainingQueue
from dtsgan.ui.routes import STATIC, page_routes
from dtsgan.ui.settings import Settings
from dtsgan.ui.theme import icon, page_head, page_theme
from dtsgan.ui.train import train_tab
from dtsgan.ui.visitor import VisitorSession

HEAD = (
    '<header class="dt-head"><span class="dt-mark">DTSGAN</span>'
    '<span class="dt-tag">dynamic textures, learned from one clip</span>'
    + icon("theme", "Light or dark")
    + "</header>"
)

WORDS = {  # of Gradio's own components
    "upload_text.drop_file": "Drop a video here, or click to choose one",
    "upload_text.drop_image": "Drop a picture here, or click to choose one",
    "upload_text.click_to_upload": " ",
    "common.built_with": " ",
}


def build_app(settings: Settings | None = None) -> gr.Blocks:
    """The whole page. `launch(build_app())` serves it."""
    settings = settings or Settings.from_environment()
    settings.app_folder.mkdir(parents=True, exist_ok=True)
    # Threads that are more than the cores, or that other drawers need, only wait for each other.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), cores))
    library = Library(settings)
    page = Page(settings, library, TrainingQueue(settings))
    with gr.Blocks(title="DTSGAN", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        gr.HTML(HEAD, apply_default_css=False)
        with gr.Tabs() as tabs:
            with gr.Tab("Play", id="play"):
                gallery, _ = play_tab(page, demo)
            with gr.Tab("Train", id="train"):
                train_tab(page, demo, gallery, tabs)
            with gr.Tab("Predict", id="predict") as tab:
                predict_tab(page, tab)
            with gr.Tab("Edit", id="edit") as tab:
                edit_tab(page, tab)
            with gr.Tab("Quality", id="quality") as tab:
                quality_tab(page, tab)
            with gr.Tab("Hub", id="hub") as tab:
                hub_tab(page, tab)
        demo.load(
            None, None, None, js="() => window.dtsgan.theme(false)", queue=False, api_visibility="private"
        )
    demo.queue(max_size=40, default_concurrency_limit=4)
    demo.page = page
    return demo


def launch(demo: gr.Blocks, **options: Any) -> Any:
    """Serves a page made by `build_app`; `options` are those of `gr.Blocks.launch`."""
    page: Page = demo.page  # type: ignore[assignment]
    page.queue.start()
    page.library.make_loops(page.library.textures("0" * 32), after=3)  # the page itself comes first
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    return demo.launch(
        theme=page_theme(),
        head=page_head(),
        favicon_path=STATIC / "favicon.svg",
        app_kwargs={
            "routes": page_routes(page.settings, page.library, page.queue),
            "middleware": [Middleware(VisitorSession, secret=page.settings.secret())],
        },
        max_file_size=f"{page.settings.max_upload_mb}mb",
        i18n=gr.I18n(en=WORDS),
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        # else a page that does not answer within three seconds (a busy machine, a proxy) is not served
        _frontend=False,
        **options,
    )


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    home: Path | None = None,
    mcp: bool = False,
) -> None:
    """Opens the page and stays until it is interrupted.

    Whoever can reach a page that asks for no login is a stranger: a public link, or an address that other
    machines reach, separates its visitors.
    """
    is_open = share or (host not in ("127.0.0.1", "localhost", "::1") and auth is None)
    demo = build_app(Settings.from_environment(home, shared=True if is_open else None))
    launch(demo, server_name=host, server_port=port, share=share, auth=auth, mcp_server=mcp or None)
