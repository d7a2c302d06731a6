"""What the scores promise: perfect on equal clips, worse with known faults, blind to length and number."""

import math
import subprocess
import sys
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.metrics import METRICS, comparing, floors, scores
from dtsgan.metrics.motion import (
    chunk_seam_ratio,
    loop_seam_ratio,
    motion_ratio,
    temporal_spectrum_distance,
    welch_spectrum,
)
from dtsgan.metrics.patches import (
    copy_score,
    diversity,
    laplacian_pyramid,
    nearest_distance,
    patch_windows,
    sliced_wasserstein,
)
from dtsgan.metrics.spectra import radial_power_spectrum, spatial_spectrum_distance, tile_seam_ratio

swd = partial(
    sliced_wasserstein, num_patches=4096, num_projections=32
)  # as the default, in a tenth of its time


PLAIN = [name for name in comparing() if name != "ms_ssim"]  # defined for clips as small as these


def texture(seed: int, num_frames: int = 48, size: int = 32, num_samples: int = 1) -> Tensor:
    """A stationary texture: filtered noise, periodic in time and space. Seeds are clips of one process."""
    white = torch.randn(num_samples, 3, num_frames, size, size, generator=torch.Generator().manual_seed(seed))
    t, y, x = torch.meshgrid(*(torch.fft.fftfreq(n) for n in (num_frames, size, size)), indexing="ij")
    gain = 1 / (1 + (t / 0.1) ** 2) / (0.004 + y.square() + x.square())
    clip = torch.fft.ifftn(torch.fft.fftn(white, dim=(2, 3, 4)) * gain, dim=(2, 3, 4)).real
    return (0.3 * clip / clip.std()).clamp(-1, 1)


def blurred(clip: Tensor, size: int) -> Tensor:
    return F.avg_pool3d(clip, (1, size, size), 1, (0, size // 2, size // 2), count_include_pad=False)


def slowed(clip: Tensor, factor: int) -> Tensor:
    slow = F.interpolate(clip, scale_factor=(factor, 1, 1), mode="trilinear")
    return slow[:, :, : clip.shape[2]]


def shuffled(clip: Tensor) -> Tensor:
    return clip[:, :, torch.randperm(clip.shape[2], generator=torch.Generator().manual_seed(0))]


def noisy(clip: Tensor, std: float) -> Tensor:
    return clip + std * torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))


def increases(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


@pytest.fixture(scope="module")
def real() -> Tensor:
    return texture(seed=0)


@pytest.fixture(scope="module")
def unseen() -> Tensor:
    return texture(seed=1)


# The table


@pytest.mark.parametrize("name", [n for n in PLAIN if n not in ("copy_score", "diversity", "nnf_diversity")])
def test_a_clip_beside_itself_is_perfect(name, real):
    assert METRICS[name](real, real) == METRICS[name].perfect


@pytest.mark.parametrize("name", [n for n in PLAIN if METRICS[n].preparation])
def test_the_real_clips_part_of_the_work_done_before_changes_no_score(name, real, unseen):
    assert METRICS[name](unseen, METRICS[name].prepared(real)) == METRICS[name](unseen, real)


def test_the_names_of_the_scores_cost_no_torch():
    code = "import sys; from dtsgan.metrics import METRICS; assert METRICS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scores_are_repeatable_and_leave_the_global_generator_alone(real, unseen):
    before = torch.get_rng_state()
    fake, real = unseen[:, :, :12, :20, :20], real[:, :, :12, :20, :20]
    for score in (swd, copy_score, temporal_spectrum_distance):
        assert score(fake, real) == score(fake, real)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_single_sample_has_no_diversity(real):
    assert scores(real, real, ["motion_ratio", "diversity"]) == {"motion_ratio": 1.0}


def test_an_unknown_score_is_refused_with_the_known_ones(real):
    with pytest.raises(ValueError, match=r"unknown scores \['fid'\].*copy_score"):
        scores(real, real, ["fid"])


def test_floors_rank_unseen_footage_before_every_fault_that_a_score_should_see():
    sees = {
        "motion_ratio": ("shuffled", "noise"),
        "temporal_spectrum_distance": ("shuffled", "noise"),
        "spatial_spectrum_distance": ("blurred", "noise"),
        "sliced_wasserstein_motion": ("shuffled", "noise"),
        "copy_score": ("copy", "blurred"),
        "diversity": ("copy",),
    }
    table = floors(texture(seed=0, num_frames=40, size=24), names=sees)
    assert [*table] == ["unseen", "copy", "blurred", "shuffled", "noise"]
    assert all([*row] == [*sees] for row in table.values())
    for name, faults in sees.items():
        off = {clip: abs(row[name] - METRICS[name].perfect) for clip, row in table.items()}
        assert all(off["unseen"] < 0.5 * off[fault] for fault in faults), (name, off)


def test_short_clips_have_floors_without_unseen_footage_unless_it_is_given(real):
    names = ["motion_ratio", "diversity"]
    assert "unseen" not in floors(real[:, :, :12], names=names)
    assert floors(real[:, :, :12], held_out=real[:, :, 20:30], names=names)["unseen"].keys() == {*names}


@pytest.mark.parametrize("name", PLAIN)
def test_a_standstill_gives_a_number(name, real):
    moving = real[..., :12, :20, :20].expand(2, -1, -1, -1, -1)
    still = moving[:, :, :1].expand_as(moving)
    flat = torch.zeros_like(still)
    for fake, other in [(still, moving), (moving, still), (flat, flat)]:
        assert math.isfinite(METRICS[name](fake, other))


@pytest.mark.parametrize(
    "name", [n for n in PLAIN if n not in ("diversity", "nnf_distance", "nnf_diversity")]
)
def test_a_score_hardly_depends_on_length_and_number(name, real):
    real = real[..., :24, :24]
    fake = blurred(slowed(texture(seed=2, num_frames=128, size=24), 2), 3)
    whole = METRICS[name](fake, real)
    in_pieces = METRICS[name](torch.cat(fake.chunk(4, dim=2)), real)
    assert in_pieces == pytest.approx(whole, rel=0.1)


def test_clips_that_do_not_fit_are_refused(real):
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        motion_ratio(real[:, :, :1], real)
    with pytest.raises(ValueError, match="shape"):
        motion_ratio(real[0], real)
    with pytest.raises(ValueError, match="equal channels"):
        sliced_wasserstein(real[:, :1], real)
    with pytest.raises(ValueError, match="at least 14 pixels"):
        sliced_wasserstein(real, real[..., :10])
    with pytest.raises(ValueError, match="needs 10 frames of the real clip, got 8"):
        copy_score(real, real[:, :, :8])
    with pytest.raises(ValueError, match="variant must be one of"):
        sliced_wasserstein(real, real, variant="grey")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_scores(real, unseen):
    fake = torch.cat([real, unseen])
    assert scores(fake.cuda(), real.cuda()) == pytest.approx(scores(fake, real), rel=1e-3)


# Motion


def test_slow_motion_lowers_the_motion_ratio_and_moves_the_temporal_spectrum(real):
    slow = [slowed(real, factor) for factor in (1, 2, 4)]
    assert increases([-motion_ratio(clip, real) for clip in slow])
    assert increases([temporal_spectrum_distance(clip, real) for clip in slow])


def test_shuffled_frames_are_seen_in_time_and_not_in_space(real, unseen):
    assert motion_ratio(shuffled(real), real) > 2
    assert temporal_spectrum_distance(shuffled(real), real) > 5 * temporal_spectrum_distance(unseen, real)
    assert swd(shuffled(real), real, "motion") > 5 * swd(unseen, real, "motion")
    assert spatial_spectrum_distance(shuffled(real), real) == pytest.approx(0, abs=1e-4)


def test_the_temporal_spectrum_ignores_contrast(real):
    assert (
        temporal_spectrum_distance(real / 2, real) < 0.5 < temporal_spectrum_distance(slowed(real, 2), real)
    )


def test_the_welch_spectrum_is_scipys(real):
    scipy_welch = pytest.importorskip("scipy.signal").welch
    _, density = scipy_welch(real.numpy(), nperseg=16, axis=2)
    one_sided = torch.tensor([2.0] * 7 + [1.0])  # scipy folds negative frequencies onto positive ones
    expected = torch.from_numpy(density).mean((0, 1, 3, 4))[1:] / one_sided
    torch.testing.assert_close(welch_spectrum(real, segment=16), expected)


def test_a_clip_made_periodic_loops_and_a_cut_one_jumps(real):
    assert loop_seam_ratio(real) == pytest.approx(1, abs=0.2)
    assert loop_seam_ratio(real[:, :, :24]) > 2


def test_chunks_flicker_more_the_further_apart_they_are(real):
    def chunked(step: float) -> Tensor:
        level = torch.arange(48) // 8 % 2
        return real + step * level[:, None, None]

    ratios = [chunk_seam_ratio(chunked(step), period=8) for step in (0.0, 0.1, 0.2)]
    assert ratios[0] == pytest.approx(1, abs=0.1)
    assert increases(ratios)
    assert chunk_seam_ratio(chunked(0.2), period=7) < ratios[2]
    with pytest.raises(ValueError, match="period must be at least 2 and less than the 48 frames, got 48"):
        chunk_seam_ratio(real, period=48)


# Spectra


def test_blur_moves_the_spatial_spectrum_and_not_the_temporal_one(real):
    blurs = [blurred(real, size) for size in (1, 3, 5, 7)]
    assert increases([spatial_spectrum_distance(clip, real) for clip in blurs])
    assert temporal_spectrum_distance(blurs[-1], real) < 0.5


def test_noise_moves_the_spatial_spectrum(real):
    assert increases([spatial_spectrum_distance(noisy(real, std), real) for std in (0.0, 0.02, 0.05, 0.1)])


def test_a_checkerboard_is_seen(real):
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    checkered = real + 0.02 * (1 - 2 * ((x + y) % 2))
    assert spatial_spectrum_distance(checkered, real) > 3 * spatial_spectrum_distance(texture(1), real)


def test_white_noise_has_a_flat_spectrum_of_its_variance_whatever_the_size():
    noise = 0.3 * torch.randn(1, 3, 16, 40, 56, generator=torch.Generator().manual_seed(0))
    for clip, size in ((noise, 40), (noise, 24), (noise[..., :33, :], 33)):
        power = radial_power_spectrum(clip, size)
        torch.testing.assert_close(power, torch.full_like(power, 0.09), rtol=0.2, atol=0)
    torch.testing.assert_close(welch_spectrum(noise, 8)[1:], torch.full((3,), 0.09), rtol=0.1, atol=0)


def test_a_tile_has_no_seam_and_a_cut_one_only_along_the_cut(real):
    assert tile_seam_ratio(real, "x") == pytest.approx(1, abs=0.15)
    cut = real[..., :20]
    assert tile_seam_ratio(cut, "x") > 1.5
    assert tile_seam_ratio(cut, "y") == pytest.approx(1, abs=0.15)
    with pytest.raises(ValueError, match="axis must be 'x' or 'y', got 'z'"):
        tile_seam_ratio(real, "z")


# Patches


@pytest.mark.parametrize("variant", ["raw", "zero_mean", "motion"])
def test_the_sliced_distance_grows_with_noise_from_that_of_unseen_footage(variant, real, unseen):
    distances = [swd(noisy(real, std), real, variant) for std in (0.0, 0.1, 0.2, 0.4)]
    assert distances[0] == 0
    assert increases(distances)
    assert swd(unseen, real, variant) < 0.5 * distances[-1]


def test_a_colour_cast_is_seen_by_raw_patches_alone(real):
    cast = real + torch.tensor([0.2, 0.0, -0.2]).view(3, 1, 1, 1)
    assert swd(cast, real, "raw") > 0.05
    assert swd(cast, real, "zero_mean") == pytest.approx(0, abs=1e-5)
    assert swd(cast, real, "motion") == pytest.approx(0, abs=1e-5)


def test_blur_is_seen_by_centred_patches(real):
    assert increases([swd(blurred(real, size), real, "zero_mean") for size in (1, 3, 5, 7)])


def test_copies_score_near_zero_and_unseen_footage_near_one(real, unseen):
    real, unseen = real[..., :24, :24], unseen[..., :24, :24]
    assert copy_score(real[:, :, 7:31], real) < 1e-4  # whatever the start and length
    assert copy_score(noisy(real, 0.01), real) < 0.1
    assert copy_score(real[:, :, :12], torch.cat([unseen, real])[:, :, :12]) < 1e-4  # the second of two
    assert copy_score(unseen, real) == pytest.approx(1, abs=0.15)


def test_the_pyramids_bands_add_up_to_the_clip(real):
    bands = laplacian_pyramid(real[..., :27, :30], num_levels=3)
    assert [[*band.shape[3:]] for band in bands] == [[27, 30], [13, 15], [6, 7]]
    clip = bands[-1]
    for band in reversed(bands[:-1]):
        clip = band + F.interpolate(clip, band.shape[2:], mode="trilinear")
    torch.testing.assert_close(clip, real[..., :27, :30])


def test_the_nearest_patch_is_found_exactly(real):
    size = (3, 5, 5)
    clip, queries = real[:, :, :6, :12, :12], patch_windows(texture(5)[:, :, :5, :9, :9], size).flatten(4)
    queries = queries.flatten(0, 3)
    candidates = patch_windows(clip, size).flatten(4).flatten(0, 3)
    expected = torch.cdist(queries.double(), candidates.double()).min(1).values / queries.shape[1] ** 0.5
    torch.testing.assert_close(nearest_distance(queries, clip, size), expected.float())


def test_diversity_is_zero_for_one_video_and_one_for_independent_ones_of_any_number(real):
    assert diversity(real.expand(3, -1, -1, -1, -1), real) < 1e-4
    samples = texture(seed=3, num_samples=8)
    assert diversity(samples, real) == pytest.approx(1, abs=0.1)
    assert diversity(samples[:2], real) == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="at least 2 samples"):
        diversity(real, real)
