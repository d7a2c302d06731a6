"""The page under visitors: how soon it is there, how soon a click shows new video, how fast it plays, and
eight visitors at once, who watch and who save a video. Where chromium and Playwright are at hand (CHROMIUM
names the program), a real browser looks, too: when the gallery moves, and when a click shows new video.

    python benchmarks/serving.py            # on a preset's model of its real size
    python benchmarks/serving.py --quick    # fewer frames, to try it
"""

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic, perf_counter, sleep

import httpx
import websockets
from gradio_client import Client
from measuring import MB, Figure, keep, machine, parser, random_model

from dtsgan.config import preset

ROOT = Path(__file__).resolve().parents[1]
VISITORS = 8


def main() -> None:
    p = parser("The page under visitors.", "python benchmarks/serving.py --quick")
    arguments = p.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "runs"
        random_model(preset("fast"), 120, 150).save_pretrained(home / "pond" / "model")
        with Page(home) as page:
            cold, _ = asyncio.run(
                live(page.address, 8)
            )  # the first of all loads the model and torch's kernels
            frames = 50 if arguments.quick else 300
            heads = [asyncio.run(live(page.address, 1, seed)) for seed in range(3 if arguments.quick else 8)]
            rates = [asyncio.run(live(page.address, frames, seed)) for seed in (1, 2, 3)]
            crowd = asyncio.run(several(page.address, frames // 4, VISITORS))
            seen = browse(page.address, 4.0 if arguments.quick else 12.0)
            seconds, failed = saving(page.address, 1.0 if arguments.quick else 4.0)
            ready = [timed(lambda: httpx.get(page.address)) for _ in range(3)]
            figures = [
                Figure("the page answers after its start", "s", [page.seconds]),
                Figure("the page's HTML", "s", ready),
                Figure("memory of the page, idle", "MB", [page.idle]),
                Figure("memory of the page, idle, without mapped libraries", "MB", [page.idle_own]),
                Figure("memory of the page after all of this", "MB", [page.memory()]),
                Figure("live view at 150x150: first frame of all after the start", "s", [cold]),
                Figure("live view at 150x150: first frame", "s", [first for first, _ in heads]),
                Figure("live view at 150x150: one viewer", "frames/s", [rate for _, rate in rates]),
                Figure(
                    f"live view at 150x150: first frame, {VISITORS} viewers at once",
                    "s",
                    [s for s, _ in crowd],
                ),
                Figure(
                    f"live view at 150x150: each of {VISITORS} viewers",
                    "frames/s",
                    [rate for _, rate in crowd],
                ),
                *seen,
                Figure(f"{VISITORS} visitors save at once: until each has the file", "s", sorted(seconds)),
                Figure(f"{VISITORS} visitors save at once: failed", "", [float(failed)]),
            ]
    keep("serving", figures, before, arguments)


class Page:
    """`python app.py` in a process of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        self.environment = {**os.environ, "DTSGAN_HOME": str(home), "GRADIO_SERVER_PORT": str(port)}

    def __enter__(self) -> "Page":
        began = monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL
        )
        while True:
            try:
                httpx.get(self.address)
                break
            except httpx.HTTPError:
                if self.process.poll() is not None:
                    raise RuntimeError("the page did not start") from None
                sleep(0.05)
        self.seconds = monotonic() - began
        previews = Path(self.environment["DTSGAN_HOME"]) / ".app" / "previews"
        wanted = 1 + len(list((ROOT / "weights").glob("*/config.json")))
        for _ in range(600):  # until the gallery's previews are drawn
            if len(list(previews.glob("*.mp4"))) >= wanted:
                break
            sleep(0.5)
        sleep(2)
        self.idle, self.idle_own = self.memory(), self.own_memory()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def memory(self) -> float:
        """MB resident."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MB

    def own_memory(self) -> float:
        """MB resident that are not the mapped files of torch and its friends, which the system can drop."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


async def live(address: str, count: int, seed: int = 0) -> tuple[float, float]:
    """Seconds to the first frame, and frames a second from then on, asked for as a browser does."""
    url = "ws" + address.removeprefix("http") + "live"
    began = perf_counter()
    first = 0.0
    async with websockets.connect(url, max_size=None) as connection:
        await connection.send(json.dumps({"id": 1, "play": {"model": "runs/pond", "seed": seed}, "more": 24}))
        got = 0
        while got < count:
            message = await connection.recv()
            if isinstance(message, str):
                if "error" in message:
                    raise RuntimeError(message)
                continue
            assert struct.unpack("<I", message[:4]) == (1,)
            got += 1
            first = first or perf_counter()
            if got % 8 == 0:
                await connection.send(json.dumps({"id": 1, "more": 8}))
    return first - began, (got - 1) / max(perf_counter() - first, 1e-9)


async def several(address: str, count: int, viewers: int) -> list[tuple[float, float]]:
    return await asyncio.gather(*(live(address, count, seed) for seed in range(viewers)))


def saving(address: str, length: float) -> tuple[list[float], int]:
    """Seconds until each of the visitors has a video of `length` seconds, and how many had none."""
    seconds: list[float] = []

    def visit(seed: int) -> None:
        client = Client(address, verbose=False)
        seconds.append(timed(lambda: client.predict("runs/pond", seed, length, api_name="/sample")))

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    return seconds, VISITORS - len(seconds)


def browse(address: str, watch: float) -> list[Figure]:
    """What a visitor sees in a browser on this machine, which takes from the same cores; [] without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None or importlib.util.find_spec("playwright") is None:
        return []
    from playwright.sync_api import sync_playwright

    moves = "[...document.querySelectorAll('.dt-tile video')].some(v => v.videoWidth && v.currentTime > 0)"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        began = perf_counter()
        page.goto(address)
        page.wait_for_selector('[data-texture="runs/pond"]')
        ready = perf_counter() - began
        page.wait_for_function(moves)
        moving = perf_counter() - began
        began = perf_counter()
        page.click('[data-texture="runs/pond"]')
        page.wait_for_function("dtsgan.state().frame >= 1", polling=20)
        first = perf_counter() - began
        page.wait_for_timeout(3000)
        from_frame, began = page.evaluate("dtsgan.state().frame"), perf_counter()
        page.wait_for_timeout(1000 * watch)
        rate = (page.evaluate("dtsgan.state().frame") - from_frame) / (perf_counter() - began)
        browser.close()
    return [
        Figure("in a browser: the gallery is there", "s", [ready]),
        Figure("in a browser: the gallery moves", "s", [moving]),
        Figure("in a browser: new video after the click", "s", [first]),
        Figure("in a browser: the video's frames go by at", "frames/s", [rate]),
    ]


def timed(work) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


if __name__ == "__main__":
    main()
