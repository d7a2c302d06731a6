"""A model folder: what is saved is drawn again bit for bit, and nothing else is loaded."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import FPS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dtsgan.config import EncoderConfig
from dtsgan.errors import ModelFileError
from dtsgan.model import DTSGAN
from dtsgan.networks import FrameEncoder

WEIGHTS = "pyramid/diffusion_pytorch_model.safetensors"
ENCODER = "encoder/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(pyramid) -> DTSGAN:
    return DTSGAN(pyramid, FPS, {"preset": "tiny"})


@pytest.fixture
def folder(free_model, tmp_path):
    free_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder) -> str:
    """The one sentence with which a folder is refused."""
    with pytest.raises(ModelFileError) as caught:
        DTSGAN.from_pretrained(folder)
    sentence = str(caught.value)
    assert sentence and "\n" not in sentence and len(sentence) < 400
    return sentence


def rewrite(folder, change) -> None:
    """Changes the tensors of a model folder."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def configure(folder, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


# -- what is saved ---


def test_a_saved_model_draws_the_same_video_bit_for_bit(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    loaded = DTSGAN.from_pretrained(tmp_path / "model")
    for fields in ({"seed": 7}, {"loop": True}, {"diversity": 0.0}, {"speed": 0.5, "start_frame": 99}):
        assert torch.equal(loaded.sample(12, **fields), model.sample(12, **fields))
    assert (loaded.size, loaded.fps, loaded.layout) == (model.size, model.fps, model.layout)
    assert loaded.record == {"preset": "tiny"}


def test_a_model_folder_holds_the_files_that_the_format_names(model, tmp_path):
    model.save_pretrained(tmp_path / "a" / "model")
    files = {str(p.relative_to(tmp_path / "a/model")) for p in tmp_path.rglob("*") if p.is_file()}
    for_diffusers = {"model_index.json", "pipeline.py", "pyramid/modeling_dtsgan.py"}
    assert files == {
        "config.json",
        "training.json",
        "pyramid/config.json",
        WEIGHTS,
        "README.md",
        *for_diffusers,
    }
    config = json.loads((tmp_path / "a/model/config.json").read_text())
    assert config["format_version"] == 1
    assert config["fps"] == FPS
    assert config["sizes"] == [list(size) for size in model.pyramid.sizes]


def test_saving_again_replaces_the_model(free_model, anchored_model, tmp_path):
    free_model.save_pretrained(tmp_path)
    anchored_model.save_pretrained(tmp_path)
    assert torch.equal(DTSGAN.from_pretrained(tmp_path).sample(4), anchored_model.sample(4))


def test_a_folder_that_cannot_be_written_is_named(free_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match=r"cannot write the model to .*file"):
        free_model.save_pretrained(tmp_path / "file" / "model")


def test_a_runs_folder_is_accepted_as_a_model(free_model, folder, tmp_path):
    assert folder == tmp_path / "model"  # a run keeps its model so
    assert torch.equal(DTSGAN.from_pretrained(tmp_path).sample(4), free_model.sample(4))


def test_saving_the_same_model_again_writes_the_same_bytes(model, tmp_path):
    for name in ("a", "b"):
        model.save_pretrained(tmp_path / name)
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert (tmp_path / "a" / WEIGHTS).stat().st_mode & 0o044  # others may read it


# -- what is refused ---


def test_a_missing_tensor_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.pop("scales.1.to_rgb.bias"))
    assert "scales.1.to_rgb.bias" in refusal(folder)


def test_an_unknown_tensor_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update(surprise=torch.zeros(1)))
    assert "surprise" in refusal(folder)


def test_a_tensor_of_another_shape_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"scales.1.to_rgb.bias": torch.zeros(4)}))
    assert "(4,)" in refusal(folder)


def test_a_tensor_of_another_type_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"color_mean": tensors["color_mean"].double()}))
    assert "F64" in refusal(folder)


def raw_frames(folder: Path, model: DTSGAN) -> None:
    """The file as older versions wrote it."""

    def change(tensors):
        for name in FILM:
            tensors.pop(name)
        tensors["transport.clip"] = model.pyramid.transport.clip

    rewrite(folder, change)


FILM = ("transport.clip.pictures", "transport.clip.lengths")


def test_the_sources_frames_are_stored_as_pictures_and_a_file_that_has_them_raw_is_read(
    anchored_model, tmp_path
):
    folder = tmp_path / "model"
    anchored_model.save_pretrained(folder)
    assert {*FILM} <= {*load_file(folder / WEIGHTS)}
    drawn = anchored_model.sample(4, seed=1)
    assert torch.equal(DTSGAN.from_pretrained(folder).sample(4, seed=1), drawn)
    raw_frames(folder, anchored_model)
    assert torch.equal(DTSGAN.from_pretrained(folder).sample(4, seed=1), drawn)


@pytest.mark.parametrize(
    "harm", ["one is missing", "too many bytes", "another type", "another count", "no picture"]
)
def test_frames_that_are_not_the_configs_are_refused(anchored_model, tmp_path, harm):
    folder = tmp_path / "model"
    anchored_model.save_pretrained(folder)

    def change(tensors):
        pictures, lengths = (tensors[name] for name in FILM)
        if harm == "one is missing":
            del tensors[FILM[1]]
        elif harm == "too many bytes":
            tensors[FILM[0]] = torch.zeros(10**6, dtype=torch.uint8)
        elif harm == "another type":
            tensors[FILM[1]] = lengths.long()
        elif harm == "another count":
            tensors[FILM[1]] = lengths[:-1]
        else:
            tensors[FILM[0]] = torch.zeros_like(pictures)

    rewrite(folder, change)
    assert "transport.clip" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_with_values_that_are_no_numbers_is_refused(folder, value):
    rewrite(folder, lambda tensors: tensors["color_mean"].fill_(value))
    assert "color_mean" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_file_of_weights_is_refused(folder, kept):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    assert "damaged" in refusal(folder)


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_a_pickle_in_place_of_the_weights_is_refused_and_never_run(folder, tmp_path, name):
    (folder / WEIGHTS).unlink()
    torch.save({"color_mean": Bomb(str(tmp_path / "ran"))}, folder / "pyramid" / name)
    refusal(folder)
    (folder / "pyramid" / name).write_bytes(pickle.dumps(Bomb(str(tmp_path / "ran"))))
    refusal(folder)
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS).unlink()
    assert "is missing" in refusal(folder)


def test_a_newer_format_asks_for_an_update(folder):
    configure(folder, format_version=2)
    assert "update dtsgan" in refusal(folder)


@pytest.mark.parametrize("version", [None, 0, "1", [1]])
def test_another_format_is_refused(folder, version):
    configure(folder, format_version=version)
    assert "not a DTSGAN model" in refusal(folder)


@pytest.mark.parametrize(
    "sizes",
    [
        [[4096, 4096]] * 16, [[100_000, 100_000]], [[9, 12], [13, 18], [-20, 27]],
        [[20, 27], [13, 18], [9, 12]],
        [], [[9, 12]] * 17, [[9.0, 12.0]], [[9]], [[True, True]], "large", None, {}, 9, [[9, 12], [13, None]],
    ],
)  # fmt: skip
def test_sizes_that_no_texture_has_are_refused_before_memory_is_taken(folder, sizes):
    config = json.loads((folder / "config.json").read_text())
    model = {**config["model"], "position_maps": True, "layout": "anchored"}
    configure(folder, sizes=sizes, model=model)
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(
    "model",
    [
        {"features": [1024], "num_layers": 16},
        {"coarse": "linear", "layout": "anchored", "num_components": 1024, "num_lags": 16},
    ],
)
def test_widths_that_no_texture_needs_are_refused_before_memory_is_taken(folder, model):
    configure(folder, model=model, sizes=[[1000, 1000], [2000, 2000]], num_frames=10**6)
    assert "absurd" in refusal(folder)


@pytest.mark.parametrize(
    "model",
    [{"feature": [8]}, {"features": []}, {"features": [-1]}, {"norm": "layer"}, [], None, "", 3],
)  # fmt: skip
def test_a_model_section_that_does_not_fit_is_refused(folder, model):
    configure(folder, model=model)
    assert "config.json is damaged" in refusal(folder)


@pytest.mark.parametrize(
    "fps", [0, -1, None, "fast", float("nan"), float("inf"), 1e9, [], pytest.param(10**400, id="huge")]
)
def test_a_frame_rate_that_is_none_is_refused(folder, fps):
    configure(folder, fps=fps)
    assert "config.json is damaged" in refusal(folder)


@pytest.mark.parametrize("num_frames", [0, -1, 2.5, None, "40", 10**9, True])
def test_a_number_of_frames_that_is_none_is_refused(folder, num_frames):
    configure(folder, num_frames=num_frames)
    assert "num_frames" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\x00", b"\xe9", pytest.param(b"[" * 10**5, id="deep"), b"1" * 5000],
)
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_bytes(text)
    assert "config.json" in refusal(folder)


def test_a_config_of_megabytes_is_not_read(folder):
    (folder / "config.json").write_text(" " * 2**21 + "{}")
    assert "too large" in refusal(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_config_with_any_one_value_changed_is_loaded_or_refused_with_a_sentence(folder, data):
    text = (folder / "config.json").read_text()
    config = json.loads(text)
    part = config["model"] if data.draw(st.booleans()) else config
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(json_values)
    try:
        (folder / "config.json").write_text(json.dumps(config))
        DTSGAN.from_pretrained(folder)
    except ModelFileError as error:
        assert "\n" not in str(error)
    finally:
        (folder / "config.json").write_text(text)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    assert "not a model folder" in refusal(tmp_path)


def test_a_name_that_nothing_has_is_refused(tmp_path):
    assert "no model folder, run or texture" in refusal(tmp_path / "nothing")
    assert "no model folder, run or texture" in refusal("no_such_texture")


def test_a_run_without_a_finished_scale_is_told_apart(tmp_path):
    (tmp_path / "status.json").write_text("{}")
    assert "no finished scale" in refusal(tmp_path)


def test_a_model_without_its_training_record_is_loaded(folder):
    (folder / "training.json").unlink()
    assert DTSGAN.from_pretrained(folder).record == {}


def test_a_folder_with_half_a_write_in_it_is_still_the_old_model(free_model, folder):
    (folder / (WEIGHTS + ".partial")).write_bytes(b"half")
    assert torch.equal(DTSGAN.from_pretrained(folder).sample(3), free_model.sample(3))
    shutil.rmtree(folder / "pyramid")
    assert "pyramid" in refusal(folder)


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert "link to a place outside" in refusal(folder)


def test_a_header_that_says_it_is_huge_is_refused_unread(folder):
    (folder / WEIGHTS).write_bytes((2**20 + 1).to_bytes(8, "little") + b" " * (2**20 + 1))
    assert "list of tensors has 1048577 bytes" in refusal(folder)


# -- the encoder of prediction ---


@pytest.fixture
def predictive(free_pyramid, tmp_path):
    """A model folder with an encoder."""
    encoder = FrameEncoder(EncoderConfig(features=4), free_pyramid.config, free_pyramid.num_scales)
    model = DTSGAN(free_pyramid, FPS, {"preset": "tiny"}, encoder)
    model.save_pretrained(tmp_path / "predictive")
    return tmp_path / "predictive"


def test_an_encoder_is_saved_and_loaded_bit_for_bit(predictive, free_pyramid):
    loaded = DTSGAN.from_pretrained(predictive)
    assert loaded.has_encoder and loaded.can_predict
    picture = loaded.sample(1, seed=3)[0, :, 0]
    again = DTSGAN.from_pretrained(predictive)
    assert torch.equal(loaded.predict(picture, 6, 2), again.predict(picture, 6, 2))
    assert torch.equal(loaded.sample(4), DTSGAN(free_pyramid, FPS).sample(4))  # it touches nothing else


@pytest.mark.parametrize(
    "harm", ["missing", "extra", "shape", "nan", "garbage", "version", "features", "no weights"]
)
def test_a_damaged_encoder_is_refused_with_a_sentence(predictive, harm):
    tensors = load_file(predictive / ENCODER)
    config = json.loads((predictive / "encoder/config.json").read_text())
    if harm == "missing":
        del tensors["decay"]
    elif harm == "extra":
        tensors["more"] = torch.zeros(1)
    elif harm == "shape":
        tensors["decay"] = torch.zeros(2, 2)
    elif harm == "nan":
        tensors["decay"][0, 0] = torch.nan
    elif harm == "version":
        config["format_version"] = 99
    elif harm == "features":
        config["encoder"]["features"] = 10**9
    save_file(tensors, predictive / ENCODER)
    (predictive / "encoder/config.json").write_text(json.dumps(config))
    if harm == "garbage":
        (predictive / ENCODER).write_bytes(b"not tensors")
    if harm == "no weights":
        (predictive / ENCODER).unlink()
    refusal(predictive)
