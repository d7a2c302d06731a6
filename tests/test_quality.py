"""The tables of the benchmarks mark what misses a target, and skip what they cannot rank."""

import sys
from pathlib import Path

import pytest
from conftest import FPS, LINEAR, make_clip

from dtsgan import jobs, video

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import prediction
import quality


def cell(clip: str, **scores: float) -> quality.Cell:
    """An evaluation as it is kept, perfect but for `scores`."""
    values = {
        "motion_ratio": 1.0, "temporal_spectrum_distance": 1.0, "sliced_wasserstein_motion": 1.0,
        "sifid": 0.5, "fid_768": 0.5, "sigma_n_lpips": 0.2, "lpips_diversity": 0.3, "copy_score": 0.9,
    } | scores  # fmt: skip
    floors = dict.fromkeys(values, 1.0)
    return {
        "clip": clip, "preset": "fast", "trained": {"minutes": 12.3, "seed": 0}, "num_videos": 20,
        "machine": {"cpu": "a processor", "cores": 2, "torch": "2", "date": "2026-11-22"},
        "scores": values, "floors": {name: floors for name in ("unseen", "blurred", "shuffled")},
        "perfect": {"sigma_n_lpips": 0.2, "lpips_diversity": 0.3},
        "ranks": {"fid_768": {"blurred": True, "shuffled": False}},
    }  # fmt: skip


def row(table: list[str], name: str) -> list[str]:
    (line,) = (line for line in table if line.startswith(f"| {name} |"))
    return [part.strip() for part in line.strip("|").split("|")]


def column(name: str) -> int:
    return 1 + [target.name for target in quality.TARGETS].index(name)


def test_a_missed_target_is_bold_and_a_met_one_is_not():
    table = quality.markdown([cell("flag", motion_ratio=0.7), cell("sea", temporal_spectrum_distance=2.5)])
    assert row(table, "flag")[column("motion ratio")] == "**0.70**"
    assert row(table, "sea")[column("motion ratio")] == "1.00"
    assert row(table, "sea")[column("temporal spectrum / unseen")] == "**2.50**"
    assert "Every target is met." in quality.markdown([cell("flag")])


def test_the_median_is_marked_when_one_clip_is_worse_than_twice_it():
    good = [cell(name) for name in ("a", "b", "c")]
    bad = cell("d", temporal_spectrum_distance=2.1)
    at = column("temporal spectrum / unseen")
    assert row(quality.markdown(good), "**median**")[at] == "1.00"
    assert row(quality.markdown([*good, bad]), "**median**")[at] == "**1.00 ≫**"


def test_a_control_that_a_score_cannot_rank_is_no_target_and_neither_is_a_score_without_a_number():
    table = quality.markdown([cell("flag")])
    assert row(table, "flag")[column("FID-768 / shuffled")] == "–"
    assert row(table, "flag")[column("FID-768 / blurred")] == "0.50"
    without = cell("flag")
    without["scores"]["sifid"] = None
    assert row(quality.markdown([without]), "flag")[column("SIFID / blurred")] == "–"


def test_a_row_is_the_mean_over_seeds_and_each_seed_has_its_medians():
    cells = [cell(name, copy_score=score) for name, score in (("flag", 0.4), ("sea", 0.6))]
    other = [cell(name, copy_score=score) for name, score in (("flag", 0.7), ("sea", 0.9))]
    for one in other:
        one["trained"] = {"minutes": 14.3, "seed": 7}
    assert not any("seed" in line for line in quality.markdown(cells))
    table = quality.markdown([*cells, *other])
    assert any("mean of 2 seeds" in line for line in table)
    assert row(table, "flag")[column("copy score")] == "0.55"
    assert row(table, "flag")[column("minutes")] == "13.30"
    assert row(table, "**median**")[column("copy score")] == "0.65"
    assert row(table, "0")[column("copy score")] == "0.50"
    assert row(table, "7")[column("copy score")] == "0.80"
    del cells[0]["scores"]["sifid"]  # scored before there was another run
    assert row(quality.markdown([*cells, *other]), "flag")[column("SIFID / blurred")] == "0.50"


def test_runs_of_one_clip_share_its_floors_and_are_left_alone_the_second_time(tmp_path, monkeypatch, capsys):
    (tmp_path / "clips").mkdir()
    clip = tmp_path / "clips" / "brook.mkv"
    video.write_clip(clip, make_clip(40), FPS)
    for seed in (0, 1):
        run = tmp_path / "runs" / "preview" / str(seed) / "brook"
        list(jobs.train(clip, run, "preview", layout="anchored", seed=seed, settings=LINEAR))
    monkeypatch.setenv("DTSGAN_EVAL_DATA", str(tmp_path / "clips"))
    asked = ["quality.py", "--presets", "preview", "--seeds", "0", "1", "--num-videos", "2"]
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    scores = ["--scores", "motion_ratio", "copy_score"]
    monkeypatch.setattr(sys, "argv", [*asked, *folders, *scores])
    quality.main()
    table = capsys.readouterr().out.splitlines()
    kept = (tmp_path / "out" / "quality" / "brook.json").read_text()
    assert str(tmp_path) not in kept
    first, second = quality.read_cells(tmp_path / "out" / "quality")
    assert first["floors"] == second["floors"] and first["scores"] != second["scores"]
    assert (first["seeds"], second["seeds"]) == ([0, 1], [1000, 1001])
    values = [one["scores"]["motion_ratio"] for one in (first, second)]
    assert row(table, "brook")[column("motion ratio")].strip("*") == f"{sum(values) / 2:.2f}"
    quality.main()
    assert (tmp_path / "out" / "quality" / "brook.json").read_text() == kept
    monkeypatch.setattr(sys, "argv", [*asked, *folders, *scores, "diversity"])
    quality.main()
    more = quality.read_cells(tmp_path / "out" / "quality")
    assert all("diversity" in one["scores"] and "diversity" in one["floors"]["unseen"] for one in more)


def test_clips_that_are_too_short_are_left_out_unless_named(tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    for name in ("long", "short"):
        (tmp_path / "clips" / f"{name}.mp4").write_bytes(b"")
    (tmp_path / "manifest.json").write_text(
        '[{"name": "long", "n_frames": 90}, {"name": "short", "n_frames": 12}]'
    )
    monkeypatch.setenv("DTSGAN_EVAL_DATA", str(tmp_path))
    assert [path.stem for path in quality.clips(None)] == ["long"]
    assert [path.stem for path in quality.clips(["short"])] == ["short"]
    with pytest.raises(SystemExit, match=r"no clip named sea; there are long, short"):
        quality.clips(["sea"])
    monkeypatch.delenv("DTSGAN_EVAL_DATA")
    with pytest.raises(SystemExit, match="set DTSGAN_EVAL_DATA"):
        quality.clips(None)


def test_the_table_of_predictions_shows_medians_beside_their_floors():
    values = {
        "first frame, PSNR": {prediction.ENCODER: [99.0, 99.0]},
        "frames 2 to 5, PSNR": {prediction.ENCODER: [22.0, 20.0, 21.0], prediction.COPY: [20.5]},
        "motion ratio": {prediction.ENCODER: [0.9]},
        "jump": {prediction.ENCODER: [0.5]},
    }
    edit = {"seam ratio": {prediction.ANEW: [1.0], prediction.PASTED: [2.0]}}
    lines = prediction.markdown([{
        "clip": "flag", "preset": "fast", "starts": 3, "seeds": 1, "prediction": values, "edit": edit,
        "machine": {"cpu": "a processor", "cores": 2, "torch": "2", "date": "2026-11-22"},
    }])  # fmt: skip
    rows = [line for line in lines if line.startswith("| flag |")]
    assert rows[0] == "| flag | 99.00 | **0.50** | – | 0.50 | 0.90 | – |"
    assert rows[1].startswith("| flag | 21.00 | – | 20.50 |")
    assert rows[2].startswith("| flag | 1.00 | 2.00 | – |")
