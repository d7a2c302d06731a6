"""Textures on the Hub, as someone meets them: push, pull, search, hostile repositories, a whole Space."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from conftest import FPS, KINDS
from loopback_hub import TOKEN
from safetensors.torch import load_file, save

from dtsgan import hub
from dtsgan.cli import main
from dtsgan.errors import ConfigError, DTSGANError, HubError, ModelFileError
from dtsgan.folder import WEIGHTS
from dtsgan.model import DTSGAN
from dtsgan.video import probe, read_clip

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def saved(anchored_pyramid, tmp_path_factory) -> Path:
    """A model folder with its previews, so that no test need draw them."""
    from dtsgan.card import draw_previews, write_card

    folder = tmp_path_factory.mktemp("saved") / "waves"
    model = DTSGAN(anchored_pyramid, FPS, {"preset": "tiny"})
    model.save_pretrained(folder)
    draw_previews(folder, model)
    write_card(folder, model)
    return folder


@pytest.fixture
def pushed(loopback, saved):
    hub.push(saved, "alice/waves")
    return loopback


@pytest.fixture
def files(saved) -> dict[str, bytes]:
    """A good repository, to be spoiled."""
    return {p.relative_to(saved).as_posix(): p.read_bytes() for p in saved.rglob("*") if p.is_file()}


def refusal(action, *arguments, **settings) -> str:
    with pytest.raises(DTSGANError) as caught:
        action(*arguments, **settings)
    sentence = str(caught.value)
    assert sentence and "\n" not in sentence and len(sentence) < 500 and "hf_" not in sentence
    return sentence


# -- there and back ---


def test_a_texture_comes_back_byte_by_byte_and_draws_the_same_video(pushed, saved, tmp_path):
    model = DTSGAN.from_pretrained("alice/waves", cache_dir=tmp_path / "another_cache")
    assert torch.equal(model.sample(9, seed=7), DTSGAN.from_pretrained(saved).sample(9, seed=7))
    folder = hub.pull("alice/waves")
    for name in (
        "config.json",
        "training.json",
        "pyramid/config.json",
        WEIGHTS,
        "preview.mp4",
        "preview.webp",
    ):
        assert (folder / name).read_bytes() == (saved / name).read_bytes(), name


def test_a_repository_holds_model_card_previews_record_and_what_diffusers_needs(pushed):
    assert set(pushed.repo("alice/waves").files) == {
        ".gitattributes", "README.md", "config.json", "model_index.json", "pipeline.py", "preview.mp4",
        "preview.webp", "pyramid/config.json", "pyramid/modeling_dtsgan.py", WEIGHTS, "training.json",
    }  # fmt: skip
    assert not pushed.repo("alice/waves").private


def test_the_card_on_the_hub_names_the_repository(pushed):
    card = pushed.repo("alice/waves").files["README.md"].decode()
    assert 'from_pretrained("alice/waves")' in card and "# waves" in card


def test_previews_are_drawn_where_there_are_none(loopback, anchored_model, tmp_path):
    anchored_model.push_to_hub("alice/waves", private=True)
    stored = loopback.repo("alice/waves")
    assert stored.private
    for name in ("preview.mp4", "preview.webp"):
        (tmp_path / name).write_bytes(stored.files[name])
        assert probe(tmp_path / name).num_frames >= 40


def test_a_card_changed_by_hand_is_pushed_as_it_is(loopback, saved, tmp_path):
    DTSGAN.from_pretrained(saved).save_pretrained(tmp_path / "mine")
    (tmp_path / "mine/README.md").write_text("---\nlibrary_name: dtsgan\n---\nMy river.\n")
    hub.push(tmp_path / "mine", "alice/river")
    assert loopback.repo("alice/river").files["README.md"].endswith(b"My river.\n")


def test_a_licence_is_written_into_card_and_record_and_stays(loopback, saved, tmp_path):
    hub.push(saved, "alice/waves", licence="cc0-1.0")
    assert b"license: cc0-1.0" in loopback.repo("alice/waves").files["README.md"]
    hub.push("alice/waves", "alice/copy")
    assert b"license: cc0-1.0" in loopback.repo("alice/copy").files["README.md"]


@pytest.mark.parametrize("licence", ["", "all rights\nreserved", "x" * 50, "a: b"])
def test_a_licence_that_is_no_name_is_refused(loopback, saved, licence):
    with pytest.raises(ConfigError, match="a licence is a short name"):
        hub.push(saved, "alice/waves", licence=licence)
    assert loopback.requests == []


def test_pushing_again_brings_it_up_to_date(pushed, anchored_model, saved):
    hub.push(saved, "alice/waves", licence="mit")
    assert b"license: mit" in pushed.repo("alice/waves").files["README.md"]


def test_a_damaged_model_is_not_pushed(loopback, files, tmp_path):
    for name, content in {**files, WEIGHTS: files[WEIGHTS][:500]}.items():
        (tmp_path / "bad" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        hub.push(tmp_path / "bad", "alice/waves")
    assert loopback.requests == []


def test_pulling_into_a_folder_gives_a_whole_model_folder(pushed, saved, tmp_path):
    folder = hub.pull("alice/waves", folder=tmp_path / "textures" / "waves")
    assert folder == tmp_path / "textures" / "waves"
    assert not any(p.is_symlink() for p in folder.rglob("*"))
    have = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert have == set(pushed.repo("alice/waves").files) - {".gitattributes"}
    assert torch.equal(DTSGAN.from_pretrained(folder).sample(3), DTSGAN.from_pretrained(saved).sample(3))
    assert [p.name for p in folder.parent.iterdir()] == ["waves"]


def test_pulling_over_something_is_refused(pushed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ModelFileError, match="exists already"):
        hub.pull("alice/waves", folder=tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_a_folder_of_the_same_name_comes_before_the_hub(pushed, free_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free_model.save_pretrained("alice/waves")
    pushed.requests.clear()
    assert DTSGAN.from_pretrained("alice/waves").layout == "free"
    assert pushed.requests == []
    assert hub.pull("alice/waves") != Path("alice/waves")  # pull means the Hub


def test_a_misspelt_folder_is_said_to_be_missing_in_both_places(loopback, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    sentence = refusal(DTSGAN.from_pretrained, "runs/rivr")
    assert "no folder runs/rivr" in sentence and "the Hub has no repository" in sentence


def test_a_path_is_never_asked_for_on_the_hub(loopback):
    with pytest.raises(ModelFileError):
        DTSGAN.from_pretrained(Path("runs/river"))
    assert loopback.requests == []


def test_only_a_repository_has_revisions(loopback, saved):
    with pytest.raises(ModelFileError, match="has revisions"):
        DTSGAN.from_pretrained(str(saved), revision="v1")


def test_an_older_revision_is_found_by_its_commit(pushed, saved):
    old = pushed.repo("alice/waves").refs["main"]
    hub.push(saved, "alice/waves", licence="mit")
    assert "licence" not in DTSGAN.from_pretrained("alice/waves", revision=old).record
    assert DTSGAN.from_pretrained("alice/waves").record["licence"] == "mit"


# -- hostile repositories ---


def header(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def config(files: dict[str, bytes], **values) -> bytes:
    return json.dumps({**json.loads(files["config.json"]), **values}).encode()


def spoiled_weights(files: dict[str, bytes], value: float) -> bytes:
    from safetensors.torch import load

    tensors = load(files[WEIGHTS])
    tensors["color_mean"].fill_(value)
    return save(tensors)


LYING = json.dumps(
    {"color_mean": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
).encode()
HOSTILE = {
    "a pickle for weights": lambda files, trap: {WEIGHTS: pickle.dumps(Bomb(trap))},
    "a header of exabytes": lambda files, trap: {WEIGHTS: header(b"{}", 2**62)},
    "a header of megabytes": lambda files, trap: {WEIGHTS: header(b" " * (2**20 + 1))},
    "a header that lies about sizes": lambda files, trap: {WEIGHTS: header(LYING)},
    "weights that are no numbers": lambda files, trap: {WEIGHTS: spoiled_weights(files, float("nan"))},
    "absurd sizes": lambda files, trap: {"config.json": config(files, sizes=[[4096, 4096]] * 16)},
    "an absurd length": lambda files, trap: {"config.json": config(files, num_frames=10**6)},
    "a newer format": lambda files, trap: {"config.json": config(files, format_version=99)},
    "a deep config": lambda files, trap: {"config.json": b"[" * 10**5},
    "no weights but a pickle": lambda files, trap: {
        WEIGHTS: None,
        "pyramid/model.bin": pickle.dumps(Bomb(trap)),
    },
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_repository_is_refused_with_a_sentence_and_runs_nothing(loopback, files, tmp_path, spoil):
    trap = tmp_path / "ran"
    spoiled = {**files, **spoil(files, str(trap))}
    loopback.add("mallory/waves", {name: content for name, content in spoiled.items() if content is not None})
    refusal(DTSGAN.from_pretrained, "mallory/waves")
    refusal(hub.pull, "mallory/waves", folder=tmp_path / "out")
    assert not trap.exists() and not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_code_in_a_repository_is_neither_fetched_nor_run(loopback, files, tmp_path):
    trap = tmp_path / "ran"
    evil = f"open({str(trap)!r}, 'w')\n".encode()
    code = {"pipeline.py": evil, "pyramid/modeling_dtsgan.py": evil, "__init__.py": evil, "setup.py": evil}
    loopback.add("mallory/waves", {**files, **code, "../../../climbed": b"out", "/absolute": b"out"})
    folder = hub.pull("mallory/waves", folder=tmp_path / "waves")
    DTSGAN.from_pretrained("mallory/waves").sample(2)
    assert not trap.exists() and not list(tmp_path.rglob("climbed"))
    assert (folder / "pipeline.py").read_text().startswith("from dtsgan.diffusers_pipeline import")
    assert not any(name in request for name in ("pipeline.py", "climbed") for request in loopback.requests)


@pytest.mark.parametrize("name", ["config.json", "training.json", "pyramid", WEIGHTS])
def test_a_link_out_of_a_model_folder_is_refused(saved, tmp_path, name):
    model = tmp_path / "model"
    DTSGAN.from_pretrained(saved).save_pretrained(model)
    (model / name).rename(tmp_path / "elsewhere")
    (model / name).symlink_to(tmp_path / "elsewhere")
    assert "link" in refusal(DTSGAN.from_pretrained, model)


def test_links_within_the_hubs_cache_and_to_a_whole_folder_are_followed(pushed, saved, tmp_path):
    assert (hub.pull("alice/waves") / WEIGHTS).is_symlink()
    (tmp_path / "link").symlink_to(saved)
    DTSGAN.from_pretrained(tmp_path / "link")


def test_a_hostile_training_record_does_no_harm_on_a_card(loopback, files, tmp_path):
    record = {"video": "x`\n\n<script>alert(1)</script>[a](javascript:b)", "config": 3, "machine": ["|"] * 9,
              "wall_seconds": "long", "licence": "mit\ntags: [evil]", "dtsgan": "|\n# heading"}  # fmt: skip
    loopback.add("mallory/waves", {**files, "training.json": json.dumps(record).encode()})
    DTSGAN.from_pretrained("mallory/waves").save_pretrained(tmp_path / "copy")
    card = (tmp_path / "copy/README.md").read_text()
    assert "<script" not in card and "evil" not in card and "\n# heading" not in card and "](java" not in card
    yaml.safe_load(card.split("---\n")[1])


# -- search ---


def test_search_finds_textures_and_nothing_else(pushed, files, free_model):
    free_model.push_to_hub("alice/sand")
    pushed.add("bob/waves-too", files)
    pushed.add("bob/llm", {"README.md": b"---\nlibrary_name: transformers\n---\n"})
    assert {t.id for t in hub.search()} == {"alice/waves", "alice/sand", "bob/waves-too"}
    assert {t.id for t in hub.search("waves")} == {"alice/waves", "bob/waves-too"}
    assert {t.id for t in hub.search(author="alice")} == {"alice/waves", "alice/sand"}
    assert {t.id for t in hub.search(tag="free")} == {"alice/sand"}
    assert len(hub.search(limit=1)) == 1
    (found,) = hub.search("waves", author="alice", tag="anchored")
    assert (found.downloads, found.likes, found.updated, found.private) == (11, 3, "2026-11-22", False)


def test_search_without_a_network_is_said(loopback, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached"):
        hub.search()


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(loopback, limit):
    with pytest.raises(ConfigError, match="limit"):
        hub.search(limit=limit)


def test_what_was_pulled_is_listed_without_a_network(pushed, monkeypatch):
    assert hub.cached() == []
    hub.pull("alice/waves")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert [texture.id for texture in hub.cached()] == ["alice/waves"]


# -- the command line ---


def answer(capsys) -> dict:
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_push_list_pull_and_sample_from_the_command_line(loopback, saved, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(saved), "alice/waves", "--private", "--licence", "cc0-1.0", "--json"]) == 0
    assert answer(capsys) == {"repo": "alice/waves", "url": f"{loopback.url}/alice/waves"}
    assert main(["list", "--hub", "--search", "wav", "--author", "alice", "--tag", "anchored", "--json"]) == 0
    (found,) = answer(capsys)["hub"]
    assert found["id"] == "alice/waves" and found["private"]
    assert main(["pull", "alice/waves", "--json"]) == 0
    assert Path(answer(capsys)["folder"], "config.json").exists()
    assert main(["list", "--json"]) == 0
    assert answer(capsys)["pulled"] == [{"id": "alice/waves"}]
    command = ["--num-frames", "5", "--seed", "7", "--out"]
    assert main(["sample", "alice/waves", *command, "hub.mkv"]) == 0
    assert main(["sample", str(saved), *command, "local.mkv"]) == 0
    assert torch.equal(read_clip("hub.mkv")[0], read_clip("local.mkv")[0])  # without loss
    assert TOKEN not in "".join(capsys.readouterr())


def test_pull_can_make_a_folder(pushed, tmp_path, capsys):
    assert main(["pull", "alice/waves", "--out", str(tmp_path / "waves")]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "waves") and f"dtsgan sample {tmp_path / 'waves'}" in err


@pytest.mark.parametrize(
    "command, said",
    [
        (["pull", "alice/none"], "no repository"), (["pull", "none"], '"user/name"'),
        (["pull", "alice/waves", "--revision", "v9"], 'no revision "v9"'),
        (["sample", "alice/none", "--out", "x.mp4"], "no repository"),
        (["push", "no_such_model", "alice/x"], "no model folder"),
        (["push-space", "x"], '"user/name"'),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line(pushed, capsys, command, said):
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == "" and said in err.splitlines()[-1] and "Traceback" not in err


def test_filters_without_hub_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["list", "--author", "alice"])
    assert caught.value.code == 2 and "--hub" in capsys.readouterr().err


# -- a whole Space ---


def version_pair(text: str) -> list[int]:
    return [int(part) for part in text.split(".")][:2]


def test_the_repositorys_readme_is_a_spaces_readme():
    text = (ROOT / "README.md").read_text()
    card = yaml.safe_load(text.split("---\n")[1])
    assert card["sdk"] == "gradio" and card["app_file"] == "app.py" and card["hf_oauth"] is True
    assert card["sdk_version"].split(".")[:2] == version("gradio").split(".")[:2]
    assert len(card["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {card["colorFrom"], card["colorTo"]} <= colours
    assert card["license"] == "mit" and card["title"]
    wanted = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if "gradio" in line)
    low = wanted.split(">=")[1].split(",")[0]
    assert version_pair(card["sdk_version"]) >= version_pair(low)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone of the repository in small."""
    root = tmp_path / "clone"
    (root / "dtsgan/ui").mkdir(parents=True)
    (root / "weights/ocean/pyramid").mkdir(parents=True)
    (root / "dtsgan/__pycache__").mkdir()
    for name in (
        "app.py", "requirements.txt", "dtsgan/__init__.py", "dtsgan/ui/app.py", "dtsgan/__pycache__/a.pyc",
        "weights/ocean/config.json", "weights/ocean/pyramid/config.json", "dtsgan/.secret",
        "weights/x.partial",
    ):  # fmt: skip
        (root / name).write_text(name)
    (root / "runs").mkdir()
    (root / "runs/private.mp4").write_text("mine")
    (root / ".env").write_text(f"HF_TOKEN={TOKEN}")
    (root / "README.md").write_text((ROOT / "README.md").read_text())
    monkeypatch.setattr("dtsgan.hub.ROOT", root)
    return root


def test_a_space_holds_app_package_weights_and_a_readme_with_the_installed_gradio(loopback, clone):
    assert hub.push_space("alice/demo", private=True) == f"{loopback.url}/spaces/alice/demo"
    space = loopback.repo("alice/demo", "spaces")
    assert space.private
    assert set(space.files) == {
        ".gitattributes", "app.py", "requirements.txt", "README.md", "dtsgan/__init__.py", "dtsgan/ui/app.py",
        "weights/ocean/config.json", "weights/ocean/pyramid/config.json",
    }  # fmt: skip
    front = yaml.safe_load(space.files["README.md"].decode().split("---\n")[1])
    assert front["sdk_version"] == version("gradio")
    assert not any(TOKEN.encode() in content for content in space.files.values())


def test_a_space_needs_a_clone(loopback, clone):
    (clone / "app.py").unlink()
    with pytest.raises(HubError, match=r"has no app\.py"):
        hub.push_space("alice/demo")
    assert loopback.requests == []


def test_somebody_elses_kind_of_space_is_not_written_over(loopback, clone):
    hub.push_space("alice/demo")
    hub.push_space("alice/demo")
    loopback.repo("alice/demo", "spaces").commit({"index.html": b"my page"})
    with pytest.raises(HubError, match="something else"):
        hub.push_space("alice/demo")


def test_the_weights_of_a_snapshot_are_those_that_were_saved(pushed, saved):
    got, expected = load_file(hub.pull("alice/waves") / WEIGHTS), load_file(saved / WEIGHTS)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


# -- as a new user would ---


@pytest.mark.slow
def test_train_push_delete_pull_elsewhere_and_draw_the_same_video_in_every_way(loopback, tmp_path):
    def run(home: str, *command: str) -> str:
        """A command in a process of its own; each home has its own cache."""
        environment = {
            **os.environ, "HF_ENDPOINT": loopback.url, "HF_HOME": str(tmp_path / home), "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout

    dtsgan = ("-m", "dtsgan")
    settings, layout = KINDS["linear"]
    options = ["--preset", "paper", "--size", "24", "--layout", layout, "--device", "cpu", "--end", "1.6"]
    for key, value in settings.items():
        options += ["--set", f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"]
    run("alice", *dtsgan, "train", str(ROOT / "examples/ocean.mp4"), "--out", "runs/ocean", *options)
    run("alice", *dtsgan, "sample", "runs/ocean", "--num-frames", "9", "--seed", "7", "--out", "before.mkv")
    trained = load_file(tmp_path / "runs/ocean/model" / WEIGHTS)
    run("alice", *dtsgan, "push", "runs/ocean", "alice/ocean", "--licence", "cc0-1.0")
    shutil.rmtree(tmp_path / "runs")

    pulled = Path(json.loads(run("bob", *dtsgan, "pull", "alice/ocean", "--json"))["folder"])
    got = load_file(pulled / WEIGHTS)
    assert got.keys() == trained.keys() and all(torch.equal(got[name], trained[name]) for name in got)
    run("bob", *dtsgan, "sample", "alice/ocean", "--num-frames", "9", "--seed", "7", "--out", "after.mkv")
    expected = read_clip(tmp_path / "before.mkv")[0]
    assert torch.equal(read_clip(tmp_path / "after.mkv")[0], expected)

    code = """
import torch, sys
from dtsgan.video import write_clip
way = sys.argv[1]
if way == "light":
    from dtsgan import DTSGAN
    clip = DTSGAN.from_pretrained("alice/ocean").sample(9, seed=7)
else:
    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained("alice/ocean", trust_remote_code=True)
    frames = pipe(num_frames=9, generator=torch.Generator().manual_seed(7), output_type="pt").frames
    clip = frames.transpose(1, 2) * 2 - 1
write_clip(way + ".mkv", clip, 25)
"""
    for way in ("light", "diffusers"):
        run("carol", "-c", code, way)
        assert torch.equal(read_clip(tmp_path / f"{way}.mkv")[0], expected), way
