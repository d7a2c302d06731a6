"""The page in a real browser: Debian's chromium, driven by Playwright."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import FPS, needs_chromium
from loopback_hub import TOKEN
from test_ui import TINY

from dtsgan import video
from dtsgan.jobs import run_state
from dtsgan.model import DTSGAN

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_chromium
ROOT = Path(__file__).parents[1]


class Served:
    """`python app.py` in a process of its own, which can be ended and begun again."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home, self.environment = home, environment
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen | None = None

    def start(self) -> float:
        """Returns the seconds until it answers."""
        import httpx

        environment = {
            **os.environ,
            "DTSGAN_HOME": str(self.home),
            "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_TEMP_DIR": str(self.home.parent / "gradio"),
            **self.environment,
        }
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        while time.monotonic() < began + 240:
            try:
                httpx.get(self.address, timeout=5)
                return time.monotonic() - began
            except httpx.HTTPError:
                time.sleep(0.1)
        self.stop()
        raise AssertionError("the page never answered")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


@pytest.fixture(scope="module")
def served(anchored_pyramid, free_pyramid, tmp_path_factory):
    home = tmp_path_factory.mktemp("browser") / "runs"
    DTSGAN(anchored_pyramid, FPS).save_pretrained(home / "pond" / "model")
    DTSGAN(free_pyramid, FPS).save_pretrained(home / "plane" / "model")
    served = Served(home)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def page(browser, served):
    """A fresh visitor; nothing may be asked of any other machine, and nothing may be thrown."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page = context.new_page()
    strangers, thrown = [], []
    page.on("request", lambda request: strangers.append(request.url) if not _is_ours(request.url) else None)
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    context.close()
    assert strangers == []
    assert thrown == []


def _is_ours(url: str) -> bool:
    return re.match(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:|about:", url) is not None


def tile(name: str) -> str:
    return f'[data-texture="runs/{name}"]'


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def frame_number(page) -> int:
    return page.evaluate("dtsgan.state().frame")


def picture(page) -> str:
    return page.evaluate("document.querySelector('canvas.film').toDataURL()")


def wait_for_frames(page, count: int) -> None:
    page.wait_for_function(f"window.dtsgan?.state().frame >= {count}", timeout=30_000)


def loop_pictures(page, served, query: str) -> dict:
    """Every picture of a live loop, by its place in the loop."""
    page.goto(f"{served.address}?{query}&loop=1&seconds=0.8")
    page.wait_for_function("window.dtsgan?.state().frame >= 8", timeout=30_000)
    return page.evaluate(
        """async () => {
            const seen = {}, film = document.querySelector('canvas.film');
            while (Object.keys(seen).length < 8) {
                seen[(film.dataset.frame) % 8] = film.toDataURL();
                await new Promise(requestAnimationFrame);
            }
            return seen;
        }"""
    )


def test_the_gallery_moves_and_a_click_plays_new_video_that_never_stands_still(page, served):
    page.goto(served.address)
    page.wait_for_selector(tile("pond"))
    page.wait_for_function(
        "[...document.querySelectorAll('.dt-tile video')].some(v => v.videoWidth && v.readyState >= 2 && "
        "v.currentTime > 0 && !v.error)",
        timeout=30_000,
    )
    began = time.monotonic()
    page.click(tile("pond"))
    wait_for_frames(page, 1)
    assert time.monotonic() - began < 20  # three seconds on a machine of its own; tests share theirs
    pictures = set()
    for count in (3, 8, 14, 20):
        wait_for_frames(page, count)
        pictures.add(picture(page))
    assert len(pictures) >= 3
    assert "model=runs%2Fpond" in page.url
    page.get_by_role("button", name="Close").click()
    assert "model" not in page.url
    held = frame_number(page)
    page.wait_for_timeout(400)
    assert frame_number(page) == held


def test_until_its_loop_is_drawn_a_texture_shows_the_drawn_half_of_its_preview(page, served):
    lake = served.home / "lake" / "model"
    model = DTSGAN.from_pretrained(served.home / "pond")
    model.save_pretrained(lake)
    video.write_clip(lake / "preview.mp4", video.side_by_side(*[model.sample(8, seed=1)] * 2), model.fps)
    try:
        page.goto(served.address)
        film = page.locator(f"{tile('lake')}.half video")
        film.wait_for()
        shown, whole = page.locator(tile("lake")).bounding_box(), film.bounding_box()
        assert whole["x"] + whole["width"] / 2 < shown["x"]  # the source lies outside
        assert abs(whole["x"] + whole["width"] - shown["x"] - shown["width"]) < 1
    finally:
        shutil.rmtree(lake.parent)


def test_an_address_gives_the_same_video_and_another_seed_another(page, served):
    first = loop_pictures(page, served, "model=runs/plane&seed=5")
    assert len(set(first.values())) == 8
    assert loop_pictures(page, served, "model=runs/plane&seed=5") == first
    assert not set(loop_pictures(page, served, "model=runs/plane&seed=6").values()) & set(first.values())


def test_the_controls_change_what_plays_and_the_address(page, served):
    page.goto(f"{served.address}?model=runs/plane")
    wait_for_frames(page, 2)
    page.get_by_label("Seed").fill("41")
    page.get_by_label("Seed").press("Enter")
    page.wait_for_function("window.dtsgan?.state().seed === 41")
    page.get_by_role("button", name="Surprise me").click()
    page.wait_for_function("window.dtsgan?.state().seed !== 41")
    page.get_by_label("Loop without a seam").check()
    page.wait_for_function("window.dtsgan?.state().loop > 0", timeout=40_000)
    page.get_by_text("Both", exact=True).click()
    page.wait_for_function("document.querySelector('canvas.film').width === 54", timeout=40_000)  # 27 twice
    assert "loop=1" in page.url and "tile=xy" in page.url
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate("dtsgan.state().paused")


def test_a_wrong_address_is_a_sentence(page, served):
    page.goto(f"{served.address}?model=runs/nowhere")
    page.wait_for_selector("text=not here", timeout=30_000)
    page.goto(f"{served.address}?model=runs/pond&speed=fast")
    page.wait_for_selector("text=speed must be a number", timeout=30_000)


@pytest.mark.parametrize(
    "kind, suffix",
    [("MP4", ".mp4"), ("WebM", ".webm"), ("GIF", ".gif"), ("WebP", ".webp"), ("PNG frames", ".zip")],
)
def test_what_plays_can_be_saved_in_every_format(page, served, tmp_path, kind, suffix):
    page.goto(f"{served.address}?model=runs/pond&seconds=1&seed=3")
    wait_for_frames(page, 2)
    page.get_by_text(kind, exact=True).click()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="Save video").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == f"pond_seed3{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "frames")
        path = tmp_path / "frames"
    clip, info = video.read_clip(path)
    expected = DTSGAN.from_pretrained(served.home / "pond").sample(10, seed=3)
    assert (info.num_frames, info.width, info.height) == (10, 27, 20)
    assert (clip - expected).abs().mean() < 0.08


def test_a_bad_upload_is_a_sentence(page, served, tmp_path):
    bad = tmp_path / "holiday.mp4"
    bad.write_text("this is no video")
    page.goto(served.address)
    tab(page, "Train")
    page.set_input_files("#upload input[type=file]", str(bad))
    page.wait_for_selector("text=/holiday.mp4.*(cannot be read|is not a video)/", timeout=40_000)


def videos_drawn(page, count: int) -> list[str]:
    """The addresses of the videos that the open tab shows, once there are so many that can play."""
    page.wait_for_function(
        "(n) => [...document.querySelectorAll('[role=tabpanel] figure video')]"
        ".filter(v => v.offsetParent && v.readyState >= 2 && v.videoWidth > 0).length === n",
        arg=count, timeout=60_000,
    )  # fmt: skip
    return page.locator("[role=tabpanel] figure video:visible").evaluate_all(
        "all => all.map(v => v.currentSrc)"
    )


def fetched(page, address: str, folder: Path) -> torch.Tensor:
    """`(T, 3, H, W)`, in [-1, 1]."""
    path = folder / "film.mp4"
    path.write_bytes(page.request.get(address).body())
    return video.read_clip(path)[0][0].transpose(0, 1)


def test_one_picture_has_several_futures(page, served, tmp_path):
    page.goto(served.address)
    tab(page, "Predict")
    panel = page.get_by_role("tabpanel")
    start_picture = panel.locator("img[src*='file=']")
    start_picture.wait_for(timeout=60_000)  # of the first texture's source
    panel.get_by_label("Texture", exact=True).click()
    page.get_by_role("option", name="Pond", exact=True).click()
    start_picture.wait_for(state="hidden", timeout=60_000)  # the pond's source is not here
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(
        video.encode_jpeg(DTSGAN.from_pretrained(served.home / "pond").sample(1, seed=9)[0, :, 0])
    )
    panel.locator("input[type=file]").first.set_input_files(photo)
    start_picture.wait_for(timeout=60_000)
    panel.get_by_role("button", name="Predict", exact=True).click()
    one, other = (fetched(page, address, tmp_path) for address in videos_drawn(page, 2))
    assert (one[0] - other[0]).abs().mean() < 0.03 < (one[-1] - other[-1]).abs().mean()


VEILED = """(what) => [...document.querySelectorAll('[role=tabpanel] ' + what)]
    .filter(e => e.closest('[role=tabpanel]').offsetParent)
    .some(e => {
        const box = e.closest('.block').getBoundingClientRect();
        const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return top?.closest('[data-testid=status-tracker]') != null;
    })"""


@pytest.mark.parametrize(("name", "what"), [("Predict", "input[type=file]"), ("Edit", "canvas")])
def test_nothing_can_be_given_that_a_frame_on_its_way_would_overwrite(page, served, name, what):
    page.goto(served.address)
    page.wait_for_selector(tile("pond"))
    held, released = [], False
    page.route(
        "**/queue/join*", lambda route: route.continue_() if released else held.append(route)
    )  # fmt: skip
    tab(page, name)
    page.wait_for_function(f"({VEILED})('{what}')", timeout=30_000)
    released = True
    for route in held:
        route.continue_()
    page.wait_for_function(f"!({VEILED})('{what}')", timeout=60_000)


@pytest.mark.parametrize("way", ["Keep what I painted, and let it move", "Redraw the painted part"])
def test_paint_grows_together_with_the_video(page, served, tmp_path, way):
    page.goto(served.address)
    tab(page, "Edit")
    page.get_by_role("tabpanel").get_by_label("Texture", exact=True).click()
    page.get_by_role("option", name="Pond", exact=True).click()
    canvas = page.get_by_role("tabpanel").locator("canvas").first
    canvas.wait_for(timeout=60_000)
    page.wait_for_timeout(6_000)  # the frame is drawn, and laid under the brush
    page.wait_for_function(f"!({VEILED})('canvas')", timeout=60_000)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 10, steps=12)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.get_by_label(way).check()
    page.get_by_role("button", name="Harmonise").click()
    before, painted, after = (fetched(page, address, tmp_path) for address in videos_drawn(page, 3))
    assert (painted - before).abs().max() > (0.5 if way.startswith("Keep") else 0.2)
    assert (after - before).abs().max() > 0.2 and not torch.equal(after, painted)


def test_what_cannot_be_done_is_a_sentence_and_leaves_nothing_to_cancel(page, served):
    page.goto(served.address)
    tab(page, "Edit")
    panel = page.get_by_role("tabpanel")
    panel.locator("canvas").first.wait_for(timeout=60_000)
    panel.get_by_role("button", name="Harmonise").click()
    page.wait_for_selector("text=nothing is painted yet", timeout=60_000)
    panel.get_by_role("button", name="Cancel").wait_for(state="hidden", timeout=30_000)


def test_two_visitors_watch_at_once(browser, served, page):
    other = browser.new_page()
    for visitor, name in ((page, "pond"), (other, "plane")):
        visitor.goto(f"{served.address}?model=runs/{name}")
    for visitor in (page, other):
        wait_for_frames(visitor, 10)
    other.close()


def test_every_tab_opens_and_can_be_reached_by_keys(page, served):
    page.goto(served.address)
    page.wait_for_selector(tile("pond"))
    for name, words in {
        "Train": "Teach it a texture",
        "Predict": "What comes next?",
        "Edit": "Paint on moving water",
        "Quality": "How different, and how real?",
        "Hub": "Textures of others",
    }.items():
        page.get_by_role("tab", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=words).wait_for(timeout=30_000)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && !b.innerText.trim() && "
        "!b.ariaLabel && !b.title"
        " && !b.querySelector('[aria-label],[title],title')).map(b => b.outerHTML.slice(0, 120))"
    )
    assert unnamed == []
    assert page.evaluate("[...document.querySelectorAll('.dt-tile')].every(t => t.ariaLabel)")


def test_many_videos_play_together(page, served):
    page.goto(served.address)
    page.wait_for_selector(tile("pond"))
    tab(page, "Quality")
    page.get_by_role("tabpanel").get_by_label("Texture", exact=True).click()
    page.get_by_role("option", name="Pond", exact=True).click()
    page.get_by_role("button", name="Draw and score").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.dt-many video')].filter(v => v.videoWidth > 0).length === 8",
        timeout=180_000,
    )


@pytest.mark.parametrize("width", [390, 768])
def test_the_page_fits_a_phone(page, served, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{served.address}?model=runs/pond")
    wait_for_frames(page, 2)
    for name in ("Play", "Train", "Predict", "Edit", "Quality", "Hub"):
        tab(page, name)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_both_ends_of_the_clip_can_be_reached(page, served):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(served.address)
    tab(page, "Train")
    page.locator("#editor [data-example]").first.click()
    page.wait_for_selector(".dt-time [data-t=end]", timeout=30_000)
    for end in ("start", "end"):
        box = page.locator(f".dt-time [data-t={end}]").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_the_first_frame_is_the_start_picture_until_keys_choose_another(page, served):
    page.goto(served.address)
    tab(page, "Predict")
    start = page.get_by_role("tabpanel").locator("img[src*='file=']")
    start.wait_for(timeout=60_000)
    first = start.get_attribute("src")
    page.get_by_label("range slider for Frame of the source").press("ArrowRight")
    page.wait_for_function(
        "(first) => [...document.querySelectorAll('[role=tabpanel] img')].every(i => !i.src.endsWith(first))",
        arg=first, timeout=60_000,
    )  # fmt: skip


def test_light_and_dark_are_remembered(page, served):
    page.goto(served.address)
    page.wait_for_selector(tile("pond"))
    before = page.evaluate("document.body.classList.contains('dark')")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.body.classList.contains('dark')") is not before
    page.reload()
    page.wait_for_selector(tile("pond"))
    page.wait_for_function(
        f"document.body.classList.contains('dark') === {str(not before).lower()}", timeout=30_000
    )


@pytest.mark.slow
def test_a_training_survives_a_closed_tab_and_a_restart_and_is_played(browser, served, clip_file):
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.address)
    tab(page, "Train")
    page.set_input_files("#upload input[type=file]", str(clip_file))
    page.wait_for_selector(".dt-time b", timeout=90_000)  # the page has looked at it, and named it
    page.get_by_label("Name").fill("My brook")
    page.get_by_text("More settings").click()
    page.get_by_text("A scene", exact=True).click()
    page.get_by_label("Any setting").fill(TINY.replace("steps=12,8,8", "steps=12,60,60"))
    page.get_by_label("Shorter side (px)").fill("24")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_selector(".dt-job:has-text('my_brook'), .toast-body", timeout=180_000)
    assert page.locator(".toast-body").all_inner_texts() == []
    run = served.home / "my_brook"
    until = time.time() + 180
    while not (run / "status.json").exists() and time.time() < until:
        time.sleep(0.1)
    context.close()  # the tab
    served.stop()  # the page
    served.start()
    page = browser.new_page()
    page.goto(served.address)
    tab(page, "Train")
    page.wait_for_selector(".dt-job:has-text('my_brook') .dt-state.done", timeout=300_000)
    assert run_state(run)["state"] == "done"
    page.click(".dt-job:has-text('my_brook')")
    page.get_by_role("button", name="Play it").click()
    wait_for_frames(page, 3)
    assert page.evaluate("dtsgan.state().model") == "runs/my_brook"
    page.close()


def test_a_texture_is_pushed_and_pulled_by_clicking(browser, hub_server, anchored_pyramid, tmp_path):
    hub_server.reset()
    hub = {"HF_ENDPOINT": hub_server.url, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    here, there = (Served(tmp_path / place / "runs", **hub) for place in ("here", "there"))
    DTSGAN(anchored_pyramid, FPS).save_pretrained(here.home / "pond" / "model")
    for served in (here, there):
        served.start()
    try:
        page = browser.new_page()
        page.goto(here.address)
        page.wait_for_selector(tile("pond"))
        tab(page, "Hub")
        panel = page.get_by_role("tabpanel")
        panel.get_by_label("Texture", exact=True).click()
        page.get_by_role("option", name="pond").click()
        panel.get_by_label("To", exact=True).fill("alice/pond")
        panel.get_by_label("Token").fill(TOKEN)
        panel.get_by_role("button", name="Push").click()
        panel.get_by_text("It is at").wait_for(timeout=90_000)
        assert TOKEN not in page.content()
        page.goto(there.address)
        tab(page, "Hub")
        page.get_by_role("tabpanel").get_by_role("button", name="Search").click()
        page.get_by_role("button", name="Pull alice/pond").click()
        page.get_by_text("it plays in Play").wait_for(timeout=90_000)
        page.goto(f"{there.address}?model=alice/pond")
        wait_for_frames(page, 3)
        page.close()
    finally:
        for served in (here, there):
            served.stop()
