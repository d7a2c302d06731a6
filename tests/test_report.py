"""The page in a real browser: it plays, it fits, it asks for nothing, in light and in dark."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import FPS, needs_chromium, wait_until
from PIL import Image

from dtsgan.errors import RunError
from dtsgan.evaluate import Evaluation, evaluate
from dtsgan.metrics import METRICS
from dtsgan.model import DTSGAN
from dtsgan.report import check_folder, heat_map, marks, plot, write_report

EVERY_VIDEO = "[...document.querySelectorAll('video')].every"


@pytest.fixture(scope="module")
def found(free_pyramid, clip, tmp_path_factory) -> Evaluation:
    weights = tmp_path_factory.mktemp("no_weights")
    slow = ("sliced_wasserstein", "nnf_distance", "copy_score")
    names = [name for name in METRICS if not name.startswith(slow)]
    return evaluate(DTSGAN(free_pyramid, FPS), clip[:, :, :24], 2, weights=weights, names=names)


@pytest.fixture(scope="module")
def page(free_pyramid, clip, found, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "report"
    model = DTSGAN(free_pyramid, FPS)
    return write_report(folder, model, found, clip[:, :, :24], "waves <b>&")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_plays_and_asks_for_nothing(browser, page, scheme):
    tab = browser.new_page(color_scheme=scheme)
    troubles, requests = [], []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    wait_until(tab, f"{EVERY_VIDEO}(v => v.readyState >= 2 && v.currentTime > 0)")
    videos = tab.evaluate(
        "[...document.querySelectorAll('video')].map(v => [v.videoWidth, v.videoHeight, v.duration])"
    )
    assert videos == [[28, 20, pytest.approx(12 / FPS, abs=0.02)]] * 3  # the real one and both samples
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert troubles == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 24)"
    assert dark == (scheme == "dark")
    tab.close()


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk(browser, page, width):
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


@needs_chromium
def test_one_button_stops_all_videos_and_starts_them_again(browser, page):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    wait_until(tab, "[...document.querySelectorAll('video')].every(v => !v.paused)")
    for label, paused in (("Pause all", True), ("Play all", False)):
        tab.get_by_role("button", name=label).click()
        wait_until(tab, f"{EVERY_VIDEO}(v => v.paused === {str(paused).lower()})")
    tab.close()


@needs_chromium
def test_nothing_moves_for_those_who_ask_for_stillness(browser, page):
    tab = browser.new_page(reduced_motion="reduce")
    tab.goto(page.as_uri())
    tab.wait_for_timeout(300)
    assert tab.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")
    assert tab.get_by_role("button", name="Play all").is_visible()
    tab.close()


def test_the_page_holds_every_number_reason_and_seed_and_escapes_names(page, found):
    html = page.read_text()
    assert "waves &lt;b&gt;&amp;" in html and "waves <b>" not in html
    for name in found.scores:
        assert name in html
    for reason in found.unavailable.values():
        assert reason.split("(")[0].strip()[:40] in html
    assert "sample, seed 1" in html and "https://" not in html and "http://" not in html


def test_the_numbers_lie_beside_the_page(page, found):
    assert json.loads((page.parent / "evaluation.json").read_text()) == found.to_dict()
    assert sorted(p.name for p in page.parent.iterdir()) == ["evaluation.json", "index.html"]


def test_the_slices_are_rows_and_columns_over_time(page):
    pictures = re.findall(
        r'<img src="data:image/png;base64,([^"]+)" alt="(.)-t slice, real', page.read_text()
    )
    pictures += re.findall(
        r'<img src="data:image/png;base64,([^"]+)" alt="(y)-t slice, real', page.read_text()
    )
    sizes = {axis: Image.open(io.BytesIO(base64.b64decode(data))).size for data, axis in pictures}
    assert sizes == {"x": (12, 27), "y": (12, 20)}  # 12 frames to the right


def test_the_marks_lie_between_perfect_and_the_worst(found):
    for name, value in found.scores.items():
        placed = dict(marks(found, name))
        if value is None or METRICS[name].kind == "seam" or not placed:
            continue
        assert all(0 <= at <= 1 for at in placed.values()) and max(placed.values()) == 1
        assert "model" in placed


def test_the_heat_map_has_a_cell_for_each_pair(found):
    assert heat_map(found) is None  # no weights, no distances
    heat = heat_map(replace(found, lpips_matrix=[[0.0, 0.25], [0.25, 0.0]]))
    assert heat is not None and (heat["size"], heat["top"]) == (2, "0.250")
    assert [(i, j, part) for i, j, part, _ in heat["cells"]] == [(0, 1, 1.0), (1, 0, 1.0)]


def test_a_plot_keeps_its_curves_inside_and_higher_power_higher():
    drawn = plot(
        "t", "x", "y", [1.0, 2.0, 4.0], [("a", "real", torch.ones(3)), ("b", "sample", torch.ones(3) / 50)]
    )
    points = [[tuple(map(float, p.split(","))) for p in line.points.split()] for line in drawn.lines]
    assert all(40 < x <= 460 and 0 <= y <= 210 for line in points for x, y in line)
    assert all(a[1] < b[1] for a, b in zip(*points, strict=True))
    assert [text for _, text in drawn.x_ticks] == ["1", "2"]


def test_a_report_does_not_replace_a_page_of_another_kind(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(RunError, match="is no report and would be lost"):
        check_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="it is a file"):
        check_folder(tmp_path / "file")
