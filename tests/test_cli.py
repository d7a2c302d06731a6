"""The command line from outside: what it prints, writes and exits with."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import FPS, KINDS, make_clip
from PIL import Image

from dtsgan import video
from dtsgan.cli import main
from dtsgan.model import DTSGAN
from dtsgan.video import read_clip


def tiny(kind: str, **changes: object) -> list[str]:
    """The options of a tiny training on the command line."""
    values, layout = KINDS[kind]
    options = ["--preset", "paper", "--size", "24", "--layout", layout, "--device", "cpu"]
    for key, value in {**values, "steps": (3, 2, 2), **changes}.items():
        options += ["--set", f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"]
    return options


@pytest.fixture(scope="module")
def runs(clip_file, tmp_path_factory) -> Path:
    """A folder with a finished run of each kind, made by the command."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        assert main(["train", str(clip_file), "--out", str(folder / kind), *tiny(kind)]) == 0
    return folder


@pytest.fixture(scope="module")
def no_weights(tmp_path_factory):
    """A folder without weights: nothing is downloaded, and evaluation is quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTSGAN_METRIC_WEIGHTS", str(tmp_path_factory.mktemp("no_weights")))
        yield


@pytest.fixture
def run(runs) -> str:
    return str(runs / "linear")


@pytest.fixture(scope="module")
def free_run(runs) -> str:
    return str(runs / "adversarial")


def answer(capsys) -> dict:
    """What stdout holds: one JSON object and nothing else."""
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    values = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(values, dict)
    return values


def complaint(capsys, command: list[str]) -> str:
    """The one line with which a command ends that the user can mend."""
    capsys.readouterr()
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("dtsgan: ") and "Traceback" not in err
    assert len(line) < 400
    return line


# -- train ---


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> str:
    """A few frames to be judged by, which is quick."""
    path = tmp_path_factory.mktemp("footage") / "few.mkv"
    video.write_clip(path, make_clip(10, seed=1), FPS)
    return str(path)


@pytest.mark.slow
def test_train_sample_evaluate_and_list_answer_with_one_json_object(clip_file, no_weights, tmp_path, capsys):
    folder = tmp_path / "runs" / "waves"
    assert main(["train", str(clip_file), "--out", str(folder), "--json", *tiny("linear")]) == 0
    trained = answer(capsys)
    assert trained["state"] == "done"
    assert (trained["run"], trained["model"]) == (str(folder), str(folder / "model"))

    out = tmp_path / "new.mkv"
    command = ["sample", str(folder), "--out", str(out), "--num-frames", "9", "--seed", "7", "--json"]
    assert main(command) == 0
    sampled = answer(capsys)
    assert sampled["files"] == [str(out)]
    assert [sampled[k] for k in ("num_frames", "fps", "seed", "height", "width")] == [9, FPS, 7, 24, 32]

    assert main(["evaluate", str(folder), "--num-videos", "2", "--json"]) == 0
    evaluated = answer(capsys)
    assert {"motion_ratio", "diversity"} <= set(evaluated["scores"])
    assert {"copy", "blurred", "noise", "shuffled"} <= set(evaluated["floors"])
    assert evaluated["floors"]["copy"]["motion_ratio"] == pytest.approx(1)

    assert main(["list", str(folder.parent), "--json"]) == 0
    assert answer(capsys)["runs"] == [{"run": str(folder), "state": "done", "has_model": True}]


def test_progress_goes_to_stderr(clip_file, tmp_path, capsys):
    main(["train", str(clip_file), "--out", str(tmp_path / "run"), *tiny("linear")])
    out, err = capsys.readouterr()
    assert out == ""
    assert "waves.mkv: 40 frames" in err and "100%" in err and "done in" in err


def test_the_update_the_seed_and_the_part_reach_the_run(clip_file, tmp_path):
    command = ["train", str(clip_file), "--out", str(tmp_path / "run"), *tiny("linear", update_stride=2)]
    assert main([*command, "--update", "single", "--seed", "5", "--start", "1", "--end", "3.5"]) == 0
    info = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (info["start"], info["end"]) == (1, 3.5)
    assert info["config"]["train"]["seed"] == 5
    assert info["config"]["train"]["update_stride"] == 2
    assert read_clip(tmp_path / "run" / "source.mkv")[0].shape[2] == 25


def test_a_run_is_resumed_by_its_folder(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "state.pt").unlink()  # as if killed before the first save
    assert main(["train", "--resume", str(tmp_path / "run"), "--json"]) == 0
    assert answer(capsys)["state"] == "done"
    resumed, before = (DTSGAN.from_pretrained(folder) for folder in (tmp_path / "run", run))
    assert torch.equal(resumed.sample(4), before.sample(4))


# -- sample ---


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webm", ".webp", ".mkv", ""])
def test_a_sample_of_every_kind_of_file_has_exactly_the_frames_asked_for(run, tmp_path, suffix):
    out = tmp_path / f"new{suffix}"
    assert main(["sample", run, "--out", str(out), "--num-frames", "13"]) == 0
    clip, facts = read_clip(out)
    assert clip.shape == (1, 3, 13, 24, 32)
    expected = DTSGAN.from_pretrained(run).sample(13)
    assert (clip - expected).abs().mean() < (0.01 if suffix in (".mkv", "") else 0.15)
    if suffix:  # a folder of frames states no rate
        assert facts.fps == pytest.approx(FPS, rel=0.01)


def test_seconds_are_frames_at_the_rate_of_the_file(run, tmp_path):
    assert main(["sample", run, "--out", str(tmp_path / "a.mkv"), "--seconds", "1.5"]) == 0
    assert main(["sample", run, "--out", str(tmp_path / "b.mkv"), "--seconds", "0.5", "--fps", "30"]) == 0
    for name, count, fps in (("a", 15, FPS), ("b", 15, 30)):
        clip, facts = read_clip(tmp_path / f"{name}.mkv")
        assert (clip.shape[2], facts.fps) == (count, fps)


def test_a_sample_lasts_five_seconds_when_nothing_is_said(run, tmp_path):
    assert main(["sample", run, "--out", str(tmp_path / "a.mkv")]) == 0
    assert read_clip(tmp_path / "a.mkv")[0].shape[2] == round(5 * FPS)


@pytest.mark.parametrize("suffix", [".mkv", ""])
def test_many_videos_are_named_by_their_seeds(run, tmp_path, suffix, capsys):
    command = ["sample", run, "--out", str(tmp_path / f"new{suffix}"), "--num-frames", "4", "--seed", "9"]
    assert main([*command, "--num-videos", "3", "--json"]) == 0
    names = [f"new_{seed}{suffix}" for seed in (9, 10, 11)]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert answer(capsys)["files"] == [str(tmp_path / name) for name in names]
    model = DTSGAN.from_pretrained(run)
    for seed, name in zip((9, 10, 11), names, strict=True):
        torch.testing.assert_close(
            read_clip(tmp_path / name)[0], model.sample(4, seed=seed), rtol=0, atol=1.01 / 255
        )


def test_the_options_of_a_sample_reach_the_video(free_run, tmp_path):
    options = [
        "--num-frames",
        "14",
        "--loop",
        "--height",
        "24",
        "--width",
        "30",
        "--tile",
        "xy",
        "--speed",
        "0.5",
    ]
    options += ["--diversity", "0.8", "--start-frame", "5", "--seed", "3"]
    assert main(["sample", free_run, "--out", str(tmp_path / "new.mkv"), *options]) == 0
    expected = DTSGAN.from_pretrained(free_run).sample(
        14, 24, 30, 3, start_frame=5, loop=True, tile="xy", speed=0.5, diversity=0.8
    )
    clip, _ = read_clip(tmp_path / "new.mkv")
    torch.testing.assert_close(clip, expected, rtol=0, atol=1.01 / 255)


def test_a_loop_in_a_file_closes(run, tmp_path):
    assert main(["sample", run, "--out", str(tmp_path / "loop.mkv"), "--num-frames", "30", "--loop"]) == 0
    clip, _ = read_clip(tmp_path / "loop.mkv")
    steps = (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean((0, 1, 3, 4))
    assert (clip[:, :, 0] - clip[:, :, -1]).abs().mean() < 1.5 * steps.mean()


def test_a_sample_is_written_anew_over_an_old_one(run, tmp_path):
    for count in ("3", "5"):
        assert main(["sample", run, "--out", str(tmp_path / "new.mkv"), "--num-frames", count]) == 0
    assert read_clip(tmp_path / "new.mkv")[0].shape[2] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["new.mkv"]


# -- evaluate and list ---


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.new("RGB", (90, 40), (250, 250, 250)).save(path)
    return str(path)


def test_a_picture_becomes_a_video_that_begins_with_it(run, photo, tmp_path, capsys):
    out = tmp_path / "future.mkv"
    command = ["predict", run, photo, "--out", str(out), "--num-frames", "9", "--seed", "3", "--json"]
    assert main(command) == 0
    said = capsys.readouterr()
    values = json.loads(said.out)
    assert [values[k] for k in ("file", "num_frames", "seed", "height", "width")] == [str(out), 9, 3, 24, 32]
    assert "is made 32x24, its middle cut out" in said.err
    assert "as far from the texture" in said.err and values["distance"] > 4
    future, _ = read_clip(out)
    assert future.shape == (1, 3, 9, 24, 32)
    wanted = torch.tensor([250, 250, 250]) / 127.5 - 1
    torch.testing.assert_close(future[0, :, 0], wanted.view(3, 1, 1).expand(3, 24, 32), rtol=0, atol=0.02)


def test_a_frame_of_a_video_is_a_picture_when_named(run, clip_file, tmp_path, capsys):
    out = str(tmp_path / "future.mkv")
    assert "--frame" in complaint(capsys, ["predict", run, str(clip_file), "--out", out])
    assert "0 to 39" in complaint(capsys, ["predict", run, str(clip_file), "--out", out, "--frame", "40"])
    assert (
        main(["predict", run, str(clip_file), "--frame", "30", "--out", out, "--num-frames", "12", "--loop"])
        == 0
    )
    begun, real = read_clip(out)[0], read_clip(clip_file)[0]
    torch.testing.assert_close(begun[:, :, 0], real[:, :, 30], rtol=0, atol=0.02)


def test_a_transparent_picture_is_taken_on_black_and_said_so(run, tmp_path, capsys):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (32, 24), (200, 10, 10, 128)).save(path)
    assert main(["predict", run, str(path), "--out", str(tmp_path / "a.mkv"), "--num-frames", "2"]) == 0
    assert "taken as black" in capsys.readouterr().err


def test_a_texture_that_cannot_predict_says_what_to_do(free_run, photo, tmp_path, capsys):
    out = str(tmp_path / "future.mkv")
    assert "--with-prediction" in complaint(capsys, ["predict", free_run, photo, "--out", out])
    assert not Path(out).exists()


def test_prediction_is_added_to_a_run_on_the_command_line(runs, photo, tmp_path, capsys):
    folder = str(tmp_path / "run")
    shutil.copytree(runs / "adversarial", folder)
    quick = ["--set", "encoder.steps=2", "--set", "encoder.features=4"]
    assert main(["train", "--resume", folder, "--with-prediction", *quick, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "prediction"
    assert main(["predict", folder, photo, "--out", str(tmp_path / "a.gif"), "--num-frames", "4"]) == 0


def test_evaluate_prints_each_score_beside_its_floors(run, footage, no_weights, capsys):
    assert main(["evaluate", run, "--reference", footage, "--num-videos", "1"]) == 0
    out, err = capsys.readouterr()
    table = out.splitlines()
    assert table[0].startswith("1 video of 10 frames")
    assert {"model", "copy", "noise"} <= set(table[2].split())
    assert {line.split()[0] for line in table[3:] if line} >= {"motion_ratio", "sliced_wasserstein"}
    assert "fid_64" in out and "has no fid_inception" in out
    assert "100%" in err or "seams" in err
    assert "--report DIR" in err


def test_evaluate_writes_a_report_where_it_is_told_and_only_there(run, footage, no_weights, tmp_path, capsys):
    command = ["evaluate", run, "--reference", footage, "--num-videos", "1", "--json"]
    assert main([*command, "--report", str(tmp_path / "report")]) == 0
    evaluated = answer(capsys)
    assert evaluated["report"] == str(tmp_path / "report" / "index.html")
    stored = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert stored == {key: value for key, value in evaluated.items() if key != "report"}
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["evaluation.json", "index.html"]


def test_a_report_replaces_no_page_that_is_none(run, footage, no_weights, tmp_path, capsys):
    (tmp_path / "index.html").write_text("mine")
    line = complaint(capsys, ["evaluate", run, "--reference", footage, "--report", str(tmp_path)])
    assert "no report" in line and (tmp_path / "index.html").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert "it is a file" in complaint(capsys, ["evaluate", run, "--report", str(tmp_path / "file")])


def test_weights_that_are_not_there_are_one_line(run, footage, tmp_path, capsys):
    command = ["evaluate", run, "--reference", footage, "--metric-weights", str(tmp_path / "nowhere")]
    assert "nowhere" in complaint(capsys, command)


def test_an_evaluation_that_is_interrupted_says_so(run, footage, no_weights, monkeypatch, capsys):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dtsgan.evaluate.controls", interrupt)
    assert main(["evaluate", run, "--reference", footage]) == 130
    out, err = capsys.readouterr()
    assert out == "" and "interrupted" in err


def test_evaluate_takes_other_footage(run, footage, no_weights, capsys):
    assert main(["evaluate", run, "--reference", footage, "--num-videos", "1", "--json"]) == 0
    evaluated = answer(capsys)
    assert (evaluated["num_frames"], evaluated["num_videos"]) == (10, 1)
    assert evaluated["scores"]["diversity"] is None  # of one video there is none
    assert "at least 2 samples" in evaluated["unavailable"]["diversity"]


def test_list_names_every_run_and_its_state(runs, tmp_path, capsys):
    assert main(["list", str(runs)]) == 0
    out = capsys.readouterr().out
    assert f"{runs / 'adversarial'}" in out and f"{runs / 'linear'}" in out and out.count("done") == 2
    assert main(["list", str(tmp_path), "--json"]) == 0
    assert answer(capsys)["runs"] == []


def test_one_damaged_run_does_not_hide_the_others(runs, tmp_path, capsys):
    shutil.copytree(runs / "linear", tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "status.json").write_text("{")
    assert main(["list", str(tmp_path), "--json"]) == 0
    assert str(tmp_path / "good") in [item["run"] for item in answer(capsys)["runs"]]


# -- what is refused ---


def test_a_missing_video_is_one_line(tmp_path, capsys):
    line = complaint(capsys, ["train", str(tmp_path / "nothing.mp4"), "--out", str(tmp_path / "run")])
    assert "nothing.mp4" in line
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_video_is_one_line(tmp_path, capsys):
    (tmp_path / "notes.mp4").write_text("not a video")
    assert "notes.mp4" in complaint(
        capsys, ["train", str(tmp_path / "notes.mp4"), "--out", str(tmp_path / "run")]
    )


def test_an_unknown_preset_suggests_the_nearest(clip_file, tmp_path, capsys):
    command = ["train", str(clip_file), "--out", str(tmp_path / "run"), "--preset", "papr"]
    assert 'did you mean "paper"?' in complaint(capsys, command)


@pytest.mark.parametrize(
    "setting, said",
    [
        ("lr_gg=1", 'did you mean "lr_g"?'), ("model.lr_g=1", "model.lr_g"), ("lr_g", "KEY=VALUE"),
        ("lr_g=fast", "lr_g takes a float"), ("steps=1.5", "steps takes a int"),
        ("lr_g=-1", "between 0 and 10"),
        ("update=neighbor", 'did you mean "neighbour"?'), ("whiten=maybe", "true or false"),
        ("steps=", "steps"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_one_line(clip_file, tmp_path, capsys, setting, said):
    command = ["train", str(clip_file), "--out", str(tmp_path / "run"), "--set", setting]
    assert said in complaint(capsys, command)


def test_a_folder_that_cannot_be_written_is_one_line(run, clip_file, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "new.mkv")
    assert str(tmp_path / "file") in complaint(capsys, ["sample", run, "--out", out, "--num-frames", "3"])
    assert "--out" in complaint(capsys, ["train", str(clip_file), "--out", out, *tiny("linear")])


def test_a_runs_folder_is_not_overwritten(run, clip_file, capsys):
    assert "--resume" in complaint(capsys, ["train", str(clip_file), "--out", run, *tiny("linear")])


@pytest.mark.parametrize(
    "options, said",
    [
        (["--num-frames", "0"], "num_frames"), (["--num-frames", "-4"], "num_frames"),
        (["--seconds", "0"], "seconds"),
        (["--seconds", "nan"], "seconds"), (["--seconds", "inf"], "seconds"),
        (["--seconds", "-1"], "seconds"),
        (["--fps", "0"], "fps"), (["--fps", "-5"], "fps"), (["--fps", "nan"], "fps"),
        (["--speed", "9"], "speed"),
        (["--diversity", "3"], "diversity"), (["--seed", "-1"], "seed"),
        (["--num-videos", "0"], "num_videos"),
        (["--height", "60"], "anchored"), (["--tile", "x"], "anchored"),
        (["--num-frames", "1", "--loop"], "loop"),
        (["--start-frame", "-1"], "start_frame"), (["--height", "0"], "height"),
        (["--width", "-20"], "height"),
    ],
)  # fmt: skip
def test_a_sample_out_of_range_is_one_line_and_writes_nothing(run, tmp_path, capsys, options, said):
    line = complaint(capsys, ["sample", run, "--out", str(tmp_path / "new.mkv"), *options])
    assert said in line
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["new.txt", "new.mp3"])
def test_a_file_of_an_unknown_kind_is_one_line(run, tmp_path, capsys, name):
    assert "mp4" in complaint(capsys, ["sample", run, "--out", str(tmp_path / name), "--num-frames", "2"])


def test_a_folder_with_other_things_in_it_is_not_taken_for_frames(run, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("all of it")
    complaint(capsys, ["sample", run, "--out", str(tmp_path), "--num-frames", "2"])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_model_that_is_not_there_is_one_line(tmp_path, capsys):
    assert "nothing" in complaint(
        capsys, ["sample", str(tmp_path / "nothing"), "--out", str(tmp_path / "a.mp4")]
    )
    assert "nothing" in complaint(capsys, ["evaluate", str(tmp_path / "nothing")])
    assert "nothing" in complaint(capsys, ["train", "--resume", str(tmp_path / "nothing")])


def test_a_reference_too_short_to_be_judged_by_is_one_line(run, tmp_path, capsys):
    video.write_clip(tmp_path / "short.mkv", make_clip(2), FPS)
    complaint(capsys, ["evaluate", run, "--reference", str(tmp_path / "short.mkv"), "--num-videos", "1"])


def test_an_error_is_a_json_object_too_when_asked_for(tmp_path, capsys):
    assert main(["sample", str(tmp_path / "nothing"), "--out", "a.mp4", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing" in json.loads(err)["error"]


@pytest.mark.parametrize(
    "command",
    [
        [], ["paint"], ["sample"], ["sample", "model"], ["train", "a.mp4", "--layout", "sideways"],
        ["sample", "m", "--out", "a", "--num-frames", "x"], ["sample", "m", "--out", "a", "--tile", "z"],
        ["sample", "m", "--out", "a", "--num-frames", "3", "--seconds", "1"], ["list", "--nonsense"],
        ["train"], ["train", "a.mp4"], ["train", "a.mp4", "--resume", "run"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(command, capsys):
    try:
        code = main(command)
    except SystemExit as leaving:
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == "" and "Traceback" not in err and err


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["train", "--help"], ["sample", "--help"]])
def test_help_is_given_on_stdout(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(command)
    assert leaving.value.code == 0
    assert "dtsgan" in capsys.readouterr().out


# -- as a process ---


def command_line(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dtsgan", *command], capture_output=True, text=True, cwd=cwd, timeout=110
    )


@pytest.mark.slow
def test_a_process_trains_samples_and_complains_as_the_function_does(clip_file, runs, tmp_path):
    good = command_line("train", str(clip_file), "--out", "run", "--json", *tiny("linear"), cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["state"] == "done"
    trained, here = (DTSGAN.from_pretrained(folder) for folder in (tmp_path / "run", runs / "linear"))
    assert torch.equal(trained.sample(4), here.sample(4))

    bad = command_line("sample", "nothing", "--out", "new.mp4", cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("dtsgan: ") and bad.stderr.count("\n") == 1

    assert command_line("sample", cwd=tmp_path).returncode == 2
