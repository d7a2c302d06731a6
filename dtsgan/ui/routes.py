"""The page's own addresses beside Gradio's: fonts, previews, the live view. Names in, never paths."""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from dtsgan.errors import DTSGANError
from dtsgan.ui.library import Library
from dtsgan.ui.live import LiveViews
from dtsgan.ui.queue import TrainingQueue
from dtsgan.ui.settings import EXAMPLES, Settings
from dtsgan.ui.visitor import visitor_on

STATIC = Path(__file__).with_name("static")
FONTS = {path.name: path for path in STATIC.glob("*.woff2")}
DAY = {"Cache-Control": "private, max-age=86400"}


def example_clips() -> dict[str, Path]:
    """The clips that come with the repository, by name."""
    return {path.stem: path for path in sorted(EXAMPLES.glob("*.mp4"))}


def page_routes(settings: Settings, library: Library, queue: TrainingQueue) -> list[BaseRoute]:
    """What `launch` puts before Gradio's own routes."""

    def font(request: Request) -> Response:
        path = FONTS.get(request.path_params["name"])
        return FileResponse(path, headers=DAY) if path else _missing()

    def loop(request: Request) -> Response:
        try:
            texture = library.find(request.path_params["id"], visitor_on(request))
        except (PermissionError, DTSGANError):
            return _missing()
        path = library.loop(texture) or texture.folder / "preview.mp4"
        return FileResponse(path, media_type="video/mp4", headers=DAY) if path.is_file() else _missing()

    def sample(request: Request) -> Response:
        try:
            texture = library.find(request.path_params["id"], visitor_on(request))
        except (PermissionError, DTSGANError):
            return _missing()
        path = library.sample_path(texture, request.path_params["seed"])
        return FileResponse(path, media_type="video/mp4", headers=DAY) if path.is_file() else _missing()

    def clip(request: Request) -> Response:
        try:
            visitor_on(request)
        except PermissionError:
            return _missing()
        name = request.path_params["name"]
        path = settings.app_folder / "clips" / f"{name}.mp4"
        known = re.fullmatch(r"[0-9a-f]{32}", name) and path.is_file()
        return FileResponse(path, media_type="video/mp4", headers=DAY) if known else _missing()

    def example(request: Request) -> Response:
        path = example_clips().get(request.path_params["name"])
        return FileResponse(path, media_type="video/mp4", headers=DAY) if path else _missing()

    def preview(request: Request) -> Response:
        try:
            job = queue.get(request.path_params["job"], visitor_on(request))
        except (PermissionError, DTSGANError):
            return _missing()
        path = queue.run(job).preview(request.path_params["scale"])
        return FileResponse(path, media_type="video/mp4", headers=DAY) if path.is_file() else _missing()

    return [
        Route("/media/preview/{job}/{scale:int}.mp4", preview),
        Route("/assets/dtsgan/{name}", font),
        Route("/media/loop/{id}.mp4", loop),
        Route("/media/sample/{id}/{seed:int}.mp4", sample),
        Route("/media/clip/{name}.mp4", clip),
        Route("/media/example/{name}.mp4", example),
        WebSocketRoute("/live", LiveViews(settings, library).endpoint),
    ]


def _missing() -> Response:
    return PlainTextResponse("there is nothing here", status_code=404)
