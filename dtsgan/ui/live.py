"""The endless live view: JPEG frames over a WebSocket, drawn only as fast as the browser asks for them.

The browser sends `{"play": {...}, "id": k}` to begin and `{"more": n, "id": k}` whenever it has room for n
more frames; a tab that is hidden, slow or gone asks for none, and nothing is drawn for it. The server answers
with one JSON message for each `play` (rate, size, whether it is a loop, or an `error` sentence) and then
binary messages: `k` as four little-endian bytes, then one JPEG.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import torch
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect
from torch import Tensor

from dtsgan.errors import DTSGANError
from dtsgan.ui.library import Library, live_device
from dtsgan.ui.settings import Settings
from dtsgan.ui.visitor import visitor_on
from dtsgan.ui.wish import MAX_LOOP_FRAMES, Wish
from dtsgan.video import encode_jpeg

LOCAL = ("localhost", "127.0.0.1", "::1")
MAX_CREDIT = 64  # frames that a browser may ask for ahead
FULL = (
    "{} live views are open already, as many as this machine can feed: yours begins as soon as one is closed"
)


class LiveViews:
    """The WebSocket endpoint, and how many watch."""

    def __init__(self, settings: Settings, library: Library) -> None:
        self.settings, self.library = settings, library
        self.viewers = 0

    async def endpoint(self, socket: WebSocket) -> None:
        if _is_foreign(socket):
            await socket.close(code=1008)
            return
        await socket.accept()
        try:
            visitor = visitor_on(socket)
        except PermissionError as error:
            await socket.send_json({"error": str(error)})
            await socket.close(code=1008)
            return
        if self.viewers >= self.settings.max_viewers:
            await socket.send_json({"error": FULL.format(self.viewers), "retry": 4})
            await socket.close(code=1013)
            return
        self.viewers += 1
        try:
            await _Viewer(socket, visitor, self.settings, self.library).serve()
        finally:
            self.viewers -= 1


class _Viewer:
    """One open live view."""

    def __init__(self, socket: WebSocket, visitor: str, settings: Settings, library: Library) -> None:
        self.socket, self.visitor, self.settings, self.library = socket, visitor, settings, library
        self.play: tuple[int, dict[str, Any]] | None = None  # asked for and not begun
        self.id = -1
        self.credit = 0
        self.changed = asyncio.Event()

    async def serve(self) -> None:
        reader = asyncio.create_task(self._read())
        drawer = asyncio.create_task(self._draw())
        _, pending = await asyncio.wait({reader, drawer}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in (reader, drawer):
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await task

    async def _read(self) -> None:
        while True:
            text = await self.socket.receive_text()
            try:
                message = json.loads(text)
                key = int(message["id"])
                if "play" in message:
                    self.play, self.id, self.credit = (key, dict(message["play"])), key, 0
                if key == self.id:
                    self.credit = min(MAX_CREDIT, self.credit + max(0, int(message.get("more", 0))))
            except (KeyError, TypeError, ValueError, RecursionError):
                continue
            self.changed.set()

    async def _draw(self) -> None:
        chunks: Iterator[Tensor] | None = None
        key = -1
        while True:
            if self.play is not None:
                key, wanted = self.play
                self.play, chunks = None, None
                try:
                    head, chunks = await run_in_threadpool(self._begin, wanted)
                except (DTSGANError, OSError) as error:
                    head = {"error": str(error)}
                await self.socket.send_json({"id": key, **head})
                continue
            if chunks is None or self.credit <= 0:
                self.changed.clear()
                await self.changed.wait()
                continue
            try:
                frames = await run_in_threadpool(_next_frames, chunks)
            except DTSGANError as error:
                await self.socket.send_json({"id": key, "error": str(error)})
                frames = None
            if self.play is not None:
                continue
            if frames is None:
                chunks = None
                await self.socket.send_json({"id": key, "end": True})
                continue
            self.credit -= len(frames)
            for frame in frames:
                await self.socket.send_bytes(struct.pack("<I", key % 2**32) + frame)

    def _begin(self, wanted: dict[str, Any]) -> tuple[dict[str, Any], Iterator[Tensor]]:
        texture = self.library.find(str(wanted.get("model") or ""), self.visitor)
        wish = Wish.read(wanted)
        model = self.library.model(texture, live_device())
        count = min(MAX_LOOP_FRAMES, wish.num_frames(model.fps)) if wish.loop else None
        settings = wish.settings(texture, self.settings.max_live_side)
        chunks = self.library.chunks(model, count, **settings)
        head = {
            "title": texture.title,
            "fps": model.fps,
            "loop": count or 0,
            "tile": settings["tile"],
            "start_frame": settings["start_frame"],
        }
        return head, chunks


def _is_foreign(socket: WebSocket) -> bool:
    """Whether a page of another site asks for a view on this very computer: browsers let any page try."""
    origin, host = socket.headers.get("origin", ""), socket.headers.get("host", "")
    asked, asking = urlsplit(f"//{host}").hostname, urlsplit(origin).hostname
    return bool(origin) and asked in LOCAL and asking not in LOCAL


def _next_frames(chunks: Iterator[Tensor]) -> list[bytes] | None:
    with torch.inference_mode():
        chunk = next(chunks, None)
        return None if chunk is None else [encode_jpeg(frame) for frame in chunk[0].unbind(1)]
