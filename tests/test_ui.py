"""The page without a browser: its server, its queue, its limits. `test_ui_browser.py` looks at it."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from conftest import FPS, LINEAR, make_clip

gr = pytest.importorskip("gradio")
import httpx  # noqa: E402
import websockets  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from dtsgan import cli, jobs, video  # noqa: E402
from dtsgan.errors import ConfigError, ModelFileError, RunError, VideoError  # noqa: E402
from dtsgan.model import DTSGAN  # noqa: E402
from dtsgan.rundir import RunDir  # noqa: E402
from dtsgan.ui import gpu, play, progress, quality  # noqa: E402
from dtsgan.ui import train as train_tab  # noqa: E402
from dtsgan.ui.app import build_app, launch  # noqa: E402
from dtsgan.ui.library import Library, Turns  # noqa: E402
from dtsgan.ui.page import Page  # noqa: E402
from dtsgan.ui.queue import TrainingQueue, safe_name  # noqa: E402
from dtsgan.ui.settings import Settings  # noqa: E402
from dtsgan.ui.wish import Wish  # noqa: E402

TINY = " ".join(
    f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
    for key, value in LINEAR.items()
)
ANNE, BOB = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def home(anchored_pyramid, free_pyramid, tmp_path_factory) -> Path:
    """A folder of runs with a scene and a texture that are learned already."""
    folder = tmp_path_factory.mktemp("home")
    DTSGAN(anchored_pyramid, FPS).save_pretrained(folder / "pond" / "model")
    DTSGAN(free_pyramid, FPS).save_pretrained(folder / "plane" / "model")
    return folder


@pytest.fixture(scope="module")
def server(home):
    """The page on this computer, really served."""
    demo = build_app(Settings(home=home, max_viewers=2))
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    demo.close()


@pytest.fixture(scope="module")
def client(server):
    return Client(server, verbose=False)


# -- what is asked for ---


def test_an_address_names_a_wish_and_nonsense_is_refused_with_a_sentence():
    wish = Wish.read({"seed": "7", "loop": "1", "speed": "0.5", "tile": "xy", "seconds": ""})
    assert (wish.seed, wish.loop, wish.speed, wish.tile, wish.seconds) == (7, True, 0.5, "xy", 5.0)
    for values in ({"seed": "-1"}, {"speed": "nan"}, {"seconds": "1e9"}, {"diversity": "much"}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            Wish.read(values)


@pytest.mark.parametrize(
    "typed, name",
    [("../../etc/passwd", "etc_passwd"), ("My River!", "my_river"), ("…", "texture"), ("x" * 99, "x" * 40)],
)
def test_a_name_is_made_safe(typed, name):
    assert safe_name(typed) == name


def test_who_came_first_draws_first():
    turns, order, threads = Turns(), [], []
    with turns.take():
        for k in range(4):
            thread = threading.Thread(target=lambda k=k: _take(turns, order, k))
            thread.start()
            threads.append(thread)
            while len(turns._waiting) < k + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def _take(turns, order, k):
    with turns.take():
        order.append(k)


# -- uploads are looked at before they are decoded ---


def test_an_upload_that_will_not_do_is_refused_with_its_own_name(tmp_path, clip_file):
    settings = Settings(home=tmp_path)
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match=r"^notes\.mp4") as refused:
        train_tab.check_upload(text, settings)
    assert str(tmp_path) not in str(refused.value)
    other = tmp_path / "notes.txt"
    other.write_text("no video")
    with pytest.raises(VideoError, match="not a kind of video"):
        train_tab.check_upload(other, settings)
    with pytest.raises(VideoError, match="at most 0 are accepted"):
        train_tab.check_upload(clip_file, replace(settings, max_upload_mb=0))
    with pytest.raises(VideoError, match="32x24"):
        train_tab.check_upload(clip_file, replace(settings, max_upload_pixels=500))
    with pytest.raises(VideoError, match=r"4\.0 seconds are chosen and at most 2"):
        train_tab.look(clip_file, 0, 0, "", "auto", 24, replace(settings, max_clip_seconds=2.0))


def test_the_page_says_what_it_sees_and_what_each_recipe_costs(clip_file, tmp_path):
    words, costs = train_tab.look(clip_file, 0, 3, "0, 0, 24, 24", "auto", 48, Settings(home=tmp_path))
    assert "30 frames" in words and "48 × 48" in words and "texture" in words and "gains no detail" in words
    assert set(costs) == {"preview", "fast", "quality", "learned", "paper"}
    assert all("about" in cost and "GB" in cost for cost in costs.values())
    words, _ = train_tab.look(clip_file, 0, 0, "", "anchored", 48, Settings(home=tmp_path), only="preview")
    assert "As you say: a <b>scene</b>" in words
    with pytest.raises(ConfigError, match="x, y, width, height"):
        train_tab.look(clip_file, 0, 0, "left half", "auto", 48, Settings(home=tmp_path))


@pytest.mark.slow
def test_a_preview_is_drawn_apart_and_one_that_cannot_be_does_not_stop_the_others(home, tmp_path):
    library = Library(Settings(home=tmp_path))
    pond = Library(Settings(home=home)).find("runs/pond", ANNE)
    broken = replace(pond, key="broken", folder=tmp_path)
    library._make_loops([broken, pond])
    assert library.loop(broken) is None
    assert video.read_clip(library.loop(pond))[1].num_frames == 3 * FPS
    lake = replace(pond, key="lake", folder=tmp_path / "lake")
    shutil.copytree(pond.folder, lake.folder)
    video.write_clip(lake.folder / "preview.webp", make_clip(7), FPS)
    library._make_loops([lake])
    assert video.read_clip(library.loop(lake))[1].num_frames == 7  # the one that it brings
    fake = replace(lake, key="fake", folder=tmp_path / "fake")
    shutil.copytree(pond.folder, fake.folder)
    (fake.folder / "preview.webp").write_bytes(b"no picture")
    library._make_loops([fake])
    assert video.read_clip(library.loop(fake))[1].num_frames == 3 * FPS  # drawn after all


# -- one visitor's runs are not another's ---


def test_where_strangers_meet_each_sees_only_what_is_theirs(home, anchored_pyramid, tmp_path):
    settings = Settings(home=tmp_path, shared=True)
    library, queue = Library(settings), TrainingQueue(settings)
    DTSGAN(anchored_pyramid, FPS).save_pretrained(settings.runs(ANNE) / "secret" / "model")
    assert [texture.key for texture in library.textures(ANNE) if texture.origin == "trained here"] == [
        "runs/secret"
    ]
    assert not [texture for texture in library.textures(BOB) if texture.origin == "trained here"]
    with pytest.raises(ModelFileError, match="no texture"):
        library.find("runs/secret", BOB)
    with pytest.raises(ModelFileError, match="no texture"):
        library.find(library.find("runs/secret", ANNE).id, BOB)
    assert queue.jobs(BOB) == []


def test_a_session_is_signed_and_a_forged_one_is_nobody(tmp_path, anchored_pyramid):
    settings = Settings(home=tmp_path, shared=True)
    demo = build_app(settings)
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True)
    try:
        with httpx.Client(base_url=address) as anne, httpx.Client(base_url=address) as bob:
            cookie = anne.get("/").headers["set-cookie"]
            assert "HttpOnly" in cookie
            bob.get("/")
            assert anne.cookies["dtsgan_visitor"] != bob.cookies["dtsgan_visitor"]
            assert "set-cookie" not in anne.get("/").headers  # known again
            visitor = json.loads('"' + anne.cookies["dtsgan_visitor"].partition(".")[0].strip('"') + '"')
            name = __import__("base64").urlsafe_b64decode(visitor + "==").decode().strip('"')
            DTSGAN(anchored_pyramid, FPS).save_pretrained(settings.runs(name) / "own" / "model")
            library = demo.page.library
            texture = library.find("runs/own", name)
            video.write_clip(library._loop_path(texture), make_clip(), FPS)
            assert anne.get(f"/media/loop/{texture.id}.mp4").status_code == 200
            assert bob.get(f"/media/loop/{texture.id}.mp4").status_code == 404
            forged = anne.cookies["dtsgan_visitor"].partition(".")[0] + ".AAAA"
            with httpx.Client(base_url=address, cookies={"dtsgan_visitor": forged}) as mallory:
                assert mallory.get(f"/media/loop/{texture.id}.mp4").status_code == 404
    finally:
        demo.close()


# -- what is served ---


def test_files_outside_the_page_s_folders_are_refused(server, home):
    for path in ("/etc/passwd", str(home / ".app" / "secret"), str(home / "pond" / "model" / "config.json")):
        assert httpx.get(f"{server}gradio_api/file={path}").status_code in (403, 404)
    for path in (
        "media/clip/..%2f..%2fsecret.mp4",
        "media/loop/..%2f..%2fsecret.mp4",
        "media/example/..%2f..%2fREADME.mp4",
        "assets/dtsgan/page.css",
    ):
        assert httpx.get(server + path).status_code == 404


def test_the_page_and_its_fonts_come_from_here(server):
    page = httpx.get(server).text
    assert "window.dtsgan" in page
    font = httpx.get(server + "assets/dtsgan/inter.woff2")
    assert font.status_code == 200 and font.content[:4] == b"wOF2"


def test_a_machine_too_busy_to_answer_at_once_serves_the_page(home, monkeypatch):
    monkeypatch.setattr(gr.networking, "url_ok", lambda url: False)  # no answer within gradio's three seconds
    demo = build_app(Settings(home=home))
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True)
    try:
        assert "window.dtsgan" in httpx.get(address, timeout=60).text
    finally:
        demo.close()


def test_with_a_login_nothing_is_served_to_strangers(home):
    demo = build_app(Settings(home=home))
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, auth=("anne", "secret"))
    try:
        texture = demo.page.library.find("runs/pond", ANNE)
        video.write_clip(demo.page.library._loop_path(texture), make_clip(), FPS)
        assert httpx.get(address + "config").status_code == 401
        assert httpx.get(f"{address}media/loop/{texture.id}.mp4").status_code == 404
        head = asyncio.run(_live(address, {"model": "runs/pond"}, 1))[0]
        assert "log in" in head["error"]
        with httpx.Client(base_url=address) as anne:
            anne.post("/login", data={"username": "anne", "password": "secret"})
            assert anne.get(f"/media/loop/{texture.id}.mp4").status_code == 200
    finally:
        demo.close()


# -- the live view ---


async def _live(address: str, wanted: dict, count: int, more: int | None = None, linger: float = 0.0):
    """The head and `count` frames of a live view, as a browser gets them, and how many still come."""
    url = f"ws://{urlsplit(address).netloc}/live"
    async with websockets.connect(url, max_size=None) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):  # refused before it could ask
            await socket.send(json.dumps({"id": 5, "play": wanted, "more": more or count}))
        head = json.loads(await asyncio.wait_for(socket.recv(), 30))
        frames = []
        while "error" not in head and len(frames) < count:
            message = await asyncio.wait_for(socket.recv(), 30)
            if isinstance(message, str):
                break
            assert message[:4] == (5).to_bytes(4, "little")
            frames.append(message[4:])
        late = 0
        while linger:
            try:
                await asyncio.wait_for(socket.recv(), linger)
                late += 1
            except TimeoutError:
                break
        return head, frames, late


def test_the_live_view_shows_the_video_that_the_seed_names(server, home, tmp_path):
    head, frames, _ = asyncio.run(_live(server, {"model": "runs/pond", "seed": 3}, 16))
    assert (head["fps"], head["loop"], head["title"]) == (FPS, 0, "Pond")
    expected = DTSGAN.from_pretrained(home / "pond").sample(16, seed=3)
    for k in (0, 15):
        picture = tmp_path / f"{k}.jpg"
        picture.write_bytes(frames[k])
        shown = video.read_clip(picture, min_frames=1)[0][0, :, 0]
        assert (shown - expected[0, :, k]).abs().mean() < 0.05
    assert asyncio.run(_live(server, {"model": "runs/pond", "seed": 3}, 16))[1] == frames
    assert asyncio.run(_live(server, {"model": "runs/pond", "seed": 4}, 1))[1] != frames[:1]


def test_the_live_view_goes_on_from_any_frame(server):
    frames = asyncio.run(_live(server, {"model": "runs/pond"}, 24))[1]
    later = asyncio.run(_live(server, {"model": "runs/pond", "start_frame": 16}, 8))[1]
    assert [abs(len(a) - len(b)) < 40 for a, b in zip(later, frames[16:24], strict=True)] == [True] * 8
    assert later != frames[:8]


def test_nothing_is_drawn_for_a_browser_that_asks_for_nothing(server):
    _, frames, late = asyncio.run(_live(server, {"model": "runs/plane"}, 8, linger=0.8))
    assert len(frames) == 8 and late == 0


def test_a_live_loop_ends_after_its_period(server):
    head, frames, _ = asyncio.run(
        _live(server, {"model": "runs/plane", "loop": 1, "seconds": 1}, 99, more=64)
    )
    assert head["loop"] == 10 and len(frames) == 10


@pytest.mark.parametrize(
    "wanted, words",
    [
        ({"model": "runs/nowhere"}, "no texture"),
        ({"model": "../../etc"}, "no texture"),
        ({"model": "runs/plane", "width": 4000}, "16 to 512"),
        ({"model": "runs/pond", "seed": "many"}, "seed must be a number"),
    ],
)
def test_a_live_view_that_cannot_be_is_a_sentence(server, wanted, words):
    assert words in asyncio.run(_live(server, wanted, 1))[0]["error"]


def test_too_many_viewers_are_told_and_seats_are_free_again(server):
    async def crowd():
        url = f"ws://{urlsplit(server).netloc}/live"
        async with websockets.connect(url) as first, websockets.connect(url) as second:
            for socket in (first, second):
                await socket.send(json.dumps({"id": 1, "play": {"model": "runs/pond"}, "more": 1}))
                await asyncio.wait_for(socket.recv(), 30)
            return (await _live(server, {"model": "runs/pond"}, 1))[0]

    assert "2 live views are open" in asyncio.run(crowd())["error"]
    for _ in range(50):
        head = asyncio.run(_live(server, {"model": "runs/pond"}, 1))[0]
        if "error" not in head:
            return
        time.sleep(0.1)
    raise AssertionError("the seats were never free again")


def test_a_page_of_another_site_gets_no_live_view_of_this_computer(server):
    async def ask(origin):
        async with websockets.connect(f"ws://{urlsplit(server).netloc}/live", origin=origin) as socket:
            await socket.send(json.dumps({"id": 1, "play": {"model": "runs/pond"}, "more": 1}))
            return json.loads(await asyncio.wait_for(socket.recv(), 60))

    assert "fps" in asyncio.run(ask(server.rstrip("/")))
    with pytest.raises(websockets.InvalidStatus):
        asyncio.run(ask("https://example.com"))


# -- the API ---


def test_every_format_can_be_had_and_decoded(client, tmp_path):
    for kind in ("MP4", "WebM", "GIF", "WebP", "PNG frames"):
        path = Path(client.predict("runs/pond", 7, 1.2, file_format=kind, api_name="/sample")[0])
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(tmp_path / "frames")
            path = tmp_path / "frames"
        clip, info = video.read_clip(path)
        assert (info.num_frames, info.width, info.height) == (12, 27, 20)
        assert (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean() > 1e-3


def test_a_seed_names_one_file(client):
    def drawn(seed):
        return Path(client.predict("runs/plane", seed, 0.8, api_name="/sample")[0]).read_bytes()

    assert drawn(1) == drawn(1) != drawn(2)


def test_wrong_wishes_come_back_as_sentences(client):
    for arguments, words in [
        (("runs/nowhere", 0, 1), "no texture"),
        (("runs/pond", 2**41, 1), "seed must be between"),
        (("runs/pond", 0, 4000), "between|at most|greater than maximum"),
        (("", 0, 1), "choose a texture"),
    ]:
        with pytest.raises(AppError, match=words):
            client.predict(*arguments, api_name="/sample")
    with pytest.raises(AppError, match=r"cannot predict|first"):
        client.predict("runs/plane", None, 1, 0, api_name="/predict")


def test_a_download_drawn_on_several_threads_leaves_each_fit_to_train(tmp_path):
    writing = play._write(tmp_path / "waves.mkv", iter([make_clip()] * 3), FPS)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(next, writing).result()
        assert second.submit(list, writing).result()[-1] == 3 * make_clip().shape[2]
        for thread in (first, second):
            assert not thread.submit(torch.is_inference_mode_enabled).result()


def test_eight_visitors_at_once_are_all_served(server):
    results = []

    def visit(seed):
        own = Client(server, verbose=False)
        results.append(Path(own.predict("runs/pond", seed, 1, api_name="/sample")[0]).stat().st_size)

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(results) == 8 and all(size > 500 for size in results)


@pytest.mark.slow
def test_a_training_through_the_api_ends_in_a_texture(client, clip_file):
    job = client.predict(
        handle_file(str(clip_file)),
        "../My waves",
        "preview",
        0,
        3,
        "",
        "anchored",
        24,
        0,
        TINY,
        api_name="/train",
    )
    assert job["name"] == "my_waves" and job["state"] in ("waiting", "starting", "running")
    status = _wait(lambda: client.predict(job["id"], api_name="/status"), ("done", "failed"))
    assert status["state"] == "done", status
    path = Path(client.predict("runs/my_waves", 1, 1, api_name="/sample")[0])
    assert video.read_clip(path)[1].num_frames == 10
    with pytest.raises(AppError, match="no such training"):
        client.predict("f" * 32, api_name="/status")


def _wait(look, states, seconds=300):
    until = time.time() + seconds
    while time.time() < until:
        status = look()
        if status["state"] in states:
            return status
        time.sleep(0.3)
    raise AssertionError(f"still {status}")


# -- the queue ---


def _options(steps: str = "12,8,8") -> list[str]:
    pairs = [pair for pair in TINY.split() if not pair.startswith("steps=")] + [f"steps={steps}"]
    return ["--size", "24", "--layout", "anchored", *(word for pair in pairs for word in ("--set", pair))]


def _clip(tmp_path: Path, name: str) -> Path:
    path = tmp_path / f"{name}.mkv"
    video.write_clip(path, make_clip(), FPS)
    return path


@pytest.fixture
def no_strays(monkeypatch):
    """Ends the trainings that a failing test would leave behind."""
    begun, start = [], jobs.start_process
    monkeypatch.setattr(jobs, "start_process", lambda *args: begun.append(start(*args)) or begun[-1])
    yield
    for process in begun:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_one_training_at_a_time_and_a_restart_loses_nothing(tmp_path, no_strays):
    settings = Settings(home=tmp_path / "runs")
    queue = TrainingQueue(settings)
    long = queue.submit(ANNE, _clip(tmp_path, "a"), "a.mkv", "waves", _options("9000,9000,9000"))
    short = queue.submit(ANNE, _clip(tmp_path, "b"), "b.mkv", "waves", _options())
    assert short.name == "waves_2"
    _wait(lambda: queue.status(queue.get(long.id)), ("running",))
    until = time.time() + 120
    while "pid" not in jobs.run_state(queue.run(long).path) and time.time() < until:
        time.sleep(0.1)
    assert queue.status(short)["state"] == "waiting" and queue.position(short) == 1
    with pytest.raises(RunError, match="stop it first"):
        queue.delete(long)

    queue._owner.close()  # the page is gone; the training is not
    again = TrainingQueue(settings)
    again.look()
    assert again.status(again.get(long.id))["state"] == "running"
    os.kill(jobs.run_state(again.run(long).path)["pid"], signal.SIGKILL)  # as for its memory
    for process in queue._processes.values():
        process.wait()
    again.look()
    assert again.get(long.id).state in ("waiting", "started") and again.get(long.id).resume
    _wait(lambda: (again.look(), again.status(again.get(long.id)))[1], ("running",))

    again.stop(again.get(long.id))
    status = _wait(lambda: (again.look(), again.status(again.get(long.id)))[1], ("stopped",))
    assert status["work_done"] < 1 and again.run(long).state.exists()
    assert (
        _wait(lambda: (again.look(), again.status(again.get(short.id)))[1], ("done", "failed"))["state"]
        == "done"
    )
    again.delete(again.get(long.id))
    assert [job.name for job in again.jobs(ANNE)] == ["waves_2"]
    assert not again.run(long).path.exists()


@pytest.mark.slow
def test_a_training_that_cannot_be_fails_with_a_sentence_and_without_our_paths(tmp_path):
    queue = TrainingQueue(Settings(home=tmp_path / "runs"))
    text = tmp_path / "bad.mp4"
    text.write_text("no video")
    job = queue.submit(ANNE, text, "holiday.mp4", "x", _options())
    status = _wait(lambda: (queue.look(), queue.status(queue.get(job.id)))[1], ("failed", "done"))
    assert status["state"] == "failed"
    assert "holiday.mp4" in status["error"] and str(tmp_path) not in status["error"]


def test_the_line_has_an_end_and_a_waiting_training_can_be_taken_out(tmp_path):
    settings = Settings(home=tmp_path / "runs", max_waiting=1)
    queue = TrainingQueue(settings)
    queue._own = lambda: False  # nobody works
    job = queue.submit(ANNE, _clip(tmp_path, "a"), "a.mkv", "a", [])
    with pytest.raises(RunError, match="try again"):
        queue.submit(BOB, _clip(tmp_path, "b"), "b.mkv", "b", [])
    queue.stop(job)
    assert queue.status(queue.get(job.id))["state"] == "failed"
    assert queue.resume(queue.get(job.id)).state == "waiting"


def test_what_strangers_left_long_ago_is_removed(tmp_path):
    settings = Settings(home=tmp_path, shared=True, keep_days=1.0)
    queue = TrainingQueue(settings)
    queue._own = lambda: False
    old = queue.submit(ANNE, _clip(tmp_path, "a"), "a.mkv", "old", [])
    new = queue.submit(ANNE, _clip(tmp_path, "b"), "b.mkv", "new", [])
    for job in (old, new):
        queue.stop(job)
    queue._save(replace(queue.get(old.id), submitted=time.time() - 3 * 86400))
    queue.sweep()
    assert [job.name for job in queue.jobs(ANNE)] == ["new"]


def test_runs_made_elsewhere_are_listed_on_one_s_own_computer(tmp_path):
    home = tmp_path / "runs"
    folder = RunDir(home / "river")
    folder.create()
    video.write_clip(folder.source, make_clip(), FPS)
    folder.config.write_text("{}")
    queue = TrainingQueue(Settings(home=home))
    (job,) = queue.jobs(ANNE)
    assert (job.name, queue.status(job)["state"]) == ("river", "stopped")
    assert TrainingQueue(Settings(home=home, shared=True)).jobs(ANNE) == []


def test_the_loss_curves_are_drawn_from_the_log():
    lines = [{"seconds": k, "scale": k // 5, "swd": 1 / (k + 1), "generator": 2.0} for k in range(10)]
    svg = progress.loss_curves(lines)
    assert svg.count("<path") == 2 and svg.count("<line") == 1 and "difference of patches 0.1" in svg
    assert progress.loss_curves(lines[:2]) == ""
    long = [{"scale": k // 500, "step": k % 500, "swd": 3.0 + k % 2} for k in range(1000)]
    (path,) = re.findall(r' d="([^"]+)"', progress.loss_curves(long))
    heights = [float(point.split()[1]) for point in re.split("[ML]", path)[1:]]
    assert 80 <= len(heights) <= 100
    assert path.count("M") == 2
    assert "swd" not in path and "difference of patches 4" in progress.loss_curves(long)


def test_scores_stand_beside_their_floors_and_distances_in_a_map():
    found = {
        "scores": {"motion_ratio": 0.9, "fid": None},
        "floors": {"unseen": {"motion_ratio": 1.0}, "noise": {"motion_ratio": 5.0}},
        "metrics": {"motion_ratio": {"judges": "how <much> it moves"}},
        "unavailable": {"fid": "no weights"},
        "lpips_matrix": [[0.0, 0.4], [0.4, 0.0]],
    }
    page = quality.scores_html(found)
    assert "how &lt;much&gt; it moves" in page and page.count('<i class="real"') == 1 and "noise" in page
    assert "mean distance 0.400" in page and page.count("<rect") == 2
    assert "1 scores are not available" in page and "no weights" in page
    at = [float(place) for place in re.findall(r"left:([\d.]+)%", page)]
    assert at == sorted(at) and len(at) == 3  # this texture, real footage, noise


def test_without_gpus_to_lend_a_function_is_left_as_it_is():
    assert gpu.on_gpu(test_who_came_first_draws_first) is test_who_came_first_draws_first


def test_names_of_folders_cannot_become_markup(anchored_pyramid, tmp_path):
    DTSGAN(anchored_pyramid, FPS).save_pretrained(tmp_path / "<img src=x onerror=alert(1)>" / "model")
    settings = Settings(home=tmp_path)
    page = Page(settings, Library(settings), TrainingQueue(settings))
    shown = play.gallery_html(page, ANNE)
    assert "<img" not in shown.lower() and "&lt;img" in shown


@pytest.mark.parametrize(
    "seconds, words", [(3, "about 5 s"), (200, "about 3 min"), (7000, "about 2 h"), (200_000, "about 2 days")]
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert progress.duration(seconds) == words


# -- the command ---


def test_dtsgan_ui_refuses_half_a_password(capsys):
    assert cli.main(["ui", "--auth", "anne"]) == 1
    assert "NAME:PASSWORD" in capsys.readouterr().err


def test_a_crop_on_the_command_line_reaches_the_run(clip_file, tmp_path, capsys):
    settings = [word for pair in TINY.split() for word in ("--set", pair)]
    arguments = [
        "train",
        str(clip_file),
        "--out",
        str(tmp_path / "run"),
        "--size",
        "20",
        "--crop",
        "4,2,20,20",
    ]
    assert cli.main([*arguments, "--layout", "anchored", *settings]) == 0
    assert RunDir(tmp_path / "run").read_config()["crop"] == [4, 2, 20, 20]
    clip, info = video.read_clip(RunDir(tmp_path / "run").source)
    assert (info.width, info.height) == (20, 20)
    assert torch.isfinite(clip).all()
    with pytest.raises(SystemExit):
        cli.main([*arguments[:-1], "4,2,20"])
    shutil.rmtree(tmp_path / "run")
