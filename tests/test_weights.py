"""Bundled textures: shipped from a run, found by name in a checkout and in an installed wheel."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools
import torch

from dtsgan.cli import main
from dtsgan.folder import BUNDLED, bundled_models
from dtsgan.model import DTSGAN

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shipping(tmp_path):
    """The script, and a home for what it ships."""
    spec = importlib.util.spec_from_file_location("ship", ROOT / "weights" / "ship.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    home = tmp_path / "weights"
    home.mkdir()
    shutil.copy(ROOT / "weights" / "README.md", home)
    return script, home


@pytest.fixture
def run(anchored_model, clip_file, tmp_path):
    """The folder of a finished run."""
    folder = tmp_path / "run"
    anchored_model.save_pretrained(folder / "model")
    shutil.copy(clip_file, folder / "source.mkv")
    (folder / "status.json").write_text('{"state": "done"}')
    return folder


def test_a_run_becomes_a_texture_with_card_previews_and_a_line_in_the_table(shipping, run, anchored_model):
    script, home = shipping
    folder = script.ship(str(run), "waves", "cc0-1.0", home=home)
    have = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"README.md", "preview.mp4", "preview.webp", "config.json", "training.json"} <= have
    assert "license: cc0-1.0" in (folder / "README.md").read_text()
    assert torch.equal(DTSGAN.from_pretrained(folder).sample(3), anchored_model.sample(3))
    script.ship(str(run), "waves", "mit", home=home)
    assert "license: mit" in (folder / "README.md").read_text()
    assert (home / "README.md").read_text().count("[waves](waves)") == 1
    assert sorted(p.name for p in home.iterdir()) == ["README.md", "waves"]


def test_what_is_not_finished_is_not_shipped(shipping, run, capsys, monkeypatch):
    script, home = shipping
    (run / "status.json").write_text('{"state": "stopped"}')
    monkeypatch.setattr("sys.argv", ["ship.py", str(run), "waves", "--home", str(home)])
    assert script.main() == 1
    assert "is stopped: ship what is finished" in capsys.readouterr().err
    assert [p.name for p in home.iterdir()] == ["README.md"]


@pytest.mark.parametrize("name", ["Waves", "a/b", "..", "", "a b"])
def test_a_name_is_a_plain_word(shipping, run, name):
    script, home = shipping
    with pytest.raises(ValueError, match="small letters"):
        script.ship(str(run), name, "mit", home=home)


def test_a_bundled_texture_is_listed_and_drawn_by_its_name(shipping, run, tmp_path, capsys, monkeypatch):
    script, home = shipping
    script.ship(str(run), "waves", "mit", home=home)
    monkeypatch.setattr("dtsgan.folder.BUNDLED", home)
    monkeypatch.chdir(tmp_path)
    assert main(["list", "--json"]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)["bundled"]] == ["waves"]
    assert main(["sample", "waves", "--out", str(tmp_path / "new.mp4"), "--num-frames", "4"]) == 0
    assert main(["sample", "wave", "--out", str(tmp_path / "x.mp4")]) == 1
    assert 'did you mean "waves"?' in capsys.readouterr().err


@pytest.mark.parametrize("name", bundled_models() or [pytest.param("", marks=pytest.mark.skip("none yet"))])
def test_every_bundled_texture_is_whole(name):
    model = DTSGAN.from_pretrained(name)
    assert model.sample(2).isfinite().all()
    assert model.record["licence"]
    for file in ("README.md", "preview.mp4", "preview.webp", "model_index.json"):
        assert (BUNDLED / name / file).stat().st_size > 0
    assert f'from_pretrained("{name}")' in (BUNDLED / name / "README.md").read_text()


def test_all_bundled_textures_together_are_under_40_mb():
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) < 40e6


@pytest.mark.slow
@pytest.mark.skipif(int(setuptools.__version__.split(".")[0]) < 77, reason="needs setuptools 77 or newer")
def test_an_installed_wheel_brings_its_textures(shipping, run, tmp_path):
    script, _ = shipping
    source = tmp_path / "source"
    for name in ("dtsgan", "weights"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    script.ship(str(run), "waves", "mit", home=source / "weights")
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation"]
    built = subprocess.run([*command, "-w", str(tmp_path)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        assert "dtsgan/weights/waves/pyramid/diffusion_pytorch_model.safetensors" in archive.namelist()
        assert not any("ship.py" in name or name.startswith("weights") for name in archive.namelist())
        archive.extractall(installed)
    code = (
        "import dtsgan.folder as f, dtsgan.model as m; print(f.BUNDLED, *f.bundled_models());"
        "print(*m.DTSGAN.from_pretrained('waves').sample(3).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        f"{installed}/dtsgan/weights {' '.join(sorted([*bundled_models(), 'waves']))}",
        "1 3 3 20 27",
    ], done.stderr
