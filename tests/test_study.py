"""The blind study: served over HTTP, answered by keyboard, kept in SQLite, counted with intervals."""

import http.cookiejar
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import FPS, make_clip, needs_chromium, wait_until

from dtsgan import video
from dtsgan.cli import main
from dtsgan.compare import ReportDir, Settings
from dtsgan.compare.folder import Cell
from dtsgan.errors import ConfigError, RunError
from dtsgan.study import Study, preferences, table_2, wilson

METHODS = ("two_stream", "cgcnn_gram", "dtsgan_fast")


@pytest.fixture
def report(tmp_path) -> Path:
    """A comparison of three methods on two clips, as `dtsgan compare` leaves it."""
    folder = ReportDir(tmp_path / "report")
    folder.open(Settings(size=32, num_frames=6, num_videos=1))
    for k, clip in enumerate(("fire", "flag")):
        video.write_clip(folder.source(clip), make_clip(12, 32, 32, seed=k), FPS)
        for j, method in enumerate(METHODS):
            cell = Cell(clip, method)
            video.write_clip(folder.video(cell), make_clip(6, 32, 32, seed=10 * k + j + 1), FPS)
            row = {**asdict(cell), "title": method.upper(), "status": "done", "scores": {}, "unavailable": {}}
            folder.append(row)
    folder.append({**asdict(Cell("fire", "lds")), "status": "failed", "reason": "it broke"})
    return folder.path


@pytest.fixture
def address(report) -> Iterator[str]:
    """The study as the command serves it; stopped as by Ctrl-C."""
    command = [sys.executable, "-m", "dtsgan", "study", str(report), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    line = server.stderr.readline().strip()
    assert line.startswith("http://127.0.0.1:"), line + server.stderr.read()
    yield line
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 130
    assert "Traceback" not in server.stderr.read()


class Participant:
    """A browser's part: cookies, pages, and votes."""

    def __init__(self, address: str) -> None:
        self.address, self.jar = address, http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def page(self) -> str:
        with self.opener.open(self.address) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            return answer.read().decode()

    def vote(self, trial: str, choice: int | str) -> tuple[int, str]:
        data = urllib.parse.urlencode({"trial": trial, "choice": choice}).encode()
        try:
            with self.opener.open(f"{self.address}/vote", data) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def trial_of(page: str) -> str:
    found = re.search(r'name="trial" value="([^"]+)"', page)
    assert found
    return found[1]


def test_people_vote_over_http_and_the_votes_are_counted(address, report, capsys):
    one, two = Participant(address), Participant(address)
    page = one.page()
    assert page.count("<video") == 3 and page.count('type="radio"') == 3
    for word in (*METHODS, *(m.upper() for m in METHODS), "fire", "flag", ".mkv", ".mp4", "http"):
        assert word not in page.replace(address, "")  # nothing gives a method, or the clip, away
    trial = trial_of(page)
    assert trial_of(one.page()) == trial  # opened again, it is the same question
    assert two.vote(trial, 0)[0] == 400  # not theirs
    assert one.vote(trial, 3)[0] == 400 and one.vote(trial, "")[0] == 400 and one.vote("guess", 0)[0] == 400
    status, following = one.vote(trial, 1)
    assert status == 200 and trial_of(following) != trial and "Question 2 of 2" in following
    assert one.vote(trial, 0)[0] == 200  # too late: the first answer counts
    assert "Thank you" in one.vote(trial_of(following), 2)[1] and "Thank you" in one.page()
    assert "Question 2 of 2" in two.vote(trial_of(two.page()), 0)[1]

    study = Study(report)
    answers = study.answers()
    assert len(answers) == 3
    assert [shown.index(choice) for shown, choice in answers] == [1, 2, 0]
    assert all(sorted(shown) == sorted(METHODS) for shown, _ in answers)
    assert main(["study", str(report), "--table", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["votes"], counted["participants"]) == (3, 2)
    assert sum(entry["chosen"] for entry in counted["preferences"]) == 3
    assert all(entry["shown"] == 3 for entry in counted["preferences"])


def test_an_oversized_vote_is_refused(address):
    one = Participant(address)
    assert one.vote(trial_of(one.page()), "1" * 5000)[0] == 400


@pytest.mark.slow
@needs_chromium
def test_the_page_is_answered_by_keyboard_alone_fits_a_phone_and_asks_nobody_else(browser, address, report):
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    troubles, requests = [], []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(address)
    wait_until(tab, "[...document.querySelectorAll('video')].every(v => v.currentTime > 0)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowDown")
    assert tab.get_by_role("radio", name="Video 2").is_checked()
    tab.keyboard.press("Enter")
    tab.get_by_text("Question 2 of 2").wait_for()
    assert troubles == []
    assert all(url.startswith(("data:", address)) for url in requests)
    tab.close()
    ((shown, choice),) = Study(report).answers()
    assert choice == shown[1]


def test_everyone_gets_an_order_of_their_own_and_the_same_again(report):
    study = Study(report)
    orders = {json.dumps(study.questions(f"p{k}")) for k in range(20)}
    assert len(orders) > 10
    assert study.questions("p1") == study.questions("p1")


def test_pairs_are_all_pairs_of_each_clip_and_the_real_clip_may_be_among_them(report):
    asked = Study(report, in_pairs=True).questions("p")
    assert len(asked) == 6 and len({(clip, frozenset(shown)) for clip, shown in asked}) == 6
    ((_, shown), _) = Study(report, with_real=True, methods=["two_stream"]).questions("p")
    assert sorted(shown) == ["real", "two_stream"]


def test_what_cannot_be_asked_is_refused_with_one_sentence(report, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r'"dtsgan_fats" is not done .*did you mean "dtsgan_fast"'):
        Study(report, methods=["dtsgan_fats"])
    with pytest.raises(RunError, match="no clip with the videos of two methods"):
        Study(report, methods=["dtsgan_fast"])
    assert main(["study", str(tmp_path / "gone")]) == 1
    assert "holds no comparison" in capsys.readouterr().err
    assert main(["study", str(report), "--port", "70000"]) == 1
    assert "port must be between" in capsys.readouterr().err
    (report / "votes.sqlite").write_text("no database" * 100)
    with pytest.raises(RunError, match=r"votes.sqlite cannot be used"):
        Study(report)


@pytest.mark.parametrize(
    "won, shown, low, high",
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662),
     (0, 0, 0.0, 1.0)],
)  # fmt: skip
def test_intervals_are_wilsons(won, shown, low, high):
    # Newcombe 1998, Statistics in Medicine 17, Table I, has 81 of 263
    assert wilson(won, shown) == pytest.approx((low, high), abs=5e-5)


def test_the_table_has_shares_intervals_and_the_papers_numbers(report):
    study = Study(report)
    for k in range(10):  # ten people, two clips each; 14 of 20 prefer one method
        name = f"p{k}"
        for n in range(2):
            found = study.next_trial(name)
            assert found is not None
            trial, _, shown, *_ = found
            wanted = "dtsgan_fast" if 2 * k + n < 14 else "cgcnn_gram"
            assert study.vote(name, trial, shown.index(wanted))
        assert study.next_trial(name) is None
    first, second, third = preferences(study)["preferences"]
    assert (first["method"], first["chosen"], first["shown"], first["share"]) == ("dtsgan_fast", 14, 20, 0.7)
    assert (second["chosen"], third["chosen"]) == (6, 0)
    table = table_2(study)
    assert "| DTSGAN_FAST | 70.0% | 48.1% to 85.5% | 14 | 20 | 53.89% |" in table
    assert "| TWO_STREAM | 0.0% | 0.0% to 16.1% | 0 | 20 | 11.78% |" in table
    assert "20 votes of 10 participants, each among 3 videos" in table
