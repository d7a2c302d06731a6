"""Real patches in place of drawn ones: each used as often as another, chosen alike however it is drawn."""

from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import make_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dtsgan.config import ModelConfig
from dtsgan.errors import ConfigError
from dtsgan.networks import PyramidGenerator
from dtsgan.patch_transport import (
    AGREED_SIGMA,
    BESIDE,
    IN_TIME,
    LIMIT,
    MATCHINGS,
    MAX_FRAMES,
    MID_GREY,
    NUM_FEATURES,
    PATCH,
    POTENTIAL_UNIT,
    ROUNDS,
    RUN,
    SEAM,
    SPATIAL_SIGMA,
    PatchTimes,
    PatchTransport,
    Plan,
    Rung,
    kept_frames,
    ladder,
    natural_stride,
    on_grid,
)
from dtsgan.pyramid import resize
from dtsgan.sampler import Draw, LinearSource, Stream
from dtsgan.trainer import fit_coarse, fit_coarse_by_rungs
from dtsgan.video import read_clip

CLIP = make_clip(60, 40, 48)


def fitted(
    clip: Tensor, components: int, stride: int = 4, passes: int = 1, agreement: bool = False,
    steady: bool = True, guided: bool = False, seams: bool = False, aligned: bool = False,
) -> PyramidGenerator:  # fmt: skip
    """The closed-form scale alone."""
    config = ModelConfig(
        coarse="linear", layout="anchored", num_components=components, patch_transport=True,
        patch_stride=stride, patch_passes=passes, patch_agreement=agreement, restore_contrast=True,
        steady_contrast=steady, guided_fades=guided, matched_seams=seams, aligned_fades=aligned,
        whiten=True,
    )  # fmt: skip
    pyramid = PyramidGenerator(config, [(clip.shape[3], clip.shape[4])], clip.shape[2])
    pyramid.fit_colors(clip)
    fit_coarse(pyramid, clip)
    return pyramid.eval()


@pytest.fixture(
    scope="module",
    params=[(1, 1), (2, 1), (4, 1), (2, 2), (1, 1, True), (4, 1, True), (1, 1, True, True, True),
            (4, 1, True, True, True), (4, 1, True, True, True, True),
            (2, 1, True, True, False, False, True), (4, 1, True, True, True, True, True)],
    ids=lambda p: (
        f"stride {p[0]}, passes {p[1]}" + ", agreement" * (len(p) > 2) + "".join(
            name * on for name, on in zip((", guided", ", seams", ", aligned"), p[4:], strict=False)
        )
    ),
)  # fmt: skip
def scene(request) -> PyramidGenerator:
    """Waves, with two rungs, of which the first may be there twice; neighbours may agree, also by what they
    look like, and fades be guided and aligned."""
    return fitted(CLIP, 12, *request.param)


def chosen_at_anchors(
    pyramid: PyramidGenerator, rung: Rung, video: Tensor, new: float = 1.0
) -> tuple[Tensor, Plan, Tensor]:
    """The patches chosen for all frames of `video` that have the frames around them, what these show, and
    these frames."""
    plan = Plan.of(pyramid.transport.times, rung.margin, video.shape[2] - 2 * rung.margin)
    times = [pyramid.transport.times.anchor(number) for number in rung.around(plan.numbers)]
    chosen = rung.choose(rung.features(video, times), times, new)
    return chosen, plan, video[:, :, rung.margin : video.shape[2] - rung.margin]


@pytest.fixture(scope="module")
def flag() -> tuple[PyramidGenerator, Tensor]:
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "flag.mp4", size=20)
    return fitted(clip, 60), clip


def draw(pyramid: PyramidGenerator, count: int, **settings) -> Tensor:
    return Stream(pyramid, Draw(**settings)).take(count)


@given(st.tuples(st.integers(4, 400), st.integers(4, 400)))
def test_the_ladder_grows_from_small_to_the_size_itself(size):
    sizes = ladder(size)
    assert sizes[-1] == size
    assert all(a[0] <= b[0] and a[1] <= b[1] and a != b for a, b in pairwise(sizes))
    assert len(sizes) == 1 or min(sizes[0]) == 20


@given(st.integers(1, 3000))
def test_all_frames_of_a_short_source_are_kept_and_runs_of_a_long_one(count):
    kept = kept_frames(count)
    assert kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] == count - 1
    assert len(kept) == count if count <= MAX_FRAMES else len(kept) <= MAX_FRAMES
    transport = PatchTransport((4, 4), count)
    for i in transport.centres:  # a patch's frames follow each other in the source
        assert kept[i] - kept[i - 1] == kept[i + 1] - kept[i] == 1
    assert len(transport.centres) >= min(count, RUN) - 2


@given(st.integers(1, 3000), st.sampled_from([2, 4, 8]))
def test_long_patches_lie_within_one_run_of_the_source(count, stride):
    transport = PatchTransport((4, 4), count, stride)
    kept, reach = transport.kept, transport.times.reach
    for i in transport.centres:
        assert kept[i - reach : i + reach + 1] == [*range(kept[i] - reach, kept[i] + reach + 1)]
    assert len(transport.centres) >= min(count, 2 * RUN if reach > 1 else RUN) - 2 * reach


@given(st.sampled_from([1, 2, 4, 8]), st.integers(0, 40), st.integers(-100, 100))
def test_what_a_frame_shows_is_near_it_and_weighs_one(stride, period, frame):
    times = PatchTimes(stride, period)
    shares = times.shares(frame)
    for number, offset, weight in shares:
        assert times.anchor(number) + offset == frame or weight == 0
        assert abs(offset) <= times.reach
    assert sum(weight for _, _, weight in shares) == pytest.approx(1)
    if period:  # anchors, and so all frames, repeat
        later = times.shares(frame + period)
        assert [(o, w) for _, o, w in later] == [(o, w) for _, o, w in shares]
        assert times.anchor(later[0][0]) == times.anchor(shares[0][0]) + period


def test_slow_clips_have_long_patches_and_fast_ones_short():
    t, y, x = torch.meshgrid(torch.arange(60), torch.arange(24), torch.arange(24), indexing="ij")
    strides = [
        natural_stride(torch.sin(0.6 * x + 0.3 * y - speed * t).expand(1, 3, -1, -1, -1))
        for speed in (0.1, 0.22, 0.3, 0.6, 1.2, 1.5)  # frames a third of a turn apart differ by half
    ]
    assert strides == [8, 8, 4, 4, 2, 2]
    assert natural_stride(torch.sin(0.6 * x - 0.1 * t).expand(1, 3, -1, -1, -1)[:, :, :13]) == 2


def test_a_fit_says_how_far_it_is_before_each_further_rung():
    pyramid = fitted(CLIP, 12)
    assert pyramid.transport.sizes == [(20, 24), (40, 48)]
    assert [*fit_coarse_by_rungs(pyramid, CLIP)] == [pytest.approx(480 * 56 / (480 * 56 + 1920 * 44))]


def test_a_patch_moves_on_between_choices():
    """What drifts in the source drifts in what is drawn: no frame stands still until the next choice."""
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "ocean.mp4", size=20)
    standing = {}
    for stride in (1, 8):
        video = draw(fitted(clip, 60, stride), 60, seeds=[1])
        moved = (video[:, :, 1:] - video[:, :, :-1]).abs().amax(1)
        standing[stride] = float((moved < 1 / 255).float().mean())
    real = float(((clip[:, :, 1:] - clip[:, :, :-1]).abs().amax(1) < 1 / 255).float().mean())
    assert standing[8] - real < (standing[1] - real) / 2


def test_sums_of_features_are_exact_in_float32(scene):
    votes = (8 * BESIDE + 2 * IN_TIME) * NUM_FEATURES * LIMIT**2
    largest = 3 * NUM_FEATURES * LIMIT**2 + 32768 * POTENTIAL_UNIT + votes
    assert largest < 2**24
    for rung in scene.transport.prepared():
        assert rung.keys.abs().max() <= LIMIT
        assert (rung.keys == rung.keys.round()).all()
        assert rung.filters.abs().max() <= 2**11  # whole numbers that TF32 has, too
        assert (rung.filters == rung.filters.round()).all() and rung.filters.abs().max() > 100
        assert rung.filters.abs().sum((1, 2, 3)).max() * MID_GREY <= 2**24


def test_features_are_how_a_patch_differs_from_its_place_along_the_basis(scene):
    """Beside the patches' own values times the basis, in float64: off by what pixels of 8 bits cost."""
    rung = scene.transport.prepared()[-1]
    video = torch.rand(2, 3, 9, *rung.size, dtype=torch.float64, generator=torch.manual_seed(0)) * 2 - 1
    times = [rung.reach, 8 - rung.reach]
    basis = rung.basis.double().unflatten(0, (len(rung.compared), -1))  # f p d

    def seen(clip: Tensor, at: list[int]) -> Tensor:  # B 3 T h w, to B A P d
        padded = F.pad(clip.flatten(0, 1), (3, 3, 3, 3), mode="replicate").unflatten(0, clip.shape[:2])
        of_frames = [[F.unfold(padded[:, :, t + k], 7, stride=2).mT for k in rung.compared] for t in at]
        return torch.stack([sum(x @ b for x, b in zip(one, basis, strict=True)) for one in of_frames], 1)

    _, coarse = [*scene.transport._pairs()][-1]
    source = seen(coarse[None].double(), scene.transport.centres)[0]  # n P d
    gain = LIMIT / (source - source.mean(0)).abs().amax((0, 2))[:, None]
    wanted = ((seen(video, times) - source.mean(0)) * gain).clamp(-LIMIT, LIMIT)
    given = rung.features(video, times).permute(1, 2, 0, 3)
    assert given.shape == wanted.shape
    assert (given - wanted).abs().max() < 0.03 * wanted.abs().max() and (given - wanted).abs().mean() < 2
    assert torch.corrcoef(torch.stack([given.flatten(), wanted.flatten()]).double())[0, 1] > 0.999
    keys = ((source - source.mean(0)) * gain).transpose(0, 1)
    assert (rung.keys - keys).abs().max() < 0.05 * LIMIT and (rung.keys - keys).abs().mean() < 1


def test_whatever_way_it_is_drawn_every_bit_is_the_same(scene):
    whole = draw(scene, 20, seeds=[3])
    stream = Stream(scene, Draw(seeds=[3]))
    assert torch.equal(torch.cat([stream.take(n) for n in (1, 7, 2, 1, 9)], 2), whole)
    assert torch.equal(draw(scene, 8, seeds=[3], start_frame=12), whole[:, :, 12:])
    assert torch.equal(draw(scene, 20, seeds=[1, 3])[1:], whole)


def test_a_loop_repeats_exactly(scene):
    video = draw(scene, 30, seeds=[0], period=15)
    assert torch.equal(video[:, :, :15], video[:, :, 15:])
    assert (video[:, :, 1:] - video[:, :, :-1]).abs().mean((0, 1, 3, 4)).min() > 0


def test_contrast_and_motion_stay_where_nearest_patches_lose_them(flag):
    pyramid, clip = flag
    rung = pyramid.transport.prepared()[0]
    drawn = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(8)), 0).take(40))

    def contrast_and_motion(x):
        return torch.stack([x.std((0, 2)).mean(), (x[:, :, 1:] - x[:, :, :-1]).abs().mean()])

    nearest, transported = (
        contrast_and_motion(rung.average(*chosen_at_anchors(pyramid, rung, drawn, new))[0])
        for new in (0.0, 1.0)
    )
    real = contrast_and_motion(clip)
    assert (transported > 0.7 * real).all() and (transported < 1.3 * real).all()
    assert (nearest < 0.95 * transported).all()


def test_what_averaging_flattens_gets_its_contrast_back():
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "grass.mp4", size=20)
    pyramid = fitted(clip, 60)
    rung = pyramid.transport.prepared()[0]
    drawn = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(4)), 0).take(60))
    chosen = chosen_at_anchors(pyramid, rung, drawn)
    flat, restored = (
        x.std((0, 2)).mean() / clip.std((0, 2)).mean() for x in (rung.average(*chosen)[0], rung.vote(*chosen))
    )
    assert flat < 0.88
    assert restored == pytest.approx(1, abs=0.12)


def test_contrast_and_detail_stay_while_one_choice_fades_into_the_next():
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "fire.mp4", size=20)
    of_source = detail(clip).mean()
    swings = {}
    for steady in (False, True):
        pyramid = fitted(clip, 60, steady=steady)
        video = draw(pyramid, 80, seeds=range(50, 58))
        at_moment = detail(video).unflatten(0, (-1, 4)).mean(0) / of_source  # 0 to 3 frames after a choice
        swings[steady] = float(at_moment.max() - at_moment.min())
        if steady:
            assert ((at_moment - 1).abs() < 0.1).all()
    assert swings[False] > 0.1 and swings[True] < 0.4 * swings[False]


def detail(video: Tensor) -> Tensor:
    """Root mean square of what a blur takes from each frame, `(T,)`."""
    fine = video - F.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
    return fine.square().mean((0, 1, 3, 4)).sqrt()


def test_neighbours_agree_more_when_patches_are_chosen_again():
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "flag.mp4", size=34)
    pyramid = fitted(clip, 60, passes=2)
    first, second, _ = pyramid.transport.prepared()
    assert first.size == second.size
    video = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(4)), 0).take(70))
    lost = []
    for rung in (first, second):
        chosen = chosen_at_anchors(pyramid, rung, video)
        lost.append(lost_in_averaging(pyramid, rung, *chosen))
        video = on_grid(rung.vote(*chosen))
    assert lost[1] < 0.8 * lost[0]


def test_places_that_take_after_their_neighbours_agree_with_them_in_space_and_in_time(flag):
    apart, clip = flag
    alike, goes_on = [], []
    for pyramid in (apart, fitted(clip, 60, agreement=True)):
        rung = pyramid.transport.prepared()[0]
        video = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(4)), 0).take(70))
        chosen, *_ = chosen_at_anchors(pyramid, rung, video)
        moments = rung.moments[chosen]  # B A P
        alike.append(float((moments.unflatten(2, rung.grid).diff(dim=3) == 0).float().mean()))
        goes_on.append(float((moments.diff(dim=1) == pyramid.transport.times.stride).float().mean()))
    assert alike[1] > 2 * alike[0] and alike[1] > 0.5
    assert goes_on[1] > 2 * goes_on[0]


def test_a_vote_is_for_what_goes_on_and_never_across_a_gap_of_the_source():
    rung = Rung((8, 8), 6, 2, "flat", agreement="moments")
    rung.moments = torch.tensor([2, 3, 4, 50, 51, 52])
    assert rung._moved(2).tolist() == [2, -1, -1, 5, -1, -1]
    assert rung._moved(-1).tolist() == [-1, 0, 1, -1, 3, 4]


def lost_in_averaging(
    pyramid: PyramidGenerator, rung: Rung, chosen: Tensor, plan: Plan, below: Tensor
) -> float:
    """The part of the variance over time that averaging takes: patches of one mind would keep theirs."""
    real = resize(pyramid.transport.clip[None] / 127.5 - 1, rung.size)
    power = real.var((0, 2)).mean()
    return 1 - float(rung.average(chosen, plan, below)[0].var((0, 2)).mean() / power)


def test_a_fade_shows_more_of_the_choice_that_is_nearer_to_the_video_below():
    clip = torch.full((3, 12, 20, 20), -0.5)
    clip[:, 6:] = 0.5
    rung = Rung((20, 20), 6, 4, "flat", guided=True)
    rung.prepare(clip, clip, [*range(12)], [*range(3, 9)])
    plan = Plan.of(PatchTimes(4), 0, 5)
    dark, bright = 3, 6  # by their frames 4 and 7, and those 3 before and after
    chosen = torch.full((1, 2, rung.grid[0] * rung.grid[1]), dark)
    chosen[:, 1] = bright
    rung.centres = torch.tensor([0, 0, 0, 3, 0, 0, 8, 0, 0, 0])  # no frame of either is of the other's colour
    shown = {}
    for below in (-0.5, 0.0, 0.5):
        seen = torch.full((1, 3, 5, 20, 20), below, dtype=torch.float64)
        video, spread = rung.average(chosen, plan, seen)
        shown[below] = video.mean((0, 1, 3, 4))
        assert torch.allclose(video, video[..., :1, :1])  # all places alike
        assert spread.shape == (1, 5, 20, 20) and (spread[:, 2] <= 0.5 + 1e-9).all()
    assert all(float(one[0]) == pytest.approx(-0.5, abs=0.01) for one in shown.values())
    assert all(float(one[4]) == pytest.approx(0.5, abs=0.01) for one in shown.values())
    assert shown[0.0][2] == pytest.approx(0, abs=0.01)
    assert shown[-0.5][2] < -0.45 and shown[0.5][2] > 0.45
    for one in shown.values():
        assert (one.diff() >= 0).all()


def test_a_fade_that_follows_the_video_below_is_nearer_to_it_and_seldom_shows_two_things(flag):
    _, clip = flag
    pyramid = fitted(clip, 60, agreement=True, guided=True)
    rung = pyramid.transport.prepared()[0]
    video = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(4)), 0).take(70))
    chosen, plan, below = chosen_at_anchors(pyramid, rung, video)
    away, twice = [], []
    for rung.guided in (True, False):
        shown, spread = rung.average(chosen, plan, below)
        away.append(float((shown - below).square().mean()))
        twice.append(float(spread.mean()))
    assert away[0] < 0.96 * away[1]
    assert twice[0] < 0.9 * twice[1]


def test_what_two_choices_show_in_two_places_a_fade_shows_once_on_its_way():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    discs = [torch.sigmoid(6 - ((x - at) ** 2 + (y - 16) ** 2).sqrt()) * 1.6 - 0.8 for at in range(12, 21)]
    clip = torch.stack([discs[0]] * 6 + [discs[8]] * 6).expand(3, -1, -1, -1)  # eight pixels further on
    plan = Plan.of(PatchTimes(4), 0, 5)
    off = {}
    for aligned in (False, True):
        rung = Rung((32, 32), 6, 4, "flat", aligned=aligned)
        rung.prepare(clip, clip, [*range(12)], [*range(3, 9)])
        rung.centres = torch.tensor([0, 0, 0, 0, 0, 11])  # frames 0 to 3, and 7 to 10
        chosen = torch.zeros(1, 2, rung.grid[0] * rung.grid[1], dtype=torch.long)
        chosen[:, 1] = 5
        video, spread = rung.average(chosen, plan, torch.zeros(1, 3, 5, 32, 32, dtype=torch.float64))
        assert torch.allclose(spread[..., 0, 0], torch.tensor([0, 3 / 8, 1 / 2, 3 / 8, 0]).double())
        off[aligned] = [float((video[0, :, k] - discs[2 * k]).abs().mean()) for k in range(5)]
    assert off[False][0] < 0.01 and off[False][4] < 0.01  # but for the noise of 8 bits
    assert off[True][0] < 0.01 and off[True][4] < 0.01
    assert all(off[True][k] < 0.4 * off[False][k] for k in (1, 2, 3))


@given(st.integers(1, 30), st.sampled_from(["none", "moments"]))
@settings(max_examples=20)
def test_an_average_of_patches_of_one_frame_is_that_frame(side, agreement):
    clip = torch.rand(3, 6, side, 9) * 2 - 1
    rung = Rung((side, 9), 4, 2, "flat", agreement)
    rung.prepare(clip, clip, [*range(6)], [1, 2, 3, 4])
    plan = Plan.of(PatchTimes(2), 0, 2)
    chosen = torch.full((1, len(plan.numbers), rung.grid[0] * rung.grid[1]), 1)
    shown = rung.average(chosen, plan, clip[None, :, :2])[0][0]
    assert torch.allclose(shown[:, 0], clip[:, 2].double(), atol=1 / 127)
    assert torch.allclose(shown[:, 1], (clip[:, 3] + clip[:, 1]).double() / 2, atol=1 / 127)


@pytest.mark.parametrize("agreement", ["none", "moments", "looks"])
def test_an_average_weighs_each_patch_by_how_near_its_middle_is(agreement):
    torch.manual_seed(0)
    clip = torch.rand(3, 8, 12, 15) * 2 - 1
    rung = Rung((12, 15), 6, 2, "flat", agreement)
    rung.prepare(clip, clip, [*range(8)], [*range(1, 7)])
    plan = Plan.of(PatchTimes(2), 0, 3)
    chosen = torch.randint(6, (2, len(plan.numbers), rung.grid[0] * rung.grid[1]))

    sigma = SPATIAL_SIGMA if agreement == "none" else AGREED_SIGMA
    near = torch.exp(-((torch.arange(PATCH).double() - PATCH // 2) ** 2) / (2 * sigma**2))
    window = (near[:, None] * near).flatten()[:, None]
    r = PATCH // 2
    pixels = ((clip.double() + 1) * 127.5).round() / 127.5 - 1
    patches = F.pad(pixels.transpose(0, 1), [r] * 4)  # 8 3 h w
    patches = F.unfold(patches.flatten(0, 1)[:, None], PATCH, stride=2).unflatten(0, (8, 3))  # 8 3 p P
    inside = F.unfold(F.pad(torch.ones(1, 1, 12, 15).double(), [r] * 4), PATCH, stride=2)
    fold = lambda x: F.fold(x, (12 + 2 * r, 15 + 2 * r), PATCH, stride=2)[..., r:-r, r:-r]  # noqa: E731
    wanted = torch.zeros(2, 3, 3, 12, 15, dtype=torch.float64)
    for shown, offsets, shares in zip(plan.shown, plan.offsets, plan.weights, strict=True):
        for b, t in product(range(2), range(3)):
            frames = rung.centres[chosen[b, shown[t]]] + offsets[t]  # P
            one = patches[frames, :, :, torch.arange(len(frames))].permute(1, 2, 0)  # 3 p P
            average = fold(one * window)[:, 0] / fold(inside * window)[0]
            wanted[b, :, t] += shares[t] * average
    video, spread = rung.average(chosen, plan, wanted)
    assert torch.allclose(video, wanted, atol=0.5 / 127.5)
    assert (video - wanted).abs().mean() < 0.05 / 127.5
    assert torch.allclose(spread.flatten(), 1 - plan.weights.square().sum(0))


def test_a_place_takes_the_patch_that_costs_and_votes_make_cheapest():
    torch.manual_seed(0)
    rung = Rung((7, 9), 6, 2, "flat", agreement="moments")
    rung.moments, rung.lengths = torch.arange(6), torch.full((20, 1, 6), 1e5)
    first, costs = torch.randint(6, (20, 1, 4)), torch.randint(100_000, (20, 1, 2, 6)).float()
    chosen = first[:, 0, 1:-1].clone()
    for _ in range(ROUNDS):
        before = chosen.clone()
        for y, x, a in product(range(4), range(5), range(2)):
            here = costs[5 * y + x, 0, a].clone()
            for earlier, step in ((first[5 * y + x, 0, a], 2), (first[5 * y + x, 0, a + 2], -2)):
                if 0 <= earlier + step < 6:
                    here[earlier + step] -= round(1e5 * IN_TIME)
            for dy, dx in product((-1, 0, 1), repeat=2):
                if (dy or dx) and 0 <= y + dy < 4 and 0 <= x + dx < 5:
                    here[before[5 * (y + dy) + x + dx, a]] -= round(1e5 * BESIDE)
            chosen[5 * y + x, a] = here.argmin()
    agreed = rung.agreed(costs, first, [0, 2, 4, 6])
    assert torch.equal(agreed[0].T, chosen)


@pytest.mark.parametrize("posed", [False, True])
def test_a_place_takes_the_patch_that_costs_and_seams_make_cheapest(posed, monkeypatch):
    monkeypatch.setattr("dtsgan.patch_transport.POSED", 7 if posed else 6)
    torch.manual_seed(0)
    rung = Rung((7, 9), 6, 2, "flat", agreement="looks")
    rung.moments, rung.keys = torch.arange(6), torch.randint(-255, 256, (20, 6, NUM_FEATURES)).float()
    rung.lengths = rung.keys.square().sum(2)[:, None]
    costs = torch.randint(12_000_000, (20, 1, 4, 6)).float()

    def best(here: Tensor, now: Tensor, place: int, around: list[int], alone: list[int]) -> int:
        """Of what a place shows, what would go on its neighbours and `alone`, what costs least with its
        seams."""
        apart = [(rung.keys[place] - rung.keys[place, one]).square().sum(1) for one in around]
        total = here.double() + SEAM * sum(apart).double()
        return min([int(now), *around, *alone], key=lambda one: float(total[one]))

    def settle(costs: Tensor, chosen: Tensor, wanted: Tensor | None, alone: Tensor | None = None) -> Tensor:
        chosen = chosen.clone()
        for _ in range(MATCHINGS):
            before = chosen.clone()
            for y, x, a in product(range(4), range(5), range(chosen.shape[1])):
                nearby = product(range(max(0, y - 1), min(4, y + 2)), range(max(0, x - 1), min(5, x + 2)))
                around = [int(before[5 * v + u, a]) for v, u in nearby if (v, u) != (y, x)]
                place = 5 * y + x
                if wanted is not None:
                    around += [int(one) for one in wanted[place, a] if one >= 0]
                by_itself = [] if alone is None else [int(alone[place, a])]
                chosen[place, a] = best(costs[place, 0, a], before[place, a], place, around, by_itself)
        return chosen

    cheapest = costs[:, 0].argmin(2)
    whole = costs[:, 0].sum(0).argmin(1).expand_as(cheapest)  # one moment for all places of a frame
    first = settle(costs, whole, None, cheapest) if posed else settle(costs, cheapest, None)
    assert torch.equal(rung.first(costs)[:, 0], first)
    assert torch.equal(first, settle(costs, cheapest, None)) != posed
    wanted = torch.stack([first[:, :-2] + 2, first[:, 2:] - 2], 2)
    wanted[(wanted < 0) | (wanted > 5)] = -1
    settled = settle(costs[:, :, 1:-1], first[:, 1:-1], wanted)
    assert torch.equal(rung.agreed(costs[:, :, 1:-1], first[:, None], [0, 2, 4, 6])[0].T, settled)
    assert not torch.equal(settled, first[:, 1:-1]) and not torch.equal(first, cheapest)


def test_patches_that_match_look_more_like_what_goes_on_beside_them():
    clip, _ = read_clip(Path(__file__).parent.parent / "examples" / "flag.mp4", size=40)
    seams = {}
    for matched in (False, True):
        pyramid = fitted(clip, 60, agreement=True, seams=matched)
        rung = pyramid.transport.prepared()[0]
        video = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(4)), 0).take(70))
        chosen = chosen_at_anchors(pyramid, rung, video)[0].flatten(0, 1).T  # P A
        place = torch.arange(len(chosen)).unflatten(0, rung.grid)[:, :-1].flatten()  # all but the last column
        here, beside = rung.keys[place[:, None], chosen[place]], rung.keys[place[:, None], chosen[place + 1]]
        seams[matched] = float((here - beside).square().sum(2).mean() / rung.lengths.mean())
    assert seams[True] < 0.7 * seams[False], seams


def test_potentials_of_any_strength_count_in_full():
    rung = Rung((7, 9), 3, 2, "flat")
    rung.lengths, rung.keys = torch.zeros(20, 1, 3), torch.zeros(20, 3, NUM_FEATURES)
    rung.potentials[:] = torch.tensor([-32768, 600, 32767])
    costs = rung.costs(torch.zeros(20, 1, 1, NUM_FEATURES))
    assert costs[0, 0, 0].tolist() == [32768 * 64, -600 * 64, -32767 * 64]


def test_strong_patches_are_used_as_often_as_smooth_ones(flag):
    """The transport has the real patches' distribution; the nearest patch is too often a smooth one."""
    pyramid, _ = flag
    video = on_grid(LinearSource(pyramid.scales[0], Draw(seeds=range(100, 116)), 0).take(40))
    rung = pyramid.transport.prepared()[0]
    energy = rung.lengths[:, 0] / rung.gain**2  # P n: how much a patch differs from its place's mean
    used = {}
    for new in (0.0, 1.0):
        chosen = chosen_at_anchors(pyramid, rung, video, new)[0].flatten(0, 1).T  # P M
        used[new] = float(energy.gather(1, chosen).mean() / energy.mean())
    assert used[1.0] == pytest.approx(1, abs=0.2)
    assert used[0.0] < used[1.0] - 0.1


def test_every_colour_lies_within_what_the_place_showed(scene):
    video = draw(scene, 40, seeds=range(2))
    # an average of overlapping patches of the same place
    shown = scene.transport.clip[None].float() / 127.5 - 1
    low, high = shown.amin(2, keepdim=True), shown.amax(2, keepdim=True)
    assert (video >= low - 0.02).all() and (video <= high + 0.02).all()


def test_without_diversity_it_plays_its_source(scene):
    video = draw(scene, 50, diversity=0, start_frame=2)
    error = (video - CLIP[:, :, 2:52]).square().mean()
    assert error < 0.1 * CLIP.var()


def test_a_basis_that_two_rungs_share_is_stored_once(scene):
    names = [name for name in scene.state_dict() if name.endswith("basis")]
    assert len(names) == len(ladder(scene.sizes[0])) == 2


def test_what_is_stored_draws_the_same(scene):
    copy = PyramidGenerator(scene.config, scene.sizes, scene.num_frames)
    draw(copy.eval(), 1)  # prepared before it is loaded: what was prepared is forgotten
    copy.load_state_dict(scene.state_dict())
    assert torch.equal(draw(copy.eval(), 6, seeds=[5]), draw(scene, 6, seeds=[5]))
    assert torch.equal(draw(scene.truncated(1), 6, seeds=[5]), draw(scene, 6, seeds=[5]))


def test_a_long_source_costs_no_more_to_store():
    short, long = (PatchTransport((40, 48), n) for n in (MAX_FRAMES, 5 * MAX_FRAMES))
    size = lambda module: sum(b.numel() * b.element_size() for b in module.buffers())  # noqa: E731
    assert size(long) <= size(short)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(8, 30), width=st.integers(8, 30), frames=st.integers(3, 12))
def test_any_small_scene_can_be_fitted_and_drawn(height, width, frames):
    clip = resize(CLIP[:, :, :frames], (height, width))
    config = ModelConfig(coarse="linear", layout="anchored", num_components=4, patch_transport=True)
    pyramid = PyramidGenerator(config, [(height, width)], frames)
    fit_coarse(pyramid, clip)
    video = draw(pyramid.eval(), 3)
    assert video.shape == (1, 3, 3, height, width) and video.isfinite().all()


def test_only_the_linear_model_can_have_it():
    with pytest.raises(ConfigError, match="coarse=linear"):
        ModelConfig(coarse="adversarial", patch_transport=True)


def test_only_places_that_agree_can_match():
    with pytest.raises(ConfigError, match="set that to true, too"):
        ModelConfig(coarse="linear", patch_transport=True, matched_seams=True)
