"""diffusers' contract over the same folders, and the same video through every door."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import FPS
from diffusers import DiffusionPipeline, ModelMixin
from PIL import Image
from safetensors.torch import load_file

from dtsgan.cli import main
from dtsgan.diffusers_pipeline import DTSGANPipeline, DTSGANPyramid
from dtsgan.errors import ConfigError, HubError, ModelFileError
from dtsgan.estimate import has_fast_bfloat16
from dtsgan.folder import WEIGHTS
from dtsgan.model import DTSGAN
from dtsgan.video import read_clip, to_uint8


def seeded(*seeds: int):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return generators[0] if len(seeds) == 1 else generators


def as_pt(clip: torch.Tensor) -> torch.Tensor:
    """`(B, C, T, H, W)` in [-1, 1] to what `output_type="pt"` gives."""
    return (clip.transpose(1, 2) / 2 + 0.5).clamp(0, 1)


@pytest.fixture
def model(pyramid) -> DTSGAN:
    return DTSGAN(pyramid, FPS, {"preset": "tiny"})


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def pipe(folder) -> DTSGANPipeline:
    pipe = DTSGANPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def free_pipe(free_model) -> DTSGANPipeline:
    pipe = DTSGANPipeline(DTSGANPyramid.from_texture(free_model))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def remote(folder, **settings) -> DiffusionPipeline:
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **settings)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# -- one seed, one video ---


def test_a_seed_names_the_video_that_it_names_everywhere(model, folder, pipe, tmp_path):
    expected = model.sample(9, seed=7)
    frames = pipe(num_frames=9, generator=seeded(7), output_type="pt").frames
    assert torch.equal(frames, as_pt(expected))
    assert torch.equal(remote(folder)(num_frames=9, generator=seeded(7), output_type="pt").frames, frames)
    out = tmp_path / "cli.mkv"
    assert main(["sample", str(folder), "--num-frames", "9", "--seed", "7", "--out", str(out)]) == 0
    np.testing.assert_array_equal(to_uint8(read_clip(out)[0]), to_uint8(expected))


def test_a_generator_names_the_same_video_each_time(pipe):
    generator = seeded(7)
    first = pipe(num_frames=3, generator=generator, output_type="pt").frames
    torch.rand(5, generator=generator)
    assert torch.equal(pipe(num_frames=3, generator=generator, output_type="pt").frames, first)


def test_a_list_of_generators_gives_one_video_each(model, pipe):
    frames = pipe(num_frames=5, generator=seeded(3, 7), output_type="pt").frames
    assert torch.equal(frames, as_pt(torch.cat([model.sample(5, seed=3), model.sample(5, seed=7)])))
    alone = pipe(num_frames=5, generator=seeded(7), output_type="pt").frames
    assert torch.equal(frames[1:], alone)


def test_more_videos_of_one_generator_are_the_seeds_that_follow(model, pipe):
    frames = pipe(num_frames=3, num_videos=2, generator=seeded(7), output_type="pt").frames
    assert torch.equal(frames, as_pt(torch.cat([model.sample(3, seed=7), model.sample(3, seed=8)])))


def test_without_a_generator_each_call_draws_another_video_and_torchs_seed_decides(pipe):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        a, b = (pipe(num_frames=2, output_type="pt").frames for _ in range(2))
        torch.manual_seed(0)
        again = pipe(num_frames=2, output_type="pt").frames
    assert not torch.equal(a, b) and torch.equal(a, again)


def test_a_seed_of_64_bits_is_accepted(pipe):
    big = torch.Generator().manual_seed(2**63 - 1)
    assert torch.equal(
        pipe(num_frames=2, generator=big, output_type="pt").frames,
        pipe(num_frames=2, generator=seeded(2**40 - 1), output_type="pt").frames,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"loop": True},
        {"start_frame": 99},
        {"speed": 0.5},
        {"speed": 2.5},
        {"diversity": 0.3},
        {"diversity": 0.0},
    ],
)
def test_what_can_be_drawn_otherwise_is_drawn_the_same(model, pipe, fields):
    frames = pipe(num_frames=12, generator=seeded(2), output_type="pt", **fields).frames
    assert torch.equal(frames, as_pt(model.sample(12, seed=2, **fields)))


@pytest.mark.parametrize(
    "fields", [{"height": 40, "width": 50, "tile": "xy"}, {"height": 31}, {"width": 33, "tile": "x"}]
)
def test_a_free_texture_is_drawn_at_any_size_and_as_tiles(free_model, free_pipe, fields):
    frames = free_pipe(num_frames=4, generator=seeded(2), output_type="pt", **fields).frames
    assert torch.equal(frames, as_pt(free_model.sample(4, seed=2, **fields)))


def test_a_canvas_that_is_drawn_by_tiles_is_the_same(free_model, free_pipe, monkeypatch):
    monkeypatch.setattr("dtsgan.model.TILE", 18)
    frames = free_pipe(num_frames=3, height=40, width=50, generator=seeded(1), output_type="pt").frames
    assert torch.equal(frames, as_pt(free_model.sample(3, 40, 50, seed=1)))


# -- the contract ---


def test_components_device_and_dtype_are_those_of_a_pipeline(pipe):
    assert list(pipe.components) == ["pyramid"]
    assert isinstance(pipe.pyramid, DTSGANPyramid) and isinstance(pipe.pyramid, ModelMixin)
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float32)
    assert DTSGANPipeline(**pipe.components).pyramid is pipe.pyramid
    assert pipe.fps == FPS
    assert pipe.pyramid.config["num_frames"] == 40
    assert pipe.pyramid.num_parameters() > 0


def test_output_types_show_the_same_pixels(pipe):
    pil, array, tensor = (
        pipe(num_frames=3, generator=seeded(1), output_type=kind).frames for kind in ("pil", "np", "pt")
    )
    assert array.shape == (1, 3, 20, 27, 3) and tensor.shape == (1, 3, 3, 20, 27)
    assert array.min() >= 0 and array.max() <= 1
    np.testing.assert_array_equal(array, tensor.permute(0, 1, 3, 4, 2).numpy())
    assert len(pil) == 1 and len(pil[0]) == 3 and isinstance(pil[0][0], Image.Image)
    assert pil[0][0].size == (27, 20)
    np.testing.assert_array_equal(np.asarray(pil[0][2]), (array[0, 2] * 255).round().astype("uint8"))


def test_return_dict_false_gives_a_tuple(pipe):
    (frames,) = pipe(num_frames=2, generator=seeded(1), output_type="pt", return_dict=False)
    assert torch.equal(frames, pipe(num_frames=2, generator=seeded(1), output_type="pt").frames)


def test_the_callback_sees_each_scale_from_coarse_to_fine(pipe):
    seen = []

    def callback(caller, step, timestep, values):
        assert caller is pipe and step == timestep == len(seen)
        seen.append(values["frames"])

    frames = pipe(
        num_frames=10, generator=seeded(7, 8), output_type="pt", callback_on_step_end=callback
    ).frames
    assert [clip.shape for clip in seen] == [
        (2, 3, 10, 9, 12), (2, 3, 10, 13, 17), (2, 3, 10, 20, 27),
    ]  # fmt: skip
    assert torch.equal(as_pt(seen[-1]), frames)
    small = torch.nn.functional.interpolate(seen[-1].flatten(0, 1), size=(9, 12), mode="area")
    assert torch.corrcoef(torch.stack([small.flatten(), seen[0].flatten(0, 1).flatten()]))[0, 1] > 0.5


def test_a_callback_may_ask_for_nothing(pipe):
    seen = []
    pipe(
        num_frames=2,
        generator=seeded(1),
        callback_on_step_end=lambda pipe, step, timestep, values: seen.append(values),
        callback_on_step_end_tensor_inputs=[],
    )
    assert seen == [{}, {}, {}]


def test_the_progress_bar_counts_scales(pipe, capsys):
    pipe.set_progress_bar_config(disable=False)
    pipe(num_frames=2, generator=seeded(1))
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"output_type": "jpeg"}, "output_type"), ({"num_videos": 0}, "num_videos"),
        ({"num_videos": 2.5}, "num_videos"), ({"num_videos": True}, "num_videos"),
        ({"num_videos": 3, "generator": "two"}, "generator"),
        ({"generator": 7}, "generator"), ({"num_frames": 0}, "num_frames"), ({"speed": 9.0}, "speed"),
        ({"height": 4}, "height"), ({"generator": [None]}, "generator"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, "frames"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(free_pipe, fields, named):
    with pytest.raises(ValueError, match=named):
        free_pipe(**fields)


def test_as_many_generators_as_videos_are_wanted(pipe):
    with pytest.raises(ValueError, match="2 generators for 3 videos"):
        pipe(num_videos=3, generator=seeded(1, 2))


@pytest.mark.parametrize("settings", [{"dtype": torch.bfloat16}, {"torch_dtype": torch.bfloat16}])
def test_a_dtype_is_the_precision_of_the_drawing(folder, pipe, settings):
    exact = pipe(num_frames=4, generator=seeded(7), output_type="pt").frames
    for coarse in (remote(folder, **settings), DTSGANPipeline.from_pretrained(folder, **settings)):
        coarse.set_progress_bar_config(disable=True)
        assert coarse.dtype == torch.bfloat16
        got = coarse(num_frames=4, generator=seeded(7), output_type="pt").frames
        assert torch.equal(got, exact) != has_fast_bfloat16(torch.device("cpu"))
        torch.testing.assert_close(got, exact, rtol=0, atol=0.05)


def test_moving_to_a_dtype_and_back_loses_nothing(pipe):
    before = pipe(num_frames=3, generator=seeded(7), output_type="pt").frames
    assert pipe.to(torch.float16).dtype == torch.float16
    assert pipe.pyramid.half() is pipe.pyramid
    halved = pipe(num_frames=3, generator=seeded(7), output_type="pt").frames
    torch.testing.assert_close(halved, before, rtol=0, atol=0.01)
    assert pipe.to("cpu", torch.float32).dtype == torch.float32
    assert torch.equal(pipe(num_frames=3, generator=seeded(7), output_type="pt").frames, before)
    with pytest.raises(ValueError, match="floating point"):
        pipe.pyramid.to(torch.int8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_video(pipe):
    expected = pipe(num_frames=5, generator=seeded(7), output_type="pt").frames
    pipe.to("cuda")
    assert pipe.device.type == "cuda"
    got = pipe(num_frames=5, generator=seeded(7), output_type="pt").frames
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-2)


# -- folders ---


def test_a_saved_pipeline_is_a_model_folder_for_both_loaders(pipe, model, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    assert torch.equal(DTSGAN.from_pretrained(tmp_path / "saved").sample(3, seed=7), model.sample(3, seed=7))
    frames = remote(tmp_path / "saved")(num_frames=3, generator=seeded(7), output_type="pt").frames
    assert torch.equal(frames, as_pt(model.sample(3, seed=7)))
    assert DTSGAN.from_pretrained(tmp_path / "saved").record == {"preset": "tiny"}


def test_saving_in_half_precision_writes_the_weights_that_were_read(folder, tmp_path):
    DTSGANPipeline.from_pretrained(folder, dtype=torch.float16).save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_the_pyramid_alone_is_saved_and_loaded(pipe, folder, tmp_path):
    pipe.pyramid.save_pretrained(tmp_path / "pyramid")
    for loaded in (
        DTSGANPyramid.from_pretrained(tmp_path / "pyramid"),
        DTSGANPyramid.from_pretrained(folder, subfolder="pyramid"),
    ):
        own, other = pipe.pyramid.state_dict(), loaded.state_dict()
        stored = {
            name.removesuffix(".pictures").removesuffix(".lengths") for name in load_file(folder / WEIGHTS)
        }
        assert own.keys() == other.keys() == stored
        assert all(torch.equal(own[name], other[name]) for name in own)
        assert all(own[name].dtype == other[name].dtype for name in own)


def test_another_pyramid_can_be_put_in(folder, free_model, pipe):
    own = DTSGANPyramid.from_texture(free_model)
    assert DTSGANPipeline.from_pretrained(folder, pyramid=own).pyramid is own


def test_without_the_flag_diffusers_runs_no_code_of_a_folder(folder, tmp_path):
    (folder / "pipeline.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(folder)
    DTSGANPipeline.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_folder_is_refused_by_this_loader_too(folder):
    tensors = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(tensors[:-4])
    for load in (remote, DTSGANPipeline.from_pretrained):
        with pytest.raises(ModelFileError, match="damaged"):
            load(folder)


@pytest.mark.parametrize(
    "settings, said", [({"safe_serialization": False}, "safetensors only"), ({"variant": "fp16"}, "one set")]
)
def test_only_the_one_format_is_written(pipe, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        pipe.save_pretrained(tmp_path / "saved", **settings)
    assert not (tmp_path / "saved").exists()


def test_a_configuration_that_does_not_fit_is_refused():
    with pytest.raises(ModelFileError, match="DTSGANPyramid is damaged"):
        DTSGANPyramid(sizes=[[10**6, 10**6]])
    with pytest.raises(ModelFileError, match="absurd"):
        DTSGANPyramid(sizes=[[4096, 4096]] * 16)


def test_an_option_that_nobody_knows_is_named(folder, caplog):
    DTSGANPipeline.from_pretrained(folder, trust_remote_code=True, colour="red")
    assert "['colour']" in caplog.text


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", torch.float16, None])
def test_dtypes_are_named_as_in_diffusers(folder, dtype):
    expected = {"auto": torch.float32, "bfloat16": torch.bfloat16, None: torch.float32}.get(dtype, dtype)
    assert DTSGANPipeline.from_pretrained(folder, dtype=dtype).dtype == expected


def test_a_dtype_that_is_none_is_refused(folder):
    with pytest.raises(ConfigError, match="dtype"):
        DTSGANPipeline.from_pretrained(folder, dtype="float7")


# -- the Hub ---


@pytest.fixture
def pushed(loopback, anchored_model, monkeypatch):
    """On the Hub; and diffusers' own cache of modules beside the test."""
    pipe = DTSGANPipeline(DTSGANPyramid.from_texture(anchored_model))
    pipe.push_to_hub("alice/waves", private=True)
    return loopback


def test_a_pushed_pipeline_comes_back_through_every_loader(pushed, anchored_model, tmp_path):
    expected = anchored_model.sample(5, seed=7)
    assert pushed.repo("alice/waves").private
    assert torch.equal(DTSGAN.from_pretrained("alice/waves").sample(5, seed=7), expected)
    settings = {"num_frames": 5, "generator": seeded(7), "output_type": "pt"}
    safe = DTSGANPipeline.from_pretrained("alice/waves")
    assert torch.equal(safe(**settings).frames, as_pt(expected))
    through_shims = remote("alice/waves", cache_dir=tmp_path / "diffusers_cache")
    assert torch.equal(through_shims(**settings).frames, as_pt(expected))


def test_the_safe_loader_fetches_no_code(pushed):
    pushed.requests.clear()
    DTSGANPipeline.from_pretrained("alice/waves")
    assert not any(".py" in request for request in pushed.requests)


def test_a_missing_repository_is_one_sentence_here_too(loopback):
    with pytest.raises(HubError, match="no repository"):
        DTSGANPipeline.from_pretrained("alice/none")
    with pytest.raises(HubError, match="no repository"):
        DTSGANPyramid.from_pretrained("alice/none", subfolder="pyramid")


def test_a_texture_is_a_repository_of_its_own(pipe):
    with pytest.raises(ConfigError, match="create_pr"):
        pipe.push_to_hub("alice/x", create_pr=True)


# -- weight ---


def test_the_light_loader_imports_neither_diffusers_nor_the_hubs_client(free_model, tmp_path):
    free_model.save_pretrained(tmp_path)
    code = (
        "import sys\nfrom dtsgan.model import DTSGAN\n"
        f"DTSGAN.from_pretrained({str(tmp_path)!r}).sample(2)\n"
        "print(*sorted({'diffusers', 'huggingface_hub', 'gradio', 'av', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
