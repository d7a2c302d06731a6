"""The model card: true, complete, harmless, and never written over once it is somebody's own."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from conftest import FPS, make_clip

from dtsgan.card import draw_previews, model_card, training_command, write_card
from dtsgan.cli import build_parser, main
from dtsgan.config import preset
from dtsgan.model import DTSGAN
from dtsgan.video import encode_jpeg, probe, read_clip

SCORES = {
    "scores": {"motion_ratio": 0.97, "diversity": 1.25, "broken": float("nan")},
    "floors": {"unseen": {"motion_ratio": 1.0, "diversity": None}, "noise": {"motion_ratio": 8.5}},
}


def record(**values) -> dict:
    config = preset("fast").with_settings({"seed": 5, "lr_g": 0.001, "update": "single"})
    return {
        "dtsgan": "0.1.0", "video": "my river.mp4", "machine": "x86_64, 2 cores", "wall_seconds": 720.0,
        "start": 1.5, "end": None, "budget": None, "config": json.loads(json.dumps(config.to_dict())),
        **values,
    }  # fmt: skip


@pytest.fixture
def model(anchored_pyramid) -> DTSGAN:
    return DTSGAN(anchored_pyramid, FPS, record())


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_metadata_lets_the_hub_find_it(model):
    values = front(model_card(model))
    assert values["library_name"] == "dtsgan"
    assert values["pipeline_tag"] == "unconditional-image-generation"
    assert {"dtsgan", "dynamic-texture", "anchored", "preset-fast"} <= set(values["tags"])
    assert "license" not in values
    model.record["licence"] = "CC0-1.0"
    assert front(model_card(model))["license"] == "cc0-1.0"


def test_what_is_known_is_said(model):
    card = model_card(model, "alice/river")
    for text in (
        "# river\n", "my river.mp4", "27 x 20 pixels", "10 frames a second", "40 frames, 4.0 seconds",
        "12x9 · 17x13 · 27x20", "12.0 minutes (x86_64, 2 cores)", "`fast`", "closed-form",
    ):  # fmt: skip
        assert text in card, text
    assert "No licence is stated" in card
    assert "other sizes need a training" in card


def test_a_free_texture_says_that_it_has_any_size(free_model):
    card = model_card(free_model)
    assert "or any other" in card and "seamless tiles" in card and "adversarial" in card
    assert "The camera stood still" not in card


def test_what_is_not_known_is_left_out(free_model):
    free_model.record = {}
    card = model_card(free_model, previews=False)
    for text in ("preview.", "trained in", "Train it again", "## Scores", "preset"):
        assert text not in card, text
    assert "# A dynamic texture" in card


def test_both_ways_to_use_it_are_shown_with_the_name_to_copy(model):
    card = model_card(model, "alice/river")
    assert 'dtsgan.DTSGAN.from_pretrained("alice/river")' in card
    assert 'DiffusionPipeline.from_pretrained("alice/river", trust_remote_code=True)' in card
    assert "dtsgan sample alice/river --out river.mp4" in card
    assert 'DTSGANPipeline.from_pretrained("ocean")' in model_card(model, "ocean")
    assert "trust_remote_code" not in model_card(model, "ocean")


def test_the_python_on_the_card_runs(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "river")
    monkeypatch.chdir(tmp_path)
    (light, with_diffusers) = (
        block.split("```")[0] for block in model_card(model, "river").split("```python\n")[1:]
    )
    light = light.replace("    ...", "    break").replace("128", "4")
    seen: dict = {}
    exec(light, seen)
    exec(with_diffusers.replace("128", "4"), seen)
    assert seen["video"].shape == (1, 3, 4, 20, 27) and len(seen["frames"]) == 4


def test_the_training_command_is_one_that_the_command_line_takes(model):
    command = shlex.split(training_command(record()))
    arguments = build_parser().parse_args(command[1:])
    assert arguments.video == "my river.mp4" and arguments.preset == "fast" and arguments.start == 1.5
    assert arguments.seed == 5 and arguments.layout == "anchored"
    assert sorted(arguments.settings) == ["lr_g=0.001", "update=single"]
    again = preset("fast").with_settings(
        {"seed": arguments.seed, **dict(item.split("=") for item in arguments.settings)}
    )
    assert (
        again.to_dict()
        == preset("fast").with_settings({"seed": 5, "lr_g": 0.001, "update": "single"}).to_dict()
    )


def test_a_preset_at_another_size_needs_no_list_of_settings():
    config = preset("fast", "free")
    from dataclasses import replace

    small = replace(config, pyramid=config.pyramid.resized(96))
    command = training_command({"video": "a.mp4", "config": small.to_dict()})
    assert command is not None and "--size 96" in command and "--set" not in command


@pytest.mark.parametrize("values", [{}, {"config": 3}, {"config": {}}, {"config": preset("fast").to_dict()}])
def test_a_record_that_does_not_tell_gives_no_command(values):
    assert training_command(values) is None


def test_scores_stand_beside_their_floors(model):
    card = model_card(model, scores=SCORES)
    assert "| | this model | unseen | noise |" in card
    assert "| motion_ratio | 0.970 | 1.000 | 8.500 |" in card
    assert "| diversity | 1.250 | – | – |" in card
    assert "| broken | – | – | – |" in card


@pytest.mark.parametrize("scores", [None, {}, {"scores": {}}, {"scores": 3}, {"floors": {}}])
def test_no_scores_no_table(model, scores):
    assert "## Scores" not in model_card(model, scores=scores)


def test_scores_that_lie_beside_a_model_are_shown(model, tmp_path):
    tmp_path.joinpath("scores.json").write_text(json.dumps(SCORES))
    write_card(tmp_path, model)
    assert "| motion_ratio | 0.970" in (tmp_path / "README.md").read_text()
    tmp_path.joinpath("scores.json").write_text("[" * 10**5)
    write_card(tmp_path, model)
    assert "## Scores" not in (tmp_path / "README.md").read_text()


def test_a_card_is_brought_up_to_date_until_somebody_changes_it(model, tmp_path):
    readme = tmp_path / "README.md"
    write_card(tmp_path, model)
    write_card(tmp_path, model, "alice/river")
    assert "alice/river" in readme.read_text()
    readme.write_text(readme.read_text().replace("# river", "# My river"))
    write_card(tmp_path, model, "alice/brook")
    assert "# My river" in readme.read_text() and "alice/brook" not in readme.read_text()
    readme.write_bytes(b"\xff\xfe mine")
    write_card(tmp_path, model)
    assert readme.read_bytes() == b"\xff\xfe mine"


def test_previews_show_the_source_beside_new_video_and_a_loop(model, tmp_path):
    source = make_clip(30, 24, 32)
    draw_previews(tmp_path, model, source=source)
    assert probe(tmp_path / "preview.webp").num_frames == 48
    pair, facts = read_clip(tmp_path / "preview.mp4")
    assert pair.shape == (1, 3, 30, 20, 27 + 4 + 27) and facts.fps == FPS
    real = torch.nn.functional.interpolate(source[0].transpose(0, 1), size=(20, 27), mode="area").transpose(
        0, 1
    )
    assert (pair[0, ..., :27] - real).abs().mean() < 0.1
    write_card(tmp_path, model)
    assert "preview.webp" in (tmp_path / "README.md").read_text()


def test_the_commands_of_a_card_work(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("river")
    write_card(tmp_path / "river", model, "river")
    card = (tmp_path / "river/README.md").read_text()
    commands = re.findall(r"^dtsgan ((?:sample|predict|edit) .*)$", card, re.MULTILINE)
    assert len(commands) == 3
    Path("photo.jpg").write_bytes(encode_jpeg(model.sample(1)[0, :, 0]))
    for words in map(shlex.split, commands):
        assert main(words) == 0
        assert probe(Path(words[words.index("--out") + 1])).num_frames > 10


def test_previews_that_are_there_are_kept(model, tmp_path):
    for name in ("preview.webp", "preview.mp4"):
        (tmp_path / name).write_text("mine")
    draw_previews(tmp_path, model)
    assert (tmp_path / "preview.mp4").read_text() == (tmp_path / "preview.webp").read_text() == "mine"
