"""Makes the pictures of the README and of docs/ again: of the textures, and of the page in a real browser.

    python docs/pictures.py                                   # all of them
    python docs/pictures.py textures page_train --runs runs   # two of them, with your trainings in the list

Look at each before it is kept. The repositories on the Hub's tab are made up and served by this machine.
"""

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dtsgan.edit import Edit, plain_edit
from dtsgan.model import DTSGAN
from dtsgan.video import read_clip, side_by_side, write_clip

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PATIENCE = 200_000  # milliseconds: all scores of a texture take minutes


def draw_textures() -> None:
    """Sources above, loops that were drawn below."""
    columns = []
    for name in ("ocean", "smoke", "flag", "clouds", "fire"):
        model = DTSGAN.from_pretrained(name)
        source, _ = read_clip(ROOT / "examples" / f"{name}.mp4", size=min(model.size))
        drawn = model.sample(48, seed=2, loop=True)
        gap = torch.ones(1, 3, 48, 4, drawn.shape[4])
        columns.append(torch.cat([source[:, :, :48], gap, drawn], dim=3))
    write_clip(DOCS / "textures.webp", side_by_side(*columns), fps=12)


def draw_futures() -> None:
    """A picture, a perfect loop that begins with it, and its future at a quarter of the speed."""
    model = DTSGAN.from_pretrained("flag")
    source, _ = read_clip(ROOT / "examples" / "flag.mp4", size=min(model.size))
    picture = source[0, :, 20]
    still = picture[None, :, None].expand(-1, -1, 48, -1, -1)
    loop = model.predict(picture, 48, seed=1, loop=True)
    slow = model.predict(picture, 48, seed=1, speed=0.25)
    write_clip(DOCS / "futures.webp", side_by_side(still, loop, slow), fps=16)


def draw_predictions() -> None:
    """A frame of smoke and one of caustics, each beside two of its futures."""
    rows = []
    for name in ("smoke", "caustics"):
        model = DTSGAN.from_pretrained(name)
        source, _ = read_clip(ROOT / "examples" / f"{name}.mp4", size=min(model.size))
        picture = source[0, :, source.shape[2] // 2]
        still = picture[None, :, None].expand(-1, -1, 48, -1, -1)
        rows.append(side_by_side(still, *(model.predict(picture, 48, seed=seed) for seed in range(2))))
    gap = torch.ones_like(rows[0][:, :, :, :4])
    write_clip(DOCS / "predictions.webp", torch.cat([rows[0], gap, rows[1]], dim=3), fps=16)


def draw_editing() -> None:
    """Video, a flame copied to another place, plainly, and the same, drawn anew."""
    model = DTSGAN.from_pretrained("fire")
    clip, _ = read_clip(ROOT / "examples" / "fire.mp4", size=min(model.size))
    clip = clip[:, :, :48]
    plain, mask = plain_edit(model, clip, Edit(op="copy", box=(40, 60, 50, 80), to=(5, 60), delay=12))
    write_clip(DOCS / "editing.webp", side_by_side(clip, plain, model.edit(plain, mask)), fps=16)


def draw_erased() -> None:
    """Video, the place that is erased, and what is drawn there."""
    model = DTSGAN.from_pretrained("ocean")
    clip, _ = read_clip(ROOT / "examples" / "ocean.mp4", size=min(model.size))
    clip = clip[:, :, :48]
    edit = Edit(op="erase", box=(70, 62, 56, 50), shape="ellipse")
    plain, mask = plain_edit(model, clip, edit)
    hole = torch.where(mask > 0, -torch.ones_like(clip), clip)
    write_clip(DOCS / "erased.webp", side_by_side(clip, hole, model.edit(plain, mask)), fps=16)


# -- the tabs ---


def gallery(tab: Page) -> None:
    tab.wait_for_function(
        "[...document.querySelectorAll('.dt-tile video')].filter(v => v.currentTime > .4).length >= 6"
    )


def play(tab: Page) -> None:
    tab.click('[data-texture="ocean"]')
    tab.wait_for_function("window.dtsgan?.state().frame >= 40")


def train(tab: Page) -> None:
    open_tab(tab, "Train")
    tab.click('#editor [data-example="smoke"]')
    tab.wait_for_selector(".dt-time b")
    tab.get_by_text("Preview · about").wait_for()
    if tab.locator(".dt-job").count():
        tab.locator(".dt-job").first.click()
        tab.get_by_role("button", name="Play it").wait_for()


def predict(tab: Page) -> None:
    open_tab(tab, "Predict")
    choose_texture(tab, "Flag")
    tab.get_by_role("tabpanel").locator("img[src*='file=']").wait_for()
    tab.get_by_role("button", name="Predict", exact=True).click()
    wait_for_videos(tab, 2)


def edit(tab: Page) -> None:
    open_tab(tab, "Edit")
    choose_texture(tab, "Fire")
    canvas = tab.get_by_role("tabpanel").locator("canvas").first
    canvas.wait_for()
    tab.wait_for_timeout(15_000)  # the frame is drawn, and laid under the brush
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box() or {}
    x, y, width = box["x"], box["y"] + 0.3 * box["height"], box["width"]
    tab.mouse.move(x + 0.4 * width, y)
    tab.mouse.down()
    for step in range(9):
        tab.mouse.move(x + (0.4 + 0.03 * step) * width, y + (12 if step % 2 else -12), steps=4)
    tab.mouse.up()
    tab.wait_for_timeout(500)
    tab.get_by_role("button", name="Harmonise").click()
    wait_for_videos(tab, 3)
    tab.evaluate("scrollTo(0, 0)")


def quality(tab: Page) -> None:
    open_tab(tab, "Quality")
    choose_texture(tab, "Fire")
    tab.get_by_label("number input for Videos").fill("4")
    tab.get_by_role("button", name="Draw and score").click()
    tab.get_by_text("Report").first.wait_for()
    tab.wait_for_timeout(1000)


def hub(tab: Page) -> None:
    open_tab(tab, "Hub")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_role("button", name="Pull alice/campfire").wait_for()


def open_tab(tab: Page, name: str) -> None:
    tab.get_by_role("tab", name=name, exact=True).click()


def choose_texture(tab: Page, name: str) -> None:
    tab.get_by_role("tabpanel").get_by_label("Texture", exact=True).click()
    tab.get_by_role("option", name=name, exact=True).click()


def wait_for_videos(tab: Page, count: int) -> None:
    """In view, since a video plays only there."""
    videos = tab.locator("[role=tabpanel] figure video:visible")
    videos.nth(count - 1).wait_for()
    videos.last.scroll_into_view_if_needed()
    tab.wait_for_function(
        "(n) => [...document.querySelectorAll('[role=tabpanel] figure video')]"
        ".filter(v => v.offsetParent && v.readyState >= 2).length >= n",
        arg=count,
    )
    tab.wait_for_timeout(1500)  # they fade in


# -- taking them ---


@dataclass(frozen=True)
class Picture:
    """What is done before it is taken, how the page is seen, and the width of the file in pixels."""

    scene: Callable[[Page], None]
    width: int = 1100
    window: tuple[int, int] = (1280, 860)
    dark: bool = False
    whole: bool = False


def on_phone(scene: Callable[[Page], None]) -> Picture:
    return Picture(scene, width=390, window=(390, 844), dark=True)


DRAWINGS = {
    "textures": draw_textures,
    "futures": draw_futures,
    "predictions": draw_predictions,
    "editing": draw_editing,
    "erased": draw_erased,
}
PICTURES = {
    "page": Picture(gallery, width=1280),
    "page_phone": on_phone(gallery),
    "page_play": Picture(play, dark=True),
    "page_play_phone": on_phone(play),
    "page_train": Picture(train, whole=True),
    "page_train_phone": on_phone(train),
    "page_predict": Picture(predict),
    "page_predict_phone": on_phone(predict),
    "page_edit": Picture(edit, whole=True),
    "page_edit_dark": Picture(edit, width=700, dark=True, whole=True),
    "page_quality": Picture(quality, window=(1280, 1500)),
    "page_quality_phone": on_phone(quality),
    "page_hub": Picture(hub),
    "page_hub_phone": on_phone(hub),
}


def main() -> None:
    names = (*DRAWINGS, *PICTURES)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pictures", metavar="NAME", nargs="*", help="of these: " + ", ".join(names))
    p.add_argument("--runs", metavar="DIR", type=Path, help="finished trainings for the tab's list")
    arguments = p.parse_args()
    if unknown := set(arguments.pictures) - set(names):
        p.error(f"no picture is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    wanted = arguments.pictures or names
    for name in wanted:
        if name in DRAWINGS:
            DRAWINGS[name]()
            print(name, flush=True)
    shots = {name: PICTURES[name] for name in wanted if name in PICTURES}
    if not shots:
        return
    with served(arguments.runs) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for name, picture in shots.items():
            take(browser.new_page(
                viewport=dict(zip(("width", "height"), picture.window, strict=True)),
                color_scheme="dark" if picture.dark else "light",
            ), address, name, picture)  # fmt: skip
            print(name, flush=True)


def take(tab: Page, address: str, name: str, picture: Picture) -> None:
    tab.set_default_timeout(PATIENCE)
    tab.goto(f"{address}?__theme={'dark' if picture.dark else 'light'}")
    tab.wait_for_selector(".dt-tile")
    picture.scene(tab)
    image = Image.open(io.BytesIO(tab.screenshot(full_page=picture.whole))).convert("RGB")
    height = round(image.height * picture.width / image.width)
    image.resize((picture.width, height), Image.Resampling.LANCZOS).save(DOCS / f"{name}.jpg", quality=84)
    tab.close()


@contextmanager
def served(runs: Path | None) -> Iterator[str]:
    """The page in a process of its own, beside a Hub with a few repositories; gives the page's address."""
    sys.path.insert(0, str(ROOT / "tests"))
    from loopback_hub import LoopbackHub

    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        home = Path(folder) / "runs"
        if runs:
            shutil.copytree(runs, home)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        hub = LoopbackHub()
        for repo in ("alice/campfire", "alice/summer-rain", "bob/north-sea", "carol/meadow"):
            hub.add(repo, {"README.md": (ROOT / "weights/fire/README.md").read_bytes()})
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, stdout=subprocess.DEVNULL,
            env={
                **os.environ, "DTSGAN_HOME": str(home), "GRADIO_SERVER_PORT": str(port),
                "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
            },
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}/"
            while True:
                try:
                    httpx.get(address, timeout=5)
                    break
                except httpx.HTTPError:
                    if process.poll() is not None:
                        sys.exit("the page did not start")
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(20)
            hub.close()


if __name__ == "__main__":
    main()
