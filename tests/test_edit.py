"""Editing with patches: outside nothing changes to the last bit, inside it becomes the texture."""

import json

import cv2
import pytest
import torch
from conftest import FPS, make_clip
from PIL import Image
from torch import Tensor

from dtsgan.config import ModelConfig
from dtsgan.edit import Edit, apply_edits, edit, load_edits, plain_edit, save_edits
from dtsgan.errors import ConfigError, RunError
from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator
from dtsgan.pyramid import resize
from dtsgan.steering import feathered, joined
from dtsgan.trainer import fit_coarse


@pytest.fixture
def model(pyramid) -> DTSGAN:
    return DTSGAN(pyramid, FPS)


@pytest.fixture
def video(model) -> Tensor:
    """Footage of the texture, `(1, 3, 12, H, W)`."""
    return resize(make_clip(12), model.size)


def box_mask(video: Tensor, x: int, y: int, w: int, h: int) -> Tensor:
    mask = torch.zeros(video.shape[3:])
    mask[y : y + h, x : x + w] = 1
    return mask


# -- drawing anew inside a mask ---


@pytest.mark.parametrize("start_scale", [None, 1])
def test_outside_the_rim_nothing_changes_to_the_last_bit_and_inside_it_does(model, video, start_scale):
    mask = box_mask(video, 10, 6, 7, 7)
    edited = model.edit(video, mask, start_scale)
    outside = feathered(mask[None, None, None], 2)[0, 0, 0] == 0
    assert outside.any() and torch.equal(edited[..., outside], video[..., outside])
    assert (edited - video)[..., mask > 0].abs().mean() > 1e-3
    assert edited.shape == video.shape and edited.abs().max() <= 1


def test_an_edit_is_named_by_its_seed(model, video):
    mask = box_mask(video, 10, 6, 7, 7)
    one, again, other = (edit(model, video, mask, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_coarser_start_draws_more_anew(anchored_pyramid):
    model = DTSGAN(anchored_pyramid, FPS)
    video = resize(make_clip(8), model.size)
    rng = torch.Generator().manual_seed(0)
    noisy = (video + torch.randn(video.shape, generator=rng)).clamp(-1, 1)
    mask = torch.ones(video.shape[3:])
    kept = [(model.edit(noisy, mask, scale) - noisy).square().mean() for scale in (0, 1)]
    assert kept[0] > kept[1]  # fine grain is gone if it entered at a coarse scale


def test_each_frame_may_have_its_own_mask(model, video):
    masks = torch.zeros(12, *video.shape[3:])
    masks[5, 4:9, 4:9] = 1
    edited = model.edit(video, masks)
    same = [torch.equal(edited[:, :, t], video[:, :, t]) for t in range(12)]
    assert [t for t, is_same in enumerate(same) if not is_same] == [5]


@pytest.fixture(scope="module")
def patches() -> tuple[DTSGAN, Tensor]:
    """A scene all of whose sizes are drawn of real patches, 20 and 34 pixels high, and its source."""
    config = ModelConfig(
        coarse="linear", layout="anchored", whiten=True, num_components=10, patch_transport=True,
        patch_stride=2, patch_agreement=True, matched_seams=True, guided_fades=True,
        aligned_fades=True, restore_contrast=True, steady_contrast=True,
    )  # fmt: skip
    source = make_clip(24, 34, 45)
    pyramid = PyramidGenerator(config, [(34, 45)], source.shape[2])
    pyramid.fit_colors(source)
    fit_coarse(pyramid, source)
    return DTSGAN(pyramid, FPS), source


def test_an_edit_enters_at_a_rung_of_real_patches(patches):
    model, source = patches
    video = source[:, :, :10]
    assert model.edit_sizes(*model.size) == [(20, 26)]
    mask = box_mask(video, 10, 8, 14, 12)
    painted = torch.where(mask > 0, torch.tensor([0.9, -0.9, -0.9]).view(3, 1, 1, 1), video)
    edited = model.edit(painted, mask, 0)
    outside = feathered(mask[None, None, None], 2)[0, 0, 0] == 0
    assert torch.equal(edited[..., outside], video[..., outside])
    middle = (..., slice(12, 16), slice(14, 20))
    assert edited[middle].mean((2, 3, 4))[0, 0] > 0.5  # no real patch is red: the paint's colour is kept
    assert edited[middle].std(2).mean() > 0.02 > painted[middle].std(2).mean()  # and moves as the water does
    with pytest.raises(ConfigError, match=r"0 to 0, here 0 \(26x20\)"):
        model.edit(painted, mask, 1)


def test_what_is_real_already_is_drawn_as_it_is(patches):
    model, source = patches
    video = source[:, :, 4:14]
    drawn = model.edit(video, torch.ones(video.shape[3:]), 0)
    assert (drawn - video).square().mean() < 0.1 * (video - video.mean(2, keepdim=True)).square().mean()


def test_a_free_texture_is_edited_at_any_size(free_pyramid):
    model = DTSGAN(free_pyramid, FPS)
    video = model.sample(4, 30, 41, seed=2)
    edited = model.edit(video, box_mask(video, 20, 10, 8, 8))
    assert edited.shape == video.shape
    assert torch.equal(edited[..., :6, :], video[..., :6, :])


def test_colours_meet_at_the_border_and_stay_within():
    clip = torch.zeros(1, 3, 1, 40, 40)
    mask = torch.zeros(1, 1, 1, 40, 40)
    mask[..., 5:35, 5:35] = 1
    clip[mask.expand_as(clip) > 0] = 1
    met = joined(clip, mask)
    assert torch.equal(met[..., :5, :], clip[..., :5, :])
    assert met[0, 0, 0, 5, 20].abs() < 0.05
    assert met[0, 0, 0, 20, 20] > 0.95
    profile = met[0, 0, 0, 5:20, 20]
    assert (profile.diff() >= -1e-6).all()


@pytest.mark.parametrize(
    "mask, said",
    [
        (torch.zeros(20, 27), "empty"),
        (torch.ones(21, 27), "27x21"),
        (torch.ones(5, 20, 27), "5 frames"),
        (torch.ones(()), "a mask is"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(anchored_model, clip, mask, said):
    video = resize(clip, anchored_model.size)[:, :, :12]
    with pytest.raises(ConfigError, match=said):
        anchored_model.edit(video, mask)


def test_a_clip_or_scale_that_does_not_fit_is_refused(anchored_model, free_model, clip):
    video = resize(clip, anchored_model.size)[:, :, :4]
    mask = torch.ones(video.shape[3:])
    with pytest.raises(ConfigError, match="is a scene of"):
        anchored_model.edit(clip, torch.ones(clip.shape[3:]))
    with pytest.raises(ConfigError, match=r"\(1, 3, T, H, W\)"):
        anchored_model.edit(video[0], mask)
    for scale in (-1, 2):
        with pytest.raises(ConfigError, match="0 to 1"):
            anchored_model.edit(video, mask, scale)
    with pytest.raises(ConfigError, match="one size only"):
        coarse = DTSGAN(free_model.pyramid.truncated(1), FPS)
        coarse.edit(resize(clip, (18, 24)), torch.ones(18, 24))


# -- the edits themselves ---


def test_a_copy_moves_as_its_model_moves(model, video):
    one = Edit(op="copy", box=(1, 2, 6, 5), to=(12, 10), delay=3, shape="box")
    edited, mask = plain_edit(model, video, one)
    patch = edited[:, :, 3:, 10:15, 12:18]
    assert torch.equal(patch, video[:, :, :-3, 2:7, 1:7])
    assert mask[0, 0, 0].sum() == 30


def test_what_leaves_the_frame_is_cut(model, video):
    width = model.size[1]
    edited, mask = plain_edit(
        model, video, Edit(op="copy", box=(0, 0, 8, 8), to=(width - 3, -5), shape="box")
    )
    assert mask[0, 0, 0].sum() == 9
    assert torch.equal(edited[..., :3, -3:], video[..., 5:8, :3])


def test_a_moved_patch_leaves_no_hole(model, video):
    one = Edit(op="move", box=(2, 2, 5, 5), to=(14, 12), shape="box")
    edited, mask = plain_edit(model, video, one)
    assert torch.equal(edited[..., 12:17, 14:19], video[..., 2:7, 2:7])
    assert mask[0, 0, 0].sum() == 50
    assert not torch.equal(edited[..., 2:7, 2:7], video[..., 2:7, 2:7])


def test_what_is_erased_is_inferred_from_what_is_around(anchored_pyramid):
    """A white square over waves: what was behind it comes back in part, and its white does not."""
    model = DTSGAN(anchored_pyramid, FPS)
    truth = resize(make_clip(30), model.size)[:, :, :10]
    spoiled = truth.clone()
    spoiled[..., 6:13, 8:16] = 1
    healed = apply_edits(model, spoiled, [Edit(op="erase", box=(8, 6, 8, 7), shape="box")])
    inside = (..., slice(6, 13), slice(8, 16))
    assert (healed[inside] - truth[inside]).square().mean() < 0.3 * (1 - truth[inside]).square().mean()


def test_a_still_patch_is_carried_by_the_motion_beneath_it(anchored_model):
    """A grating that moves two pixels a frame carries a painted spot with it, both ways in time."""
    t, y, x = torch.meshgrid(torch.arange(9.0), torch.arange(64.0), torch.arange(96.0), indexing="ij")
    grating = torch.sin((x - 2 * t) / 3) * torch.sin(y / 4) * 0.6
    video = grating.expand(1, 3, -1, -1, -1).contiguous()
    one = Edit(op="paint", box=(43, 27, 11, 11), color=(255, 0, 0), frame=4)
    edited, mask = plain_edit(anchored_model, video, one)
    places = torch.arange(96.0)
    centres = [float((mask[0, 0, k].sum(0) * places).sum() / mask[0, 0, k].sum()) for k in range(9)]
    for k, centre in enumerate(centres):
        assert abs(centre - (48 + 2 * (k - 4))) < 1.5
    red = edited[:, :, 7] - video[:, :, 7]
    assert red[0, 0][mask[0, 0, 7] > 0].mean() > 0.5


def test_a_picture_is_pasted_where_it_is_opaque(model, video, tmp_path):
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 4, 8))
    picture.save(tmp_path / "half.png")
    one = Edit(op="paste", image="half.png", to=(5, 5))
    edited, mask = plain_edit(model, video, one, folder=tmp_path)
    assert mask[0, 0, 0].sum() == 32 and mask[0, 0, 0, 5:13, 9:13].all()
    assert (edited[..., 5:13, 9:13] > 0.99).all()
    assert torch.equal(edited[..., 5:13, 5:9], video[..., 5:13, 5:9])


def test_a_video_is_extended_by_its_own_future(anchored_model, clip):
    video = resize(clip, anchored_model.size)[:, :, :6]
    longer = apply_edits(anchored_model, video, [Edit(op="extend", num_frames=5)], seed=3)
    assert longer.shape[2] == 11 and torch.equal(longer[:, :, :6], video)
    assert torch.equal(longer[:, :, 6:], anchored_model.predict(video[0, :, 5], 6, 3)[:, :, 1:])


def test_a_list_of_edits_is_saved_and_replayed(anchored_model, clip, tmp_path):
    video = resize(clip, anchored_model.size)[:, :, :8]
    edits = [
        Edit(op="copy", box=(1, 1, 6, 6), to=(15, 8), delay=2),
        Edit(op="paint", box=(4, 9, 6, 6), color=(10, 200, 30), frame=3, shape="box"),
        Edit(op="erase", box=(12, 2, 5, 5)),
    ]
    save_edits(tmp_path / "edits.json", edits)
    assert load_edits(tmp_path / "edits.json") == edits
    assert [p.name for p in tmp_path.iterdir()] == ["edits.json"]
    once = apply_edits(anchored_model, video, edits, seed=5)
    again = apply_edits(anchored_model, video, load_edits(tmp_path / "edits.json"), seed=5)
    assert torch.equal(once, again)


@pytest.mark.parametrize(
    "values, said",
    [
        ({"op": "copi"}, "did you mean"),
        ({"box": [1, 2, 3, 4]}, '"op"'),
        ({"op": "copy", "box": [1, 2, 3, 4]}, '"to"'),
        ({"op": "copy", "box": [1, 2, 3], "to": [1, 2]}, '"box"'),
        ({"op": "erase", "box": [1, 2, 0, 4]}, "1 or more"),
        ({"op": "erase", "box": [1, 2, 3, "x"]}, "box"),
        ({"op": "paste", "to": [1, 2]}, '"image"'),
        ({"op": "paint", "box": [1, 2, 3, 4], "color": [1, 2, 300]}, "0 to 255"),
        ({"op": "extend"}, "num_frames"),
        ({"op": "erase", "box": [1, 2, 3, 4], "fram": 3}, "did you mean"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        Edit.from_dict(values)


@pytest.mark.parametrize(
    "values, said",
    [
        ({"op": "erase", "box": [100, 2, 3, 4]}, "outside the video"),
        ({"op": "copy", "box": [1, 2, 3, 4], "to": [-9, 0]}, "outside the video"),
        ({"op": "paint", "box": [1, 2, 3, 4], "color": [1, 2, 3], "frame": 12}, "0 to 11"),
    ],
)
def test_an_edit_that_does_not_fit_the_video_is_refused(anchored_model, clip, values, said):
    video = resize(clip, anchored_model.size)[:, :, :12]
    with pytest.raises(ConfigError, match=said):
        apply_edits(anchored_model, video, [Edit.from_dict(values)])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "edits": []}', '{"version": 1, "edits": [3]}']
)
def test_a_file_that_is_no_list_of_edits_is_refused(tmp_path, text):
    path = tmp_path / "edits.json"
    path.write_text(text)
    with pytest.raises((ConfigError, RunError)):
        load_edits(path)
    with pytest.raises(FileNotFoundError):
        load_edits(tmp_path / "nothing.json")


def test_seams_are_softer_than_those_of_plain_pasting(anchored_pyramid):
    """What a difference of brightness across the border would show, measured along it."""
    model = DTSGAN(anchored_pyramid, FPS)
    video = resize(make_clip(8), model.size)
    plain = video.clone()
    plain[..., 6:14, 9:18] += 0.6
    mask = box_mask(video, 9, 6, 9, 8)
    step = lambda v: (v[..., 6:14, 8] - v[..., 6:14, 9]).abs().mean()  # noqa: E731
    assert step(model.edit(plain.clamp(-1, 1), mask)) < 0.6 * step(plain)


def test_the_flow_library_is_the_one_that_is_declared():
    assert hasattr(cv2, "DISOpticalFlow_create")


# -- the command ---


def test_the_command_edits_as_the_function_does(anchored_model, clip, tmp_path, capsys):
    from dtsgan.cli import main
    from dtsgan.video import from_uint8, read_clip, to_uint8, write_clip

    anchored_model.save_pretrained(tmp_path / "model")
    video = from_uint8(to_uint8(resize(clip, anchored_model.size)[:, :, :8]))
    write_clip(tmp_path / "clip.mkv", video, FPS)
    mask = box_mask(video, 10, 6, 7, 7)
    Image.fromarray((mask.numpy() * 255).astype("uint8")).save(tmp_path / "mask.png")
    base = ["edit", str(tmp_path / "model"), "--out", str(tmp_path / "out.mkv"), "--json"]
    given = ["--edited", str(tmp_path / "clip.mkv"), "--mask", str(tmp_path / "mask.png")]
    assert main([*base, *given, "--seed", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["num_frames"] == 8
    expected = anchored_model.edit(video, mask, seed=4)
    torch.testing.assert_close(read_clip(tmp_path / "out.mkv")[0], expected, rtol=0, atol=0.005)

    one = {"op": "copy", "box": [1, 1, 6, 6], "to": [15, 8]}
    plain = ["--clip", str(tmp_path / "clip.mkv"), "--edit", json.dumps(one)]
    assert main([*base, *plain, "--save", str(tmp_path / "list.json")]) == 0
    first = read_clip(tmp_path / "out.mkv")[0]
    assert load_edits(tmp_path / "list.json") == [Edit.from_dict(one)]
    replay = ["--clip", str(tmp_path / "clip.mkv"), "--edits", str(tmp_path / "list.json")]
    assert main([*base, *replay]) == 0
    assert torch.equal(read_clip(tmp_path / "out.mkv")[0], first)

    Image.new("L", (5, 5), 255).save(tmp_path / "mask.png")
    capsys.readouterr()
    assert main([*base, *given]) == 1
    assert "5x5" in capsys.readouterr().err
    assert main([*base, "--clip", str(tmp_path / "clip.mkv"), "--edit", "{"]) == 1
    assert (
        main(["edit", str(tmp_path / "model"), "--out", str(tmp_path / "o.mkv"), "--edit", json.dumps(one)])
        == 1
    )
    assert "--clip" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([*base, "--edited", str(tmp_path / "clip.mkv")])
    assert stopped.value.code == 2
