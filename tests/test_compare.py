"""Methods compared on clips: killed and resumed, failures kept, and the arithmetic of the tables."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
from conftest import FPS, make_clip, needs_chromium, wait_until

from dtsgan import video
from dtsgan.baselines import BASELINES
from dtsgan.cli import main
from dtsgan.compare import ReportDir, Settings, write_report
from dtsgan.compare.cell import Task, run_task, work
from dtsgan.compare.contestants import find_contestants, import_methods
from dtsgan.compare.cost import Cost
from dtsgan.compare.folder import REAL, Cell
from dtsgan.compare.page import facts
from dtsgan.compare.plots import BOLD, HEIGHT, LETTER, WIDTH, Axis, Mark, labelled, overlap, scatter
from dtsgan.compare.prepared import passing_on, read_prepared
from dtsgan.compare.running import keep_clip
from dtsgan.compare.tables import (
    Results,
    Table,
    new_diversity,
    ranked,
    table_1,
    table_places,
    table_wide,
    tables_3,
)
from dtsgan.errors import ConfigError, RunError
from dtsgan.metrics.patches import CopySource, PatchProjections
from dtsgan.metrics.perceptual import InceptionFeatures

WEIGHTS = os.environ.get("DTSGAN_METRIC_WEIGHTS")

OWN_METHODS = '''
import os, signal, time
import torch
from dtsgan.baselines import BASELINES, Method

class Echo:
    """Plays what it has learned, from some frame on."""

    def __init__(self, noise=0.0, fault="", size=None, weights=None):
        self.noise, self.fault, self.size = noise, fault, size

    def fit(self, clip, on_progress=None, seconds=None):
        with open(os.environ["FITS"], "a") as file:
            file.write(f"{self.noise:g} {clip.shape[2]} {clip.shape[3]} {seconds}\\n")
        if self.fault == "refuses":
            raise ValueError("it needs a longer clip than\\nthis one")
        if self.fault == "has a bug":
            raise IndexError("list index out of range")
        if self.fault == "dies" and float(clip.mean()) < -0.2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        self.clip = clip

    def sample(self, num_frames, generator, on_progress=None, seconds=None):
        if self.fault == "diverges":
            return self.clip[:, :, :num_frames] * float("nan")
        start = int(torch.randint(self.clip.shape[2] - num_frames + 1, (1,), generator=generator))
        played = self.clip[:, :, start : start + num_frames]
        return (played + self.noise * torch.randn(played.shape, generator=generator)).clamp(-1, 1)

def method(title, **options):
    settings = {key: options.pop(key) for key in ("noise", "fault") if key in options}
    return Method("own.methods", "Echo", title, "A. Author, Echoes, 2020", settings=settings, **options)

BASELINES |= {
    "echo": method("Echo"),
    "grain": method("Echo with grain", noise=0.25, size=32, num_frames=20, deviations="It has grain."),
    "frail": method("Frail", noise=0.125, fault="dies"),
    "refusing": method("Refusing", fault="refuses"),
    "buggy": method("Buggy", fault="has a bug"),
    "diverging": method("Diverging", fault="diverges"),
    "blind": method("Blind", network="eyes.safetensors"),
}
'''  # fmt: skip
OPTIONS = ["--methods", "echo", "grain", "frail", "--size", "40", "--num-videos", "2", "--import",
           "own.methods", "--processes", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two clips, methods of our own that children can import, and no weights."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "own").mkdir()
    (folder / "own" / "__init__.py").touch()
    (folder / "own" / "methods.py").write_text(OWN_METHODS)
    (folder / "no_weights").mkdir()
    waves = make_clip(40, 44, 52)
    video.write_clip(folder / "waves.mkv", waves, FPS)
    video.write_clip(folder / "dark.mkv", (waves.flip(2) - 0.2).clamp(-1, 1), FPS)
    before = dict(BASELINES)
    with pytest.MonkeyPatch.context() as patch:
        known = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([known] if known else [])]))
        patch.setenv("FITS", str(folder / "fits.txt"))
        patch.setenv("DTSGAN_METRIC_WEIGHTS", str(folder / "no_weights"))
        patch.syspath_prepend(str(folder))
        import_methods(["own.methods"])
        yield folder
    BASELINES.clear()
    BASELINES.update(before)
    sys.modules.pop("own.methods", None)
    sys.modules.pop("own", None)


def arguments(place: Path) -> list[str]:
    return [
        "compare",
        str(place / "waves.mkv"),
        str(place / "dark.mkv"),
        "--out",
        str(place / "report"),
        *OPTIONS,
    ]


def processes_of(folder: Path) -> list[int]:
    """Children that work on this report, read from the system's own list."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f'"report": "{folder}"' in entry.read_bytes().decode(errors="replace"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def killed_and_resumed(place) -> tuple[ReportDir, int, list[int], dict]:
    """A comparison whose process is killed in the middle, and that is then run to its end."""
    folder = ReportDir(place / "report")
    with (place / "first.log").open("wb") as log:
        first = subprocess.Popen([sys.executable, "-m", "dtsgan", *arguments(place)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 1200
        while len(folder.read_rows()) < 3:
            assert first.poll() is None and time.monotonic() < deadline, (place / "first.log").read_text()
            time.sleep(0.05)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    done = len(folder.read_rows())
    for _ in range(100):
        if not (left := processes_of(folder.path)):
            break
        time.sleep(0.1)
    with folder.results.open("a") as file:  # as a kill in the middle of a line would leave it
        file.write('{"clip": "waves", "meth')
    outcome = subprocess.run(
        [sys.executable, "-m", "dtsgan", *arguments(place), "--json"], capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder, done, left, json.loads(outcome.stdout)


# -- killed and resumed ---


def test_a_killed_comparison_goes_on_and_does_no_finished_cell_again(killed_and_resumed, place):
    folder, done, left, answer = killed_and_resumed
    assert 3 <= done < 8 and left == []  # no cell outlives its comparer
    rows = [json.loads(line) for line in folder.results.read_text().splitlines() if line.endswith("}")]
    cells = Counter(Cell.of(row) for row in rows)
    expected = {
        Cell(clip, method) for clip in ("waves", "dark") for method in (REAL, "echo", "grain", "frail")
    }
    assert set(cells) == expected and set(cells.values()) == {1}
    fits = Counter(line.split()[0] for line in (place / "fits.txt").read_text().splitlines())
    # each method twice, for two clips; of the cells that ran when the process was killed one more
    assert all(count >= 2 for count in fits.values()) and sum(fits.values()) <= 6 + 2
    assert answer["cells"] == {"done": 5, "failed": 1, "unavailable": 0}


def test_a_method_whose_process_dies_is_a_row_with_the_reason(killed_and_resumed):
    folder, _, _, answer = killed_and_resumed
    (failed,) = answer["not_done"]
    assert (failed["clip"], failed["method"], failed["status"]) == ("dark", "frail", "failed")
    assert (
        "SIGKILL" in failed["reason"] and (folder.path / failed["reason"].split(": ")[1].split()[0]).exists()
    )
    text = (folder.path / "table1.md").read_text()
    assert "SIGKILL" in text and "| 1 of 2 |" in text
    assert "SIGKILL" in folder.page.read_text()


def test_a_cell_keeps_its_videos_at_the_common_size_its_numbers_and_what_it_cost(killed_and_resumed):
    folder, *_ = killed_and_resumed
    row = folder.read_rows()[Cell("waves", "grain")]
    assert row["status"] == "done" and row["learned"] == {"frames": 20, "size": [32, 32]}
    assert row["drawn_size"] == [32, 32]
    for number in range(2):
        kept, info = video.read_clip(folder.video(Cell("waves", "grain"), number))
        assert kept.shape == (1, 3, 16, 40, 40) and info.fps == FPS
    assert 0.5 <= row["fit_seconds"] < 60 and row["sample_seconds"] < 30
    assert 50 < row["fit_memory"] < 4000 and 50 < row["sample_memory"] < 4000
    assert row["scores"]["motion_ratio"] > 1.5  # grain flickers
    assert row["scores"]["fid_768"] is None and "fid_768" in row["unavailable"]
    assert str(folder.path) not in json.dumps(row)


def test_every_clip_has_its_floors(killed_and_resumed):
    results = Results.read(killed_and_resumed[0])
    for clip in ("waves", "dark"):
        assert set(results.floors[clip]) == {"unseen", "copy", "blurred", "shuffled", "noise"}
        assert results.floors[clip]["copy"]["copy_score"] < 0.1
    assert results.at("waves", "echo", results.columns["copy"].figure) < 0.1  # it plays the clip


def test_another_setting_or_clip_or_a_strange_folder_is_refused_with_one_sentence(
    killed_and_resumed, place, tmp_path, capsys
):
    folder, *_ = killed_and_resumed
    clip = str(place / "waves.mkv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    other = tmp_path / "waves.mkv"
    video.write_clip(other, make_clip(40, 44, 52, seed=3), FPS)
    short_clip = tmp_path / "short.mkv"
    video.write_clip(short_clip, make_clip(9, 44, 52), FPS)
    out = ["--out", str(tmp_path / "new")]
    same = ["--out", str(folder.path), "--size", "40", "--num-videos", "2"]
    for command, expected in (
        ([clip, *out, "--methods", "ecko"], 'no method "ecko" (did you mean "echo"?)'),
        ([clip, *out, "--update", "often"], 'no data update "often"'),
        ([clip, *out, "--budget", "-1"], "positive number of minutes"),
        ([clip, *out, "--processes", "0"], "processes must be at least 1"),
        ([clip, *out, "--set", "step=9"], 'no setting "step" (did you mean "steps"?)'),
        ([clip, *out, "--set", "seed=9"], "name it with --seeds"),
        ([clip, *same, "--set", "steps=9"], "was begun with changes={}, not {'steps': '9'}"),
        ([clip, *out, "--import", "nowhere.to_be"], "cannot be imported"),
        ([clip, clip, *out], "have one name"),
        ([str(tmp_path / "gone.mp4"), *out], "does not exist"),
        ([str(short_clip), *out, "--methods", "echo"], "9 frames; at least 16"),
        ([clip, "--out", str(tmp_path / "mine")], "is not empty and holds no comparison"),
        ([clip, *same, "--num-frames", "12"], "was begun with num_frames=16, not 12"),
        ([str(other), *same, "--methods", "echo"], "begun with another clip named waves"),
    ):
        assert main(["compare", *command]) == 1
        out_text, err = capsys.readouterr()
        assert expected in err.splitlines()[-1] and out_text == "" and "Traceback" not in err
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_quick_is_little_of_everything_that_was_not_asked_for(place, tmp_path):
    clip, rest = str(place / "waves.mkv"), ["--methods", "copy", "--size", "40", "--quick"]
    for name, asked, expected in (
        ("little", [], (2, 0.6)),
        ("asked", ["--num-videos", "1", "--budget", "2"], (1, 2.0)),
    ):
        folder = ReportDir(tmp_path / name)
        assert main(["compare", clip, "--out", str(folder.path), *rest, *asked]) == 0
        settings = folder.read_settings()
        assert settings.quick and (settings.num_videos, settings.budget) == expected
        drawn = json.loads((folder.cell(Cell("waves", "copy")) / "drawn.json").read_text())
        assert drawn["num_videos"] == expected[0]


def test_only_the_report_is_written_where_nothing_shall_run(killed_and_resumed, capsys):
    folder, *_ = killed_and_resumed
    folder.page.unlink()
    before = folder.results.read_bytes()
    assert main(["compare", "--report-only", "--out", str(folder.path)]) == 0
    assert folder.page.exists() and folder.results.read_bytes() == before
    assert "## Table 1" in capsys.readouterr().out
    with pytest.raises(RunError, match="holds no comparison"):
        write_report(folder.path / "cells")


def test_results_without_their_videos_still_make_tables_and_a_page(killed_and_resumed, tmp_path):
    folder, *_ = killed_and_resumed
    bare = ReportDir(tmp_path)
    for file in (folder.settings, folder.results):
        shutil.copy(file, tmp_path)
    write_report(bare.path)
    tables = [(one.path / "table1.md").read_text() for one in (bare, folder)]
    assert tables[0] == tables[1]
    assert "<video" not in bare.page.read_text() and "<video" in folder.page.read_text()
    shutil.copytree(folder.path / "clips", tmp_path / "clips")
    write_report(bare.path)
    assert "its video is not here" in bare.page.read_text()


# -- one cell ---


@pytest.fixture
def task(place, tmp_path):
    """Makes the task of a cell, in a report of its own with one clip."""
    settings = Settings(size=40, num_videos=2)
    folder = ReportDir(tmp_path / "report")
    folder.open(settings)
    keep_clip(folder, "waves", place / "waves.mkv", settings)

    def make(method: str, weights: Path | None = None, **changes: object) -> Task:
        return Task(
            report=str(folder.path), cell=Cell("waves", method, 3), settings=Settings(
                **{"size": 40, "num_videos": 2, **changes}  # type: ignore[arg-type]
            ), weights=str(weights or place / "no_weights"), imports=(), threads=1,
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    "method, status, reason",
    [
        ("refusing", "failed", "it needs a longer clip than this one"),
        ("buggy", "failed", "IndexError: list index out of range"),
        ("diverging", "failed", "it drew values that are no numbers: it has diverged"),
        ("blind", "unavailable", "it looks through eyes.safetensors: name a folder that holds it with"),
    ],
)
def test_a_method_that_fails_or_has_no_weights_says_why(task, method, status, reason):
    row = run_task(task(method))
    assert row["status"] == status and row["reason"].startswith(reason)
    assert row["citation"] and row["title"] == BASELINES[method].title


def test_a_task_survives_its_trip_to_the_process(task):
    sent = task("echo", budget=1.5)
    assert Task.from_json(sent.to_json()) == sent


def test_four_fifths_of_a_budget_are_for_learning(task, place):
    work(task("refusing", budget=0.5))
    assert (place / "fits.txt").read_text().splitlines()[-1].split()[-1] == "24.0"


def test_the_middle_square_of_a_clip_is_kept_and_no_larger_than_need_be(place, tmp_path):
    folder = ReportDir(tmp_path)
    video.write_clip(tmp_path / "wide.mkv", make_clip(16, 270, 300), FPS)
    keep_clip(folder, "wide", tmp_path / "wide.mkv", Settings())
    keep_clip(folder, "waves", place / "waves.mkv", Settings())
    assert video.read_clip(folder.source("wide"))[0].shape == (1, 3, 16, 256, 256)
    source = video.read_clip(place / "waves.mkv")[0]
    assert torch.equal(video.read_clip(folder.source("waves"))[0], source[..., 4:48])


@pytest.mark.slow
def test_a_preset_is_learned_with_the_update_and_seed_of_its_cell(task):
    made = task("dtsgan_preview_single", quick=True, budget=0.02)
    row = run_task(made)
    assert row["status"] == "done", row
    run = ReportDir(Path(made.report)).cell(made.cell) / "run"
    train = json.loads((run / "config.json").read_text())["config"]["train"]
    assert (train["update"], train["seed"], train["threads"]) == ("single", 3, 1)
    assert row["learned"]["frames"] == 40 and row["fit_seconds"] > 0
    shutil.rmtree(run)  # what is drawn is not drawn again
    assert run_task(made)["scores"] == row["scores"]


def test_settings_of_presets_can_be_changed_and_the_report_says_so(task):
    changes = {"num_scales": "1", "max_size": "24", "min_size": "24", "steps": "2", "num_frames": "12"}
    made = task("dtsgan_paper", quick=True, changes=changes)
    row = run_task(Task.from_json(made.to_json()))
    assert row["status"] == "done", row
    assert row["learned"]["size"] == [24, 24] and row["drawn_size"] == [24, 24]
    folder = ReportDir(Path(made.report))
    config = json.loads((folder.cell(made.cell) / "run" / "config.json").read_text())["config"]
    assert config["train"]["steps"] == [2] and config["pyramid"]["num_frames"] == 12
    settings = json.loads(folder.settings.read_text())
    folder.settings.write_text(json.dumps({**settings, "changes": changes}))
    folder.append(row)
    write_report(folder.path)
    assert "but with num_scales=1, max_size=24" in (folder.path / "table1.md").read_text()
    del settings["changes"]  # as reports were before
    folder.settings.write_text(json.dumps(settings))
    assert folder.read_settings() == Settings(size=40, num_videos=2)


def test_what_one_cell_prepares_others_take_and_score_the_same(task):
    made = task("echo", WEIGHTS)
    folder = ReportDir(Path(made.report))
    with passing_on(folder):
        first, file = run_task(made), folder.prepared("waves")
        kinds = {type(one) for one in read_prepared(folder, "waves").values()}
        assert kinds == {CopySource, PatchProjections} | ({InceptionFeatures} if WEIGHTS else set())
        written = file.stat().st_ino
        assert run_task(made) == first and first["status"] == "done"
        assert file.stat().st_ino == written  # there was nothing to add
        file.write_bytes(file.read_bytes()[:1000])
        assert read_prepared(folder, "waves") == {}
    assert [*folder.path.glob("prepared*")] == []


def test_the_peak_of_memory_is_that_of_the_work_inside():
    small, large = Cost(), Cost()
    with large.measured():
        torch.ones(32 * 2**20).sum()  # 128 MB
    with small.measured():
        torch.ones(2**10).sum()
    assert large.memory - small.memory > (100 if sys.platform == "linux" else -1)


# -- who is compared ---


def test_all_means_every_baseline_and_the_usual_presets_and_updates_add_variants(place):
    names = [one.name for one in find_contestants(["all"])]
    assert names == [*BASELINES, "dtsgan_preview", "dtsgan_fast", "dtsgan_quality"]
    assert [one.name for one in find_contestants(["all"], quick=True)][-1] == "dtsgan_preview"
    # the preset's own update is the preset as it is
    varied = find_contestants(["dtsgan_learned", "echo", "dtsgan_fast"], ["single", "random", "neighbour"])
    assert [one.name for one in varied] == [
        "dtsgan_learned",
        "echo",
        "dtsgan_fast",  # has no steps in which an update could matter
        "dtsgan_learned_single",
        "dtsgan_learned_neighbour",
    ]
    assert [one.update for one in varied] == ["random", "", "random", "single", "neighbour"]
    with pytest.raises(ConfigError, match="no method is named"):
        find_contestants([])


# -- tables ---


def made_results(**by_method: dict[str, dict | None]) -> Results:
    """Results from scores by method and clip; None: it failed there."""
    rows = []
    for method, by_clip in by_method.items():
        for clip, scores in by_clip.items():
            row = {"clip": clip, "method": method, "seed": 0, "title": method.title()}
            if scores is None:
                rows.append({**row, "status": "failed", "reason": "it broke"})
            else:
                cost = {"fit_seconds": 60.0, "fit_memory": 1024, "sample_seconds": 2.0, "sample_memory": 512}
                rows.append({**row, "status": "done", "scores": scores, "unavailable": {}, **cost,
                             "learned": {"frames": 40, "size": [40, 40]}})  # fmt: skip
    unseen = {"sigma_n_lpips": 0.2, "lpips_diversity": 0.4, "sliced_wasserstein": 0.01}
    return Results(Settings(), rows, {"a": {"unseen": unseen}, "b": {"unseen": unseen}}, {"a": 40, "b": 40})


def scores(fid: float, swd: float, sigma: float, motion: float, diversity: float, copy: float) -> dict:
    return {
        "fid_768": fid, "sliced_wasserstein": swd, "sigma_n_lpips": sigma, "motion_ratio": motion,
        "lpips_diversity": diversity, "copy_score": copy, "ms_ssim": 0.5,
    }  # fmt: skip


def test_equals_share_the_mean_of_their_places():
    assert ranked({"a": 2.0, "b": 1.0, "c": 2.0, "d": 5.0}) == {"a": 2.5, "b": 1, "c": 2.5, "d": 4}
    assert ranked({"a": math.inf, "b": math.inf}) == {"a": 1.5, "b": 1.5}


def test_the_mean_rank_is_what_a_hand_computes():
    results = made_results(
        # FID, SWD, sigma (real 0.2), motion (1), diversity (real 0.4), copy score
        echo={"a": scores(1, 0.02, 0.30, 2.0, 0.4, 0.0), "b": scores(3, 0.01, 0.20, 1.0, 0.4, 0.0)},
        grain={"a": scores(2, 0.02, 0.10, 0.5, 0.2, 1.0), "b": scores(1, 0.03, 0.25, 1.5, 0.6, 2.0)},
        frail={"a": scores(3, 0.01, 0.20, 1.0, 0.4, 0.5), "b": None},
    )
    # on a:  FID 1 2 3 | SWD 2.5 2.5 1 | |sigma - 0.2| 2.5 2.5 1 | twice and half are alike 2.5 2.5 1 |
    #        new diversity 0, 0.5, 0.5: 3 1.5 1.5
    # on b:  FID 2 1 3 | SWD 1 2 3 | sigma 1 2 3 | motion 1 2 3 | new diversity 0, 0.5, none: 2 1 3
    expected = {"echo": (11.5 + 7) / 10, "grain": (11 + 8) / 10, "frail": (7.5 + 15) / 10}
    assert results.mean_ranks() == pytest.approx(expected)
    table = table_places(results)
    assert table.rows == [
        ["Echo", "1.50", "1.75", "1.75", "1.75", "2.50", "1.85", "1 of 2"],
        ["Grain", "1.50", "2.25", "2.25", "2.25", "1.25", "1.90", "0 of 2"],
        ["Frail", "3.00", "2.00", "2.00", "2.00", "2.25", "2.25", "1 of 2"],
    ]
    assert table.best == {(0, 1), (1, 1), (0, 2), (0, 3), (0, 4), (1, 5), (0, 6)}


def test_a_figure_that_nobody_has_takes_no_place():
    alike = scores(1, 1, 0.2, 1, 0.4, 1)
    results = made_results(echo={"a": {**alike, "fid_768": None}}, grain={"a": {**alike, "fid_768": None}})
    assert table_places(results).rows[0] == ["Echo", "–", *["1.50"] * 5, "1 of 1"]


def test_neither_copies_nor_noise_count_as_new():
    real = {"lpips_diversity": 0.4}
    found = [new_diversity(real | {"copy_score": copy}, real) for copy in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert found == pytest.approx([0, 0.5, 1, 0.5, 0.25])


def test_the_page_names_all_who_are_ahead_and_counts_waiting_to_the_first_video():
    alike = scores(1, 1, 0.2, 1, 0.4, 1)
    results = made_results(echo={"a": alike}, grain={"a": alike}, frail={"a": scores(2, 2, 0.3, 2, 0.2, 0)})
    for row in results.rows:
        if row["method"] == "frail":
            row |= {"fit_seconds": 0.0, "sample_seconds": 59.0}
        if row["method"] == "grain":
            row |= {"fit_seconds": 20.0}
    found = {heading: (number, whose) for heading, number, whose in facts(results)}
    assert found["Best mean rank"] == ("1.50", "Echo and Grain, of 3 methods")
    assert found["Quickest to a first video"] == ("22.0 s", "Grain")


def test_a_cell_that_is_not_run_yet_costs_no_place_and_a_control_takes_none():
    half = made_results(
        echo={"a": scores(2, 2, 0.3, 2, 0.2, 1), "b": scores(1, 1, 0.2, 1, 0.4, 1)},
        grain={"a": scores(1, 1, 0.2, 1, 0.4, 1)},
        copy={"a": scores(0, 0, 0.2, 1, 0.4, 0)},
    )
    for row in half.rows:
        row["is_control"] = row["method"] == "copy"
    assert half.mean_ranks() == {"echo": 1.5, "grain": 1.0}
    table = table_1(half)
    assert table.rows[2][0] == "Copy (control)" and 2 in table.quiet
    # the method that is done on one of two clips is not compared with the one that is done on both
    assert {row for row, _ in table.best} == {0}
    assert table.rows[1][-1] == "1 of 2"


def test_the_papers_numbers_stand_beside_ours_and_its_methods_are_never_left_out():
    results = made_results(
        two_stream={"a": scores(5, 0.1, 0.1, 1, 0.4, 1)}, dtsgan_fast={"a": scores(4, 0.1, 0.3, 1, 0.4, 1)}
    )
    rows = {row[0]: row for row in table_1(results).rows}
    assert rows["Two_Stream"][1:7] == ["0.500", "5.000", "0.100", "0.150", "229.464", "0.471"]
    assert rows["Dtsgan_Fast"][4:7] == ["0.621", "193.063", "0.223"]
    assert rows["DG (not run here)"][4:7] == ["0.609", "223.232", "0.768"]
    assert [row[0] for row in table_wide(results).rows][:2] == ["Dtsgan_Fast", "Two_Stream"]  # by rank
    wide = dict(zip(table_wide(results).header, table_wide(results).rows[0], strict=True))
    assert (wide["minutes to learn"], wide["seconds a video"], wide["memory, GB"]) == (
        "1.000",
        "2.000",
        "1.000",
    )


def test_data_updates_are_set_side_by_side_with_the_papers():
    results = made_results(
        dtsgan_fast={"a": scores(1, 1, 1, 1, 0.3, 0.9), "flag": scores(1, 1, 1, 1, 0.5, 0.7)},
        dtsgan_fast_single={"a": scores(1, 1, 1, 1, 0.1, 0.8), "flag": scores(1, 1, 1, 1, 0.2, 0.6)},
        dtsgan_preview={"a": scores(1, 1, 1, 1, 0.3, 0.9)},
    )
    (table,) = tables_3(results)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["flag"]["diversity, single"] == "0.200" and rows["flag"]["diversity, random"] == "0.500"
    assert rows["flag"]["paper: with update"] == "0.179" and rows["flag"]["paper: without"] == "0.146"
    assert rows["a"]["paper: with update"] == "–"
    assert rows["mean"]["diversity, single"] == "0.150" and rows["a"]["parts of the real clip"] == "0.400"


def test_a_table_is_written_for_markdown_and_latex_with_its_signs_escaped():
    table = Table("Table", ["method", "FID ↓"], [["a_b & 50%", "1.0"], ["c|d", "2.0"]], {(0, 1)}, {1})
    assert "| a_b & 50% | **1.0** |" in table.markdown() and "| *c\\|d* | 2.0 |" in table.markdown()
    assert r"a\_b \& 50\% & \textbf{1.0} \\" in table.latex() and r"FID $\downarrow$" in table.latex()


def test_every_mark_and_label_lies_within_the_plot():
    marks = [Mark(f"method number {k}", "other", 1 + 0.01 * (k % 3), 0.5 + 0.001 * k) for k in range(9)]
    drawn = scatter("t", "x", "y", [*marks, Mark("<far>", "own", 30.0, 0.0)], True, False)
    assert drawn is not None and "&lt;far&gt;" in drawn
    spots = re.findall(r'<circle class="\w+" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert len(spots) == 10
    assert all(0 < float(x) < WIDTH and 0 < float(y) < HEIGHT for x, y in spots)
    assert scatter("t", "x", "y", [], True, False) is None


def test_labels_of_marks_that_lie_close_cover_neither_each_other_nor_a_mark_and_a_line_leads_to_those_apart():
    """As in a real comparison: two presets next to the real part, at the left border, other methods near."""
    marks = [
        Mark("DTSGAN quality", "own", 1.02, 0.94), Mark("DTSGAN fast", "own", 1.04, 0.95),
        Mark("Closed-loop LDS", "other", 1.5, 0.85), Mark("GPDM in 3D", "other", 1.7, 1.33),
        Mark("LDS", "other", 1.55, 0.34), Mark("cgCNN-Mean", "other", 5.6, 3.4),
        Mark("another real part", "real", 1.0, 1.0),
    ]  # fmt: skip
    x_axis = Axis.over([m.x for m in marks], 58, WIDTH - 18, True)
    y_axis = Axis.over([m.y for m in marks], HEIGHT - 46, 16, False)
    placed = labelled(marks, x_axis, y_axis)
    boxes = []
    for m in placed:
        length = (BOLD if m.kind == "own" else LETTER) * len(m.title)
        left = m.label_x if m.anchor == "start" else m.label_x - length
        boxes.append((left, left + length, m.label_y - 9, m.label_y + 2))
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
    assert not any(overlap(box, (m.x - 3, m.x + 3, m.y - 3, m.y + 3)) for box in boxes for m in placed)
    drawn = scatter("t", "x", "y", marks, True, False)
    assert drawn is not None and drawn.count('class="lead"') == sum(m.is_apart for m in placed) > 0


# -- the page ---


@pytest.mark.slow
@needs_chromium
def test_the_page_plays_what_is_seen_fits_a_phone_and_asks_for_nothing(browser, killed_and_resumed):
    page = killed_and_resumed[0].page
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    troubles, requests = [], []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    videos = "[...document.querySelectorAll('video')]"
    assert tab.evaluate(f"{videos}.length") == 7 and tab.locator(".none").count() == 1
    first = tab.locator("video").first
    first.scroll_into_view_if_needed()
    wait_until(tab, f"{videos}[0].currentTime > 0")
    tab.get_by_role("button", name="Pause all").click()
    wait_until(tab, f"{videos}.every(v => v.paused)")
    tab.get_by_role("button", name="Half speed").click()
    assert tab.evaluate(f"{videos}.every(v => v.playbackRate === 0.5)")
    assert troubles == [] and [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    tab.close()
