"""A run is a folder: started, stopped, killed, found again."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FPS, KINDS, make_clip

from dtsgan import jobs, losses, noise, trainer, video
from dtsgan.errors import ConfigError, DTSGANError, RunError, TrainingDivergedError, VideoError
from dtsgan.jobs import Run
from dtsgan.model import DTSGAN
from dtsgan.video import read_clip


def start(
    path: Path,
    out: Path,
    kind: str = "linear",
    budget: float | None = None,
    with_prediction: bool = False,
    **changes: Any,
) -> Run:
    values, layout = KINDS[kind]
    return jobs.train(
        path,
        out,
        "paper",
        size=24,
        layout=layout,
        device="cpu",
        budget=budget,
        settings={**values, **changes},
        with_prediction=with_prediction,
    )


def weights(run: Path | Run) -> dict[str, torch.Tensor]:
    folder = run.folder.path if isinstance(run, Run) else run
    return DTSGAN.from_pretrained(folder).pyramid.state_dict()


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def status(run: Run) -> dict[str, Any]:
    return json.loads(run.folder.status.read_text())


def sentence(error: BaseException) -> str:
    assert "\n" not in str(error) and 10 < len(str(error)) < 400
    return str(error)


@pytest.fixture(scope="module")
def finished(clip_file, tmp_path_factory) -> dict[str, Run]:
    """An unbroken run of each kind."""
    runs = {}
    for kind in KINDS:
        runs[kind] = start(clip_file, tmp_path_factory.mktemp("runs") / kind, kind)
        list(runs[kind])
    return runs


@pytest.fixture
def stopped(clip_file, tmp_path) -> Path:
    """The folder of a run that was stopped within scale 1."""
    run = start(clip_file, tmp_path / "stopped")
    steps = iter(run)
    list(itertools.islice(steps, 4))
    steps.close()
    return run.folder.path


def test_a_run_stopped_within_the_closed_form_fit_ends_as_an_unbroken_one(clip_file, tmp_path):
    def begin(name: str) -> Run:
        settings = {**KINDS["linear"][0], "num_scales": 1, "min_size": 24, "max_size": 24, "steps": (0,)}
        return jobs.train(
            clip_file, tmp_path / name, "paper", size=40, layout="anchored", device="cpu", settings=settings
        )

    whole, broken = begin("whole"), begin("broken")
    list(whole)
    steps = iter(broken)
    assert 0 < next(steps).work_done < 1
    steps.close()
    assert status(broken)["state"] == "stopped"
    list(Run.resume(broken.folder.path))
    assert_equal(weights(whole), weights(broken))


# -- prediction ---


QUICK = {"encoder.steps": 3, "encoder.features": 4, "encoder.crop": 12}


@pytest.fixture(scope="module")
def predicting(clip_file, tmp_path_factory) -> Run:
    """An unbroken run with prediction."""
    run = start(clip_file, tmp_path_factory.mktemp("runs") / "predicting", with_prediction=True, **QUICK)
    list(run)
    return run


def encoder_weights(folder: Path) -> dict[str, torch.Tensor]:
    encoder = DTSGAN.from_pretrained(folder).encoder
    assert encoder is not None
    return encoder.state_dict()


def test_a_run_with_prediction_leaves_a_model_that_predicts(predicting, clip_file):
    folder = predicting.folder
    values = status(predicting)
    assert (values["state"], values["work_done"], values["stage"]) == ("done", 1, "prediction")
    model = DTSGAN.from_pretrained(folder.path)
    assert model.has_encoder
    assert model.record["prediction"]["steps"] == 3
    assert read_clip(folder.prediction_preview)[0].shape[2] > 10
    assert read_clip(folder.model / "prediction.webp")[0].shape[4] == 3 * model.size[1] + 2 * 4
    assert "(prediction.webp)" in (folder.model / "README.md").read_text()
    stages = [json.loads(line)["stage"] for line in folder.progress.read_text().splitlines()]
    assert stages == sorted(stages, reverse=True)


def test_a_run_of_one_scale_in_closed_form_is_done_at_once_and_predicts(clip_file, tmp_path):
    run = start(
        clip_file, tmp_path / "run", with_prediction=True, num_scales=1, min_size=24, steps=(0,), **QUICK
    )
    assert [(p.stage, p.work_done) for p in run][-1] == ("prediction", 1)
    assert status(run)["state"] == "done" and (run.folder.model / "preview.mp4").exists()
    assert [*Run.resume(run.folder.path)] == []
    model = DTSGAN.from_pretrained(run.folder.path)
    picture = run.source_clip[0, :, 3]
    future = model.predict(picture, 12)
    assert (future[0, :, 0] - picture).abs().mean() < 0.02
    assert len([*model.chunks(20, loop=True)]) > 1
    with pytest.raises(ConfigError, match="one size only"):
        model.edit(run.source_clip, torch.ones(run.source_clip.shape[3:]))


@pytest.mark.parametrize("number", [3, 18, 21])
def test_a_run_with_prediction_stopped_anywhere_ends_as_an_unbroken_one(
    predicting, clip_file, tmp_path, number
):
    run = start(clip_file, tmp_path / "run", with_prediction=True, **QUICK)
    steps = iter(run)
    list(itertools.islice(steps, number))
    steps.close()
    assert status(run)["state"] == "stopped"
    again = Run.resume(run.folder.path)
    list(again)
    assert_equal(weights(again), weights(predicting))
    assert_equal(encoder_weights(run.folder.path), encoder_weights(predicting.folder.path))


def test_prediction_is_learned_on_top_of_a_finished_run(predicting, finished, tmp_path):
    folder = tmp_path / "later"
    shutil.copytree(finished["linear"].folder.path, folder)
    run = Run.resume(folder, with_prediction=True, settings=QUICK)
    before = weights(folder)
    assert {p.stage for p in run} == {"prediction"}
    assert_equal(weights(folder), before)
    assert_equal(encoder_weights(folder), encoder_weights(predicting.folder.path))
    assert list(Run.resume(folder)) == []  # and it is done


def test_an_encoder_in_the_making_keeps_its_settings(predicting, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(predicting.folder.path, folder)
    with pytest.raises(RunError, match="other settings"):
        Run.resume(folder, with_prediction=True, settings={"encoder.form": "paper"})
    with pytest.raises(ConfigError, match="only those of the encoder"):
        Run.resume(folder, with_prediction=True, settings={"lr_g": 1})
    with pytest.raises(ConfigError, match="did you mean"):
        Run.resume(folder, with_prediction=True, settings={"encoder.from": "paper"})
    (folder / "encoder_state.pt").write_bytes(b"damaged")
    with pytest.raises(RunError, match="damaged"):
        Run.resume(folder)


# -- what a run leaves ---


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_finished_run_holds_all_that_its_folder_promises(finished, kind):
    folder = finished[kind].folder
    values = status(finished[kind])
    assert values["state"] == "done"
    assert (values["work_done"], values["error"], values["scale"]) == (1, None, 2)
    assert values["pid"] == os.getpid()
    lines = [json.loads(line) for line in folder.progress.read_text().splitlines()]
    assert lines and {"seconds", "scale", "step"} <= set(lines[0])
    for scale in range(3):
        preview, _ = read_clip(folder.preview(scale))
        assert preview.shape[2] == min(40, round(3 * FPS))
    assert folder.state.exists()
    files = {p.name for p in folder.path.iterdir()}
    assert {"config.json", "status.json", "progress.jsonl", "state.pt", "source.mkv", "model"} <= files
    assert not [name for name in files if "partial" in name]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_model_of_a_finished_run_has_its_card_and_previews(finished, kind):
    folder = finished[kind].folder.model
    card = (folder / "README.md").read_text()
    assert "waves.mkv" in card and "preview.webp" in card and "dtsgan train waves.mkv" in card
    assert read_clip(folder / "preview.webp")[0].shape[3:] == (24, 32)
    assert read_clip(folder / "preview.mp4")[0].shape[4] == 2 * 32 + 4


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_model_folder_of_a_run_is_the_model_of_the_run(finished, kind):
    run = finished[kind]
    loaded = DTSGAN.from_pretrained(run.folder.model)
    assert torch.equal(loaded.sample(6, seed=3), run.model.sample(6, seed=3))
    assert loaded.fps == FPS
    assert loaded.layout == KINDS[kind][1]
    assert loaded.record["video"] == "waves.mkv"
    assert len(loaded.record["video_sha256"]) == 64
    assert loaded.record["config"]["pyramid"]["min_size"] == 16


def test_the_source_is_kept_as_it_was_learned(finished, clip_file):
    run = finished["linear"]
    kept, facts = read_clip(run.folder.source)
    torch.testing.assert_close(kept, read_clip(clip_file, size=24)[0], rtol=0, atol=1.01 / 255)
    assert facts.fps == FPS


def test_a_part_of_the_video_is_learned_when_asked_for(clip_file, tmp_path):
    run = jobs.train(
        clip_file, tmp_path / "run", "paper", start=1.0, end=3.0, size=24, layout="anchored", device="cpu",
        settings=KINDS["linear"][0],
    )  # fmt: skip
    torch.testing.assert_close(
        run.source_clip, read_clip(clip_file, start=1.0, end=3.0, size=24)[0], rtol=0, atol=1.01 / 255
    )
    assert run.source_clip.shape[2] == 20


def test_no_model_is_drawn_before_the_first_scale_is_finished(clip_file, tmp_path):
    run = start(clip_file, tmp_path / "run", "adversarial")
    next(iter(run))
    with pytest.raises(RunError, match="no scale is finished"):
        _ = run.model


def test_a_model_can_be_drawn_from_the_first_finished_scale_on(clip_file, tmp_path):
    run = start(clip_file, tmp_path / "run", "adversarial", steps=(2, 2, 2))
    heights = []
    for progress in run:
        if progress.step == 2:
            heights.append(DTSGAN.from_pretrained(run.folder.path).sample(2).shape[3])
            assert run.model.size[0] == heights[-1]
    assert heights == [16, 20, 24]


def test_a_ladder_that_begins_below_16_pixels_is_trained_to_its_end(clip_file, tmp_path):
    run = start(clip_file, tmp_path / "run", min_size=9, steps=(0, 1, 1))
    list(run)
    assert status(run)["state"] == "done"
    assert read_clip(run.folder.preview(0))[0].shape[3] == 9


def test_the_layout_is_measured_where_none_is_given(tmp_path):
    rng = torch.Generator().manual_seed(0)
    texture = torch.randn(1, 3, 60, 50, 60, generator=rng)
    texture = torch.nn.functional.avg_pool3d(texture, (1, 5, 5), 1, (0, 2, 2)).clamp(-1, 1)
    scene = texture * torch.linspace(0, 1, 60)
    found = []
    for name, clip in (("texture", texture), ("scene", scene)):
        video.write_clip(tmp_path / f"{name}.mkv", clip, FPS)
        values = {**KINDS["adversarial"][0], "steps": (1,)}
        run = jobs.train(
            tmp_path / f"{name}.mkv", tmp_path / name, "paper", size=24, device="cpu", settings=values
        )
        found.append(run.training.config.model.layout)
    assert found == ["free", "anchored"]


def test_how_patches_last_fade_and_match_follows_from_the_clip(tmp_path):
    t, y, x = torch.meshgrid(torch.arange(60), torch.arange(32), torch.arange(32), indexing="ij")
    made = []
    for speed in (1.2, 0.05):
        clip = torch.sin(0.6 * x + 0.3 * y - speed * t).expand(1, 3, -1, -1, -1) * 0.01 * (y + 20)
        video.write_clip(tmp_path / "clip.mkv", clip.clamp(-1, 1), FPS)
        for settings in (
            {}, {"patch_stride": 4}, {"guided_fades": "true"}, {"model.guided_fades": "false"},
            {"matched_seams": "true"}, {"model.matched_seams": "false"}, {"patch_agreement": "false"},
        ):  # fmt: skip
            path = tmp_path / f"{len(made)}"
            run = jobs.train(
                tmp_path / "clip.mkv", path, "fast", layout="anchored", size=32, settings=settings
            )
            model = run.training.config.model
            made.append((model.patch_stride, model.guided_fades, model.agreement))
    quick, slow = made[:7], made[7:]
    assert quick == [
        (2, True, "moments"), (4, False, "moments"), (2, True, "moments"), (2, False, "moments"),
        (2, True, "looks"), (2, True, "moments"), (2, True, "none"),
    ]  # fmt: skip
    assert slow == [
        (8, False, "moments"), (4, False, "moments"), (8, True, "moments"), (8, False, "moments"),
        (8, False, "looks"), (8, False, "moments"), (8, False, "none"),
    ]  # fmt: skip


def test_seams_are_matched_and_fades_aligned_where_outlines_sweep_over_the_scene(tmp_path):
    t, y, x = torch.meshgrid(torch.arange(60), torch.arange(32), torch.arange(32), indexing="ij")
    edge, crawling = 16 + 6 * torch.sin(0.25 * t), 10 + 0.15 * t
    lamp = ((t % 8 == 0) & (x > 20) & (y > 20)) * 1.6 - 0.8
    found = []
    for clip in (
        torch.sign(edge - x) * 0.8, torch.sin(0.3 * (edge - x)) * 0.8, torch.sign(crawling - x) * 0.8, lamp,
    ):  # fmt: skip
        video.write_clip(tmp_path / "clip.mkv", clip.expand(1, 3, -1, -1, -1), FPS)
        run = jobs.train(
            tmp_path / "clip.mkv", tmp_path / f"{len(found)}", "fast", layout="anchored", size=32,
            settings={"patch_stride": 4},
        )  # fmt: skip
        model = run.training.config.model
        found.append((model.matched_seams, model.guided_fades, model.aligned_fades))
    assert found == [(True,) * 3, *[(False,) * 3] * 3]


def test_a_run_is_described_in_one_line(finished):
    line = finished["linear"].describe()
    assert "\n" not in line
    assert "waves.mkv" in line and "40 frames of 32x24" in line and "minutes" in line and "GB" in line


# -- stopped and resumed ---


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("number", [1, 6, 11])
def test_a_run_stopped_and_resumed_ends_as_an_unbroken_one(finished, clip_file, tmp_path, kind, number):
    run = start(clip_file, tmp_path / "run", kind)
    steps = iter(run)
    list(itertools.islice(steps, number))
    steps.close()
    assert status(run)["state"] == "stopped"
    resumed = Run.resume(tmp_path / "run")
    list(resumed)
    assert status(resumed)["state"] == "done"
    assert_equal(weights(resumed), weights(finished[kind]))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_run_stopped_at_the_end_of_every_scale_ends_as_an_unbroken_one(finished, clip_file, tmp_path, kind):
    run = start(clip_file, tmp_path / "run", kind)
    while not run.training.is_finished:
        steps = iter(run)
        for progress in steps:
            if progress.step == progress.num_steps:
                break
        steps.close()
        run = Run.resume(tmp_path / "run")
    list(run)
    assert_equal(weights(run), weights(finished[kind]))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("call", [1, 4, 9])
def test_a_run_interrupted_within_a_step_ends_as_an_unbroken_one(
    finished, clip_file, tmp_path, monkeypatch, kind, call
):
    """Ctrl-C comes when it wants: here after the half of a step."""
    run, calls, real = start(clip_file, tmp_path / "run", kind), itertools.count(), losses.adversarial

    def interrupted(scores: torch.Tensor) -> torch.Tensor:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(scores)

    monkeypatch.setattr(losses, "adversarial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert status(run)["state"] == "stopped"
    resumed = Run.resume(tmp_path / "run")
    list(resumed)
    assert_equal(weights(resumed), weights(finished[kind]))


@pytest.mark.parametrize("scale", [0, 2])
def test_a_run_interrupted_at_the_close_of_a_scale_ends_as_an_unbroken_one(
    finished, clip_file, tmp_path, monkeypatch, scale
):
    """Here while the statistics of the batch norms are taken anew."""
    run, real, pending = start(clip_file, tmp_path / "run", "adversarial"), noise.step_generator, [True]

    def interrupted(seed: int, at: int, step: int) -> torch.Generator:
        if (at, step) == (scale, -3) and pending:
            pending.clear()
            raise KeyboardInterrupt
        return real(seed, at, step)

    monkeypatch.setattr(noise, "step_generator", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    resumed = Run.resume(tmp_path / "run")
    list(resumed)
    assert_equal(weights(resumed), weights(finished["adversarial"]))


def test_a_run_stopped_just_before_its_end_is_done_when_resumed(clip_file, tmp_path):
    """The last step is trained, but the generator is closed before it can say so."""
    run = start(clip_file, tmp_path / "run", steps=(0, 2, 2))
    steps = iter(run)
    list(itertools.islice(steps, 5))
    steps.close()
    resumed = Run.resume(tmp_path / "run")
    list(resumed)
    assert status(resumed)["state"] == "done"
    assert (resumed.folder.model / "preview.mp4").exists()


def test_a_finished_run_resumed_stays_as_it_is(finished, clip_file, tmp_path):
    shutil.copytree(finished["linear"].folder.path, tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    run = Run.resume(tmp_path / "run")
    assert list(run) == []
    assert run.model.size == (24, 32)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_resumed_run_goes_on_counting_its_seconds(stopped):
    (stopped / "status.json").write_text(json.dumps({"state": "stopped", "seconds": 100.0}))
    run = Run.resume(stopped)
    list(run)
    assert 100 < status(run)["seconds"] < 160


def test_a_run_can_be_resumed_from_another_place(stopped, finished, clip_file, tmp_path):
    stopped.rename(tmp_path / "moved")
    run = Run.resume(tmp_path / "moved")
    list(run)
    assert_equal(weights(run), weights(finished["linear"]))


def test_the_steps_of_a_budget_are_kept_across_a_resume(clip_file, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: 0.005 * next(ticks))  # of each step
    run = start(clip_file, tmp_path / "run", budget=0.3 / 60)
    steps = iter(run)
    for progress in steps:
        if progress.scale == 1 and progress.step == 12:
            break
    steps.close()
    settled = progress.num_steps
    assert 12 < settled < 48
    resumed = Run.resume(tmp_path / "run")
    assert resumed.info["budget"] == 0.3 / 60
    assert {p.num_steps for p in resumed if p.scale == 1} == {settled}
    assert sum(resumed.training.steps[1:]) == pytest.approx(0.3 / 0.005, rel=0.15)


# -- killed ---

# as `python -m dtsgan ...`, saving more often than every few seconds
CHILD = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from dtsgan import jobs
jobs.SAVE_SECONDS = jobs.STATUS_SECONDS = 0.05
sys.argv[0] = "dtsgan"
runpy.run_module("dtsgan", run_name="__main__", alter_sys=True)
"""
STEPS = (0, 150, 100)


def train_in_a_child(path: Path, out: Path, kind: str, **changes: Any) -> subprocess.Popen[str]:
    values, layout = KINDS[kind]
    command = [sys.executable, "-c", CHILD, "train", str(path), "--out", str(out), "--preset", "paper"]
    command += ["--size", "24", "--layout", layout, "--device", "cpu"]
    for key, value in {**values, **changes}.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        command += ["--set", f"{key}={text}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_steps(child: subprocess.Popen[str], out: Path, scale: int = 1) -> None:
    """Until the run's status shows steps of `scale`, and a state is saved."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        assert child.poll() is None, child.communicate()[1]
        if (out / "status.json").exists() and (out / "state.pt").exists():
            values = json.loads((out / "status.json").read_text())
            if values["step"] > 0 and values["scale"] >= scale:
                return
        time.sleep(0.02)
    raise AssertionError("the run did not start")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_and_resumed_ends_as_an_unbroken_one(clip_file, tmp_path):
    changes = {"steps": STEPS, "adversary": ("hinge",)}
    unbroken = start(clip_file, tmp_path / "unbroken", "linear", **changes)
    began = time.monotonic()
    list(unbroken)
    seconds = time.monotonic() - began
    child = train_in_a_child(clip_file, tmp_path / "killed", "linear", **changes)
    wait_for_steps(child, tmp_path / "killed")
    time.sleep(random.uniform(0, 0.5 * seconds))
    child.kill()
    child.wait()
    values = json.loads((tmp_path / "killed" / "status.json").read_text())
    assert values["state"] == "running"  # it had no time to say otherwise
    resumed = Run.resume(tmp_path / "killed")
    assert 0 < resumed.training.finished_scales < 3
    list(resumed)
    assert_equal(weights(resumed), weights(unbroken))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_exits_with_130(clip_file, tmp_path, number):
    out = tmp_path / "run"
    child = train_in_a_child(clip_file, out, "linear", steps=(0, 100_000, 1))
    wait_for_steps(child, out)
    child.send_signal(number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert f"dtsgan train --resume {out}" in errors
    values = json.loads((out / "status.json").read_text())
    assert values["state"] == "stopped"
    resumed = Run.resume(out)
    assert resumed.training.scale == 1
    assert resumed.training.step > 0


# -- what is refused ---


def test_a_runs_folder_is_never_overwritten(stopped, clip_file):
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"holds a run already.*--resume") as caught:
        start(clip_file, stopped)
    sentence(caught.value)
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def test_a_folder_with_other_things_in_it_is_not_taken(clip_file, tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(RunError, match="not an empty folder"):
        start(clip_file, tmp_path)
    with pytest.raises(RunError, match="not an empty folder"):
        start(clip_file, tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(clip_file, tmp_path):
    start(clip_file, tmp_path)
    assert (tmp_path / "config.json").exists()


def test_a_folder_that_cannot_be_made_is_named(clip_file, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*choose another --out"):
        start(clip_file, tmp_path / "file" / "run")


def test_a_second_process_on_the_same_run_is_refused(stopped):
    first, second = Run.resume(stopped), Run.resume(stopped)
    steps = iter(first)
    next(steps)
    with pytest.raises(RunError, match="being trained by another process"):
        next(iter(second))
    assert status(first)["state"] == "running"
    steps.close()
    next(iter(second))  # the lock went with the first


def test_a_loss_that_is_no_number_fails_the_run_with_the_sentence(clip_file, tmp_path, monkeypatch):
    run = start(clip_file, tmp_path / "run")
    monkeypatch.setattr(losses, "reconstruction", lambda rebuilt, target: rebuilt.mean() * float("nan"))
    with pytest.raises(TrainingDivergedError, match="diverged at scale 1, step 0") as caught:
        list(run)
    values = status(run)
    assert values["state"] == "failed"
    assert values["error"] == sentence(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9, 0.999])
def test_a_truncated_state_is_refused_with_a_sentence(stopped, kept):
    data = (stopped / "state.pt").read_bytes()
    (stopped / "state.pt").write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(RunError, match=r"state\.pt is damaged") as caught:
        Run.resume(stopped)
    sentence(caught.value)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_state_that_runs_code_is_refused_and_never_run(stopped, tmp_path):
    torch.save({"scale": Bomb(tmp_path / "ran")}, stopped / "state.pt")
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        Run.resume(stopped)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("state", [{}, [1, 2], {"scale": 1, "step": 3, "pyramid": {}}])
def test_a_state_of_something_else_is_refused_with_a_sentence(stopped, state):
    torch.save(state, stopped / "state.pt")
    with pytest.raises(RunError) as caught:
        Run.resume(stopped)
    assert "state.pt" in sentence(caught.value)


def test_the_state_of_another_recipe_is_refused_with_a_sentence(stopped, finished):
    shutil.copy(finished["adversarial"].folder.state, stopped / "state.pt")
    with pytest.raises(RunError) as caught:
        Run.resume(stopped)
    assert "state.pt" in sentence(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x01", "{}", '{"config": {}}', '{"config": 3}'])
def test_a_damaged_config_is_refused_with_a_sentence(stopped, text):
    (stopped / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json") as caught:
        Run.resume(stopped)
    sentence(caught.value)


@pytest.mark.parametrize("key", ["config", "device", "fps", "video"])
@pytest.mark.parametrize("value", [None, 3, "nonsense", [1], "absent"])
def test_a_config_with_a_damaged_entry_is_refused_with_a_sentence(stopped, key, value):
    values = json.loads((stopped / "config.json").read_text())
    values[key] = value
    if value == "absent":
        del values[key]
    (stopped / "config.json").write_text(json.dumps(values))
    try:
        run = Run.resume(stopped)
        assert "preset" in run.describe()
    except DTSGANError as error:
        assert "config.json" in sentence(error) or "device" in str(error)


def test_a_damaged_status_does_not_hide_the_run(stopped, finished):
    (stopped / "status.json").write_text('{"state": "run')
    try:
        run = Run.resume(stopped)
    except RunError as error:
        assert "status.json" in sentence(error)
    else:
        list(run)
        assert_equal(weights(run), weights(finished["linear"]))


def test_a_run_without_its_source_is_refused(stopped):
    (stopped / "source.mkv").unlink()
    with pytest.raises(RunError, match=r"lost its source\.mkv"):
        Run.resume(stopped)


def test_a_run_without_a_state_begins_anew(stopped, finished):
    (stopped / "state.pt").unlink()
    run = Run.resume(stopped)
    list(run)
    assert_equal(weights(run), weights(finished["linear"]))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a run's folder"):
        Run.resume(tmp_path)
    with pytest.raises(RunError, match="not a run's folder"):
        Run.resume(tmp_path / "nothing")


def test_a_video_too_short_is_refused_before_a_folder_is_made(tmp_path):
    video.write_clip(tmp_path / "short.mkv", make_clip(5), FPS)
    with pytest.raises(VideoError, match=r"5 frames .* needs 10") as caught:
        start(tmp_path / "short.mkv", tmp_path / "run")
    sentence(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_training_that_does_not_fit_into_memory_is_refused(clip_file, tmp_path, monkeypatch):
    monkeypatch.setattr("dtsgan.estimate.available_memory", lambda device: 2**20)
    with pytest.raises(ConfigError, match=r"needs about .* GB and 0\.0 GB are free.*--size") as caught:
        start(clip_file, tmp_path / "run")
    sentence(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_no_time_is_refused(clip_file, tmp_path, budget):
    with pytest.raises(ConfigError, match="budget"):
        start(clip_file, tmp_path / "run", budget=budget)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "tpu", ""])
def test_a_device_that_this_machine_has_not_is_refused(clip_file, tmp_path, device):
    with pytest.raises(ConfigError, match="device"):
        jobs.train(clip_file, tmp_path / "run", "paper", device=device)


def test_unknown_names_are_refused_with_the_nearest_one(clip_file, tmp_path):
    with pytest.raises(ConfigError, match='did you mean "paper"'):
        jobs.train(clip_file, tmp_path / "run", "papper")
    with pytest.raises(ConfigError, match='did you mean "lr_g"'):
        start(clip_file, tmp_path / "run", lrg=1)
    with pytest.raises(ConfigError, match="layout"):
        jobs.train(clip_file, tmp_path / "run", "paper", layout="sideways")
    assert not (tmp_path / "run").exists()


def test_the_disk_being_full_is_a_sentence(clip_file, tmp_path, monkeypatch):
    run = start(clip_file, tmp_path / "run")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs, "save_state", no_space)
    with pytest.raises(RunError, match="No space left on device") as caught:
        list(run)
    sentence(caught.value)


def test_training_gives_the_threads_back(clip_file, tmp_path):
    before = torch.get_num_threads()
    run = start(clip_file, tmp_path / "run", steps=(0, 1, 1), threads=1)
    for _ in run:
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


# -- runs of other processes ---


def test_a_run_in_another_process_is_found_followed_and_stopped(clip_file, tmp_path):
    changes = {**KINDS["linear"][0], "steps": (12, 9000, 9000)}
    options = ["--size", "24", "--layout", "anchored"]
    for name, value in changes.items():
        options += ["--set", f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"]
    out, log = tmp_path / "runs" / "waves", tmp_path / "log.txt"
    assert not jobs.is_running(out) and jobs.find_runs(tmp_path / "runs") == []
    process = jobs.start_process([str(clip_file), "--out", str(out), *options], log)
    try:
        until = time.monotonic() + 300
        while jobs.run_state(out)["state"] != "running" or not (out / "status.json").exists():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.05)
        assert jobs.is_running(out) and jobs.find_runs(tmp_path / "runs") == [out]
        assert jobs.stop_run(out)
        assert process.wait(300) == 130
    finally:
        process.kill()
    assert jobs.run_state(out)["state"] == "stopped" and not jobs.is_running(out)
    assert not jobs.stop_run(out)
    assert "go on with" in log.read_text()


def test_a_killed_run_is_stopped_whatever_its_status_says(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished["linear"].folder.path, folder)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "running"}))
    assert jobs.run_state(folder)["state"] == "stopped"
    (folder / "status.json").write_text("{")
    assert jobs.run_state(folder)["state"] == "failed"


HOLD = """
import sys, time
from dtsgan.jobs import try_lock
with open(sys.argv[1], "w") as file:
    print(try_lock(file), flush=True)
    time.sleep(300)
"""


def test_a_lock_is_free_again_when_its_process_is_killed(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished["linear"].folder.path, folder)
    (folder / "status.json").write_text('{"state": "running"}')
    command = [sys.executable, "-c", HOLD, str(folder / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert jobs.is_running(folder) and jobs.run_state(folder)["state"] == "running"
        with pytest.raises(RunError, match="being trained by another process"):
            list(Run.resume(folder))
        process.kill()
    assert not jobs.is_running(folder) and jobs.run_state(folder)["state"] == "stopped"
    list(Run.resume(folder))
    assert jobs.run_state(folder)["state"] == "done"


def test_a_disk_that_knows_no_locks_is_a_sentence(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(finished["linear"].folder.path, folder)
    (folder / "status.json").write_text('{"state": "running"}')

    def no_locks(*_: object, **__: object) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(jobs, "lock_descriptor", no_locks)
    assert not jobs.is_running(folder)
    with pytest.raises(RunError, match=r"cannot be locked \(Operation not supported\): train in") as caught:
        list(Run.resume(folder))
    sentence(caught.value)


def test_looking_whether_a_run_is_trained_is_never_taken_for_training(tmp_path):
    (tmp_path / "lock").touch()
    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(jobs.is_running, [tmp_path] * 400))
