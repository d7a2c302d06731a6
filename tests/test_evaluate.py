"""A model's scores beside their floors: what is compared with what, and what cannot be said."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from conftest import FPS, make_clip

from dtsgan import video
from dtsgan.config import ModelConfig
from dtsgan.errors import ConfigError, RunError
from dtsgan.evaluate import Evaluation, evaluate, table
from dtsgan.metrics import CONTROLS, FAULTS, METRICS, controls, floors, ranks, scores
from dtsgan.metrics.neighbours import nearest_neighbour_scores
from dtsgan.metrics.patches import nearest_patches, patch_windows
from dtsgan.metrics.similarity import ms_ssim
from dtsgan.model import DTSGAN
from dtsgan.networks import PyramidGenerator

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WEIGHTS = os.environ.get("DTSGAN_METRIC_WEIGHTS")
CHEAP = ["motion_ratio", "spatial_spectrum_distance", "diversity", "loop_seam_ratio"]
PLAIN = [name for name, m in METRICS.items() if m.kind == "pair" and not m.network and name != "ms_ssim"]


@pytest.fixture(scope="session")
def no_weights(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("no_weights"))


@pytest.fixture(scope="module")
def evaluation(anchored_pyramid, clip, no_weights) -> Evaluation:
    return evaluate(DTSGAN(anchored_pyramid, FPS), clip, num_videos=3, weights=no_weights)


def test_samples_and_floors_are_of_one_length_beside_halves_of_the_real_video(evaluation):
    assert (evaluation.num_frames, evaluation.reference_frames) == (20, 40)
    assert evaluation.seeds == (0, 1, 2) and evaluation.num_videos == 3
    assert evaluation.size == (20, 27)
    assert {"unseen", *CONTROLS, "cut"} == {*evaluation.floors}


def test_every_score_has_a_number_with_its_floors_or_a_reason(evaluation):
    assert {*evaluation.scores} == {*METRICS}
    for name, value in evaluation.scores.items():
        if value is None:
            assert evaluation.unavailable[name]
            assert all(name not in column for column in evaluation.floors.values())
        else:
            assert name not in evaluation.unavailable and math.isfinite(value)
            assert any(name in column for column in evaluation.floors.values())
    for name in PLAIN:
        assert evaluation.scores[name] is not None
        assert all(name in evaluation.floors[column] for column in ("unseen", *CONTROLS))
        assert {*evaluation.ranks[name]} == {*FAULTS}


def test_without_weights_the_scores_that_need_them_say_so_and_the_rest_are_there(evaluation):
    for name, metric in METRICS.items():
        if metric.network:
            assert evaluation.scores[name] is None
            assert "has no" in evaluation.unavailable[name]
    assert evaluation.lpips_matrix is None


def test_a_copy_is_perfect_where_copies_are_and_found_out_where_not(evaluation):
    copy = evaluation.floors["copy"]
    assert copy["motion_ratio"] == pytest.approx(1)
    assert copy["copy_score"] == pytest.approx(0, abs=1e-3)
    assert copy["nnf_distance"] == pytest.approx(0, abs=1e-6)
    assert copy["diversity"] == pytest.approx(0, abs=1e-3)


def test_ranks_follow_the_floors(evaluation):
    name = "spatial_spectrum_distance"  # sees blur, and cannot see the order of frames
    assert evaluation.ranks[name]["noise"]
    assert evaluation.blind_to(name) == [f for f in FAULTS if not evaluation.ranks[name][f]]
    assert ranks({"unseen": 1.0, "blurred": 2.0, "noise": 0.5}) == {"blurred": True, "noise": False}


def test_an_anchored_scene_has_no_tiles_and_both_kinds_have_loops(evaluation, free_model, clip, no_weights):
    assert "anchored" in evaluation.unavailable["tile_seam_ratio_x"]
    assert evaluation.scores["loop_seam_ratio"] == pytest.approx(1, abs=0.9)
    tiles = ["tile_seam_ratio_x", "tile_seam_ratio_y"]
    free = evaluate(free_model, clip[:, :, :24], num_videos=1, weights=no_weights, names=tiles)
    for name in tiles:
        assert (
            0 < free.scores[name] < 3
        )  # of 20 pixels and random weights; test_sampler has the exact property
        assert name in free.floors["cut"]


def test_evaluation_is_repeatable_and_survives_json(evaluation, anchored_model, clip, no_weights):
    again = evaluate(anchored_model, clip, num_videos=3, weights=no_weights, names=CHEAP)
    for name in CHEAP:
        assert again.scores[name] == evaluation.scores[name]
        assert all(again.floors[c].get(name) == evaluation.floors[c].get(name) for c in evaluation.floors)
    values = evaluation.to_dict()
    kept = json.loads(json.dumps(values, allow_nan=False))
    assert kept == values and Evaluation.from_dict(kept).to_dict() == values


def test_floors_of_one_model_hold_for_another_of_the_same_clip(
    evaluation, anchored_pyramid, clip, no_weights
):
    model = DTSGAN(anchored_pyramid, FPS)
    told = []
    other = evaluate(
        model, clip, num_videos=3, weights=no_weights, names=CHEAP, first_seed=1, beside=evaluation,
        on_progress=lambda part, what: told.append((part, what)),
    )  # fmt: skip
    assert told[0] == (0, "video 1 of 3") and told[-1][0] < 1
    alone = evaluate(model, clip, num_videos=3, weights=no_weights, names=CHEAP, first_seed=1)
    assert other.seeds == (1, 2, 3) and other.scores == alone.scores
    assert other.scores["motion_ratio"] != evaluation.scores["motion_ratio"]
    for name in CHEAP:
        assert other.perfect[name] == alone.perfect[name]
        assert other.ranks.get(name) == alone.ranks.get(name)
        assert all(other.floors[c].get(name) == alone.floors[c].get(name) for c in alone.floors)
    with pytest.raises(ConfigError, match=r"other evaluation are \(20, 40, .* of this one \(16, 32, .*leave"):
        evaluate(model, clip[:, :, :32], num_videos=1, beside=evaluation)


def test_the_source_of_a_run_is_the_reference_and_a_bare_model_needs_one(
    anchored_model, clip, tmp_path, no_weights
):
    run = tmp_path / "run"
    anchored_model.save_pretrained(run / "model")
    with pytest.raises(RunError, match=r"does not exist: give the real video with --reference CLIP"):
        evaluate(run)
    video.write_clip(run / "source.mkv", clip, FPS)
    found = evaluate(run, num_videos=1, weights=no_weights, names=CHEAP)
    assert found.reference == str(run / "source.mkv") and found.reference_frames == 40
    with pytest.raises(RunError, match="a model alone has no source"):
        evaluate(anchored_model)


def test_a_short_reference_has_no_unseen_part_and_is_judged_all_the_same(anchored_model, no_weights):
    found = evaluate(anchored_model, make_clip(12), num_videos=1, weights=no_weights, names=CHEAP)
    assert found.num_frames == 12
    assert "motion_ratio" not in found.floors["unseen"] and not found.ranks
    assert found.scores["motion_ratio"] is not None


def test_numbers_out_of_range_are_refused(anchored_model, clip):
    with pytest.raises(ConfigError, match="num_videos must be at least 1, got 0"):
        evaluate(anchored_model, clip, num_videos=0)
    with pytest.raises(ConfigError, match=r"num_frames must be 4 to 20, half of the 40 frames .* got 30"):
        evaluate(anchored_model, clip, num_frames=30)
    with pytest.raises(ConfigError, match=r'there is no score "motion_ration" \(did you mean "motion_ratio"'):
        evaluate(anchored_model, clip, names=["motion_ration"])


def test_progress_begins_at_nothing_and_never_goes_back(anchored_model, clip, no_weights):
    told = []

    def tell(part: float, what: str) -> None:
        told.append((part, what))

    evaluate(anchored_model, clip, 2, weights=no_weights, on_progress=tell, names=CHEAP)
    parts = [part for part, _ in told]
    assert parts == sorted(parts) and parts[0] == 0 and 0.8 < parts[-1] < 1
    assert any("video 2 of 2" in what for _, what in told)


def test_the_table_names_every_number_and_every_reason(evaluation):
    lines = table(evaluation)
    for name in METRICS:
        assert name in lines
    assert "best: 1" in lines and "not available:" in lines and "judges" in lines


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS, reason="needs DTSGAN_METRIC_WEIGHTS, a folder of weights")
def test_with_weights_all_that_can_be_had_is_there():
    clip = video.read_clip(EXAMPLES / "fire.mp4", size=40, end=0.9)[0]
    pyramid = PyramidGenerator(ModelConfig(coarse="adversarial", features=(4,)), [(20, 20), (40, 40)], 22)
    found = evaluate(DTSGAN(pyramid, FPS), clip, num_videos=3)
    assert {name for name in found.unavailable if METRICS[name].network} <= {"fid_2048"}
    assert found.lpips_matrix is not None and len(found.lpips_matrix) == 3
    assert found.lpips_matrix[0][1] == found.lpips_matrix[1][0] > 0
    assert found.floors["copy"]["fid_64"] < found.floors["unseen"]["fid_64"] < found.floors["noise"]["fid_64"]
    assert found.floors["copy"]["lpips_diversity"] == 0 < found.floors["unseen"]["lpips_diversity"]


# New scores


def test_ms_ssim_is_the_librarys():
    msssim = pytest.importorskip("pytorch_msssim")
    rng = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.interpolate(torch.rand(1, 3, 2, 20, 24, generator=rng), (2, 121, 150)) * 2 - 1
    for std in (0.02, 0.1, 0.5):
        noisy = (clean + std * torch.randn(clean.shape, generator=rng)).clamp(-1, 1)
        frames = [(c.transpose(1, 2)[0] + 1) / 2 for c in (noisy, clean)]  # T C H W in [0, 1]
        expected = msssim.ms_ssim(*frames, data_range=1.0, win_size=7, win_sigma=1.5 * 7 / 11)
        assert ms_ssim(noisy, clean) == pytest.approx(expected.item(), abs=1e-5)
    assert ms_ssim(clean, clean) == pytest.approx(1)


def test_ms_ssim_needs_room_and_one_size():
    clip = torch.zeros(1, 3, 2, 96, 120)
    with pytest.raises(ValueError, match="at least 97 pixels"):
        ms_ssim(clip, clip)
    with pytest.raises(ValueError, match="equal sizes"):
        ms_ssim(torch.zeros(1, 3, 2, 100, 120), torch.zeros(1, 3, 2, 100, 110))


def test_a_replayed_video_has_a_simple_field_and_a_rearranged_one_a_complex_one(clip):
    late = nearest_neighbour_scores(clip[:, :, 9:29], clip)
    assert late["distance"] == pytest.approx(0, abs=1e-8) and late["diversity"] < 0.05
    rearranged = clip[:, :, [*range(12, 20), *range(0, 8), *range(30, 38)]]
    assert late["diversity"] < nearest_neighbour_scores(rearranged, clip)["diversity"]
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    far = [nearest_neighbour_scores(clip + std * noise, clip) for std in (0.05, 0.2, 0.5)]
    assert far[0]["distance"] < far[1]["distance"] < far[2]["distance"]
    assert far[2]["diversity"] > 5 * late["diversity"]


def test_the_field_points_at_the_nearest_patch(clip):
    """A fake that plays the real clip from frame 9 on: every patch lies 9 frames later, nowhere else."""
    size = (3, 3, 3)
    queries = patch_windows(clip[:, :, 9:13], size)[0].flatten(3).flatten(0, 2)
    distance, place = nearest_patches(queries, clip, size)
    assert distance.max() < 1e-5
    frames = place // (22 * 30)
    assert torch.equal(frames.view(2, -1), torch.tensor([[9], [10]]).expand(2, 22 * 30))


def test_controls_are_what_they_say(clip):
    pair = torch.cat([clip, clip])
    found = controls(pair)
    assert torch.equal(found["copy"], pair)
    assert found["blurred"].diff(dim=4).abs().mean() < 0.9 * pair.diff(dim=4).abs().mean()
    assert torch.equal(found["shuffled"].sort(dim=2).values, pair.sort(dim=2).values)
    assert not torch.equal(found["shuffled"][0], found["shuffled"][1])
    assert found["noise"].std() == pytest.approx(pair.std().item(), rel=0.1)


@pytest.mark.parametrize("example", ["fire", "ocean"])
def test_on_real_textures_the_scores_rank_the_faults_that_they_are_for(example):
    clip = video.read_clip(EXAMPLES / f"{example}.mp4", size=40)[0]
    sees = {
        "motion_ratio": ("noise",),
        "temporal_spectrum_distance": ("shuffled", "noise"),
        "spatial_spectrum_distance": ("blurred", "noise"),
        "sliced_wasserstein_motion": ("shuffled", "noise"),
    }
    found = floors(clip[:, :, :80], names=sees)
    for name, faults in sees.items():
        perfect = METRICS[name].perfect
        assert perfect is not None
        off = {column: abs(row[name] - perfect) for column, row in found.items()}
        ranked = ranks(off)
        assert all(ranked[fault] for fault in faults), (name, off)
    assert found["copy"]["motion_ratio"] == pytest.approx(1)


def test_scores_in_one_pass_equal_scores_alone(clip):
    names = ["nnf_distance", "nnf_diversity"]
    fake = make_clip(12, seed=3)
    together = scores(fake, clip, names)
    assert together == {name: METRICS[name](fake, clip) for name in names}
