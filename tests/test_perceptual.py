"""The scores that look through pretrained networks: calibrated where there are weights, silent without."""

import json
import os
import shutil
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.errors import ConfigError, WeightsUnavailable
from dtsgan.metrics import METRICS, perceptual
from dtsgan.metrics.perceptual import (
    FILES,
    Inception,
    InceptionFeatures,
    Networks,
    frechet_distance,
    inception_distances,
    load_inception,
    lpips_distance,
    lpips_diversity,
    lpips_matrix,
    sigma_n_lpips,
)
from dtsgan.video import read_clip

WEIGHTS = os.environ.get("DTSGAN_METRIC_WEIGHTS")
needs_weights = pytest.mark.skipif(not WEIGHTS, reason="needs DTSGAN_METRIC_WEIGHTS, a folder of weights")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(WEIGHTS)


@pytest.fixture(scope="module")
def fire() -> Tensor:
    return read_clip(EXAMPLES / "fire.mp4", size=96)[0]


@pytest.fixture
def no_internet(monkeypatch, tmp_path) -> Iterator[list]:
    """Nothing is cached, and the way out is a proxy that takes calls and never answers; gives the calls."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    calls.append(silent.accept())

        threading.Thread(target=listen, daemon=True).start()
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY", "DTSGAN_METRIC_WEIGHTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
        monkeypatch.setattr(perceptual, "PATIENCE", 0.3)
        yield calls
        silent.shutdown(socket.SHUT_RDWR)
    for connection, _ in calls:
        connection.close()


# Weights


@needs_weights
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_gives_the_published_values(net, networks):
    expected = calibration()[f"lpips_{net}"]
    for pair, value in expected.items():
        x, y = (picture(name) for name in pair.split("-"))
        assert lpips_distance(x, y, networks.get(f"lpips_{net}")).item() == pytest.approx(value, abs=1e-3)


@needs_weights
def test_inception_gives_the_listed_features(networks):
    inception = networks.get("inception")
    with torch.inference_mode():
        maps = inception(picture("ex_ref"))
    for dims, x in zip(inception.dims, maps, strict=True):
        expected = calibration()["fid_features_ex_ref_first4"][str(dims)]
        assert x.mean((2, 3))[0, :4].tolist() == pytest.approx(expected, abs=1e-3)


def calibration() -> dict:
    assert WEIGHTS is not None
    return json.loads((Path(WEIGHTS) / "manifest.json").read_text())["calibration"]["expected"]


def picture(name: str) -> Tensor:
    assert WEIGHTS is not None
    return read_clip(Path(WEIGHTS) / "calibration" / f"{name}.png", min_frames=1)[0][:, :, 0]


def test_without_weights_and_internet_each_network_says_why_and_asks_only_once(no_internet):
    networks = Networks()
    for name in FILES:
        with pytest.raises(WeightsUnavailable, match=r"cannot be downloaded .* DTSGAN_METRIC_WEIGHTS"):
            networks.get(name)
    asked = len(no_internet)
    assert asked == len(FILES)  # one call each, given up after PATIENCE
    with pytest.raises(WeightsUnavailable, match="cannot be downloaded"):
        networks.get("inception")
    assert len(no_internet) == asked


def test_a_folder_without_the_file_is_unavailable_and_one_that_does_not_exist_an_error(tmp_path, monkeypatch):
    with pytest.raises(WeightsUnavailable, match=f"has no {FILES['lpips_alex']}"):
        Networks(tmp_path).get("lpips_alex")
    with pytest.raises(ConfigError, match=r"--metric-weights names .*nowhere, which is not a folder"):
        Networks(tmp_path / "nowhere")
    monkeypatch.setenv("DTSGAN_METRIC_WEIGHTS", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"DTSGAN_METRIC_WEIGHTS names .*gone"):
        Networks()


@needs_weights
def test_damaged_weights_are_refused(tmp_path):
    name = FILES["lpips_squeeze"]
    shutil.copy(Path(WEIGHTS or "") / name, tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    data[-3] ^= 0x40
    (tmp_path / name).write_bytes(data)
    shutil.copy(Path(WEIGHTS or "") / "manifest.json", tmp_path)
    with pytest.raises(WeightsUnavailable, match="not the file that its manifest"):
        Networks(tmp_path).get("lpips_squeeze")
    (tmp_path / "manifest.json").unlink()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        Networks(tmp_path).get("lpips_squeeze")


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / FILES["lpips_alex"])
    with pytest.raises(WeightsUnavailable, match="weights for lpips_alex do not fit"):
        Networks(tmp_path).get("lpips_alex")


def test_a_score_without_its_network_is_refused(fire):
    with pytest.raises(ValueError, match="looks through the network 'inception'"):
        METRICS["fid_64"](fire, fire)


def test_the_blocks_are_pytorch_fids(monkeypatch):
    """All four, with one set of random weights in both: only the wiring is compared."""
    from pytorch_fid import inception as fid

    torch.manual_seed(0)
    states = []

    def random_weights(*_, **__):
        net = fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
        for block, module in (
            ("5b", fid.FIDInceptionA(192, 32)), ("5c", fid.FIDInceptionA(256, 64)),
            ("5d", fid.FIDInceptionA(288, 64)), ("6b", fid.FIDInceptionC(768, 128)),
            ("6c", fid.FIDInceptionC(768, 160)), ("6d", fid.FIDInceptionC(768, 160)),
            ("6e", fid.FIDInceptionC(768, 192)), ("7b", fid.FIDInceptionE_1(1280)),
            ("7c", fid.FIDInceptionE_2(2048)),
        ):  # fmt: skip
            setattr(net, f"Mixed_{block}", module)
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        return states[0]

    monkeypatch.setattr(fid, "load_state_dict_from_url", random_weights)
    theirs = fid.InceptionV3([0, 1, 2, 3]).eval()
    ours = load_inception("inception", states[0]).eval()
    assert isinstance(ours, Inception) and ours.dims == (64, 192, 768, 2048)
    x = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        for dims, a, b in zip(ours.dims, ours(2 * x - 1), theirs(x), strict=True):
            expected = b if dims < 2048 else b.flatten(1)
            torch.testing.assert_close(a.mean((2, 3)) if dims == 2048 else a, expected, rtol=1e-3, atol=1e-5)


# Fréchet distance


def test_the_frechet_distance_is_pytorch_fids():
    from pytorch_fid.fid_score import calculate_frechet_distance

    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 12, generator=rng) @ torch.randn(12, 12, generator=rng)
    y = 0.5 + torch.randn(200, 12, generator=rng) @ torch.randn(12, 12, generator=rng)
    moments = [m for z in (x, y) for m in (z.mean(0).double().numpy(), z.double().T.cov().numpy())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of how pytorch-fid calls it
        assert frechet_distance(x, y) == pytest.approx(calculate_frechet_distance(*moments), rel=1e-6)


def test_the_frechet_distance_of_shifted_features_is_the_shift_squared():
    for count in (8, 400):  # fewer and more features than dimensions
        x = torch.randn(count, 16, generator=torch.Generator().manual_seed(1))
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
        assert frechet_distance(x, x + 2) == pytest.approx(16 * 4, rel=1e-6)
        # of one covariance scaled: tr C (1 - s)^2 about equal means
        spread = (x - x.mean(0)) * 3 + x.mean(0)
        assert frechet_distance(x, spread) == pytest.approx(4 * x.double().var(0).sum().item(), rel=1e-6)


# On real video


@needs_weights
def test_distances_are_zero_on_equal_clips_and_grow_with_blur_and_noise(fire, networks):
    clip = fire[:, :, :4]
    inception = networks.get("inception")
    real = InceptionFeatures(clip, inception)
    blurs = [inception_distances(blurred(clip, size), real, inception) for size in (1, 3, 5)]
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    noises = [inception_distances(clip + std * noise, real, inception) for std in (0.0, 0.05, 0.2)]
    for name in ("fid_64", "fid_192", "fid_768", "sifid", "svfid_64"):
        assert blurs[0][name] == pytest.approx(0, abs=1e-6)
        assert all(a[name] < b[name] for a, b in pairwise(blurs)), name
        assert all(a[name] < b[name] for a, b in pairwise(noises)), name
    with pytest.raises(WeightsUnavailable, match="weights at hand end at 768 features"):
        METRICS["fid_2048"].pick(blurs[0])


@needs_weights
def test_pairs_of_frames_see_shuffling_and_single_frames_do_not(fire, networks):
    inception = networks.get("inception")
    clip = fire[:, :, :9]
    unseen, shuffled = fire[:, :, 60:69], clip[:, :, [4, 0, 7, 2, 8, 5, 1, 6, 3]]
    scores = [inception_distances(x, clip, inception) for x in (unseen, shuffled)]
    assert scores[1]["svfid_64"] > scores[0]["svfid_64"]
    assert scores[1]["fid_768"] < scores[0]["fid_768"]  # why it cannot rank it


@needs_weights
def test_diversity_is_the_mean_over_all_pairs(fire, networks):
    net = networks.get("lpips_alex")
    samples = torch.cat([fire[:, :, start : start + 3] for start in (0, 30, 60)])
    matrix = lpips_matrix(samples, net)
    assert torch.equal(matrix, matrix.T) and not matrix.diagonal().any()
    frames = samples.transpose(1, 2)  # B T 3 H W
    pairs = ((0, 1), (0, 2), (1, 2))
    expected = torch.stack([lpips_distance(frames[i], frames[j], net).mean() for i, j in pairs])
    torch.testing.assert_close(matrix[[0, 0, 1], [1, 2, 2]], expected, rtol=1e-4, atol=1e-6)
    assert lpips_diversity(samples, samples, net) == pytest.approx(expected.mean().item(), rel=1e-4)
    assert lpips_diversity(samples[:1].expand(3, -1, -1, -1, -1), samples, net) == 0
    with pytest.raises(ValueError, match="at least 2 samples"):
        lpips_diversity(samples[:1], samples, net)


@needs_weights
def test_sigma_n_lpips_is_eq_6(fire, networks):
    net = networks.get("lpips_alex")
    frames = fire[0, :, :16].transpose(0, 1)
    steps = lpips_distance(frames[:-1], frames[1:], net)
    ratio = steps / lpips_distance(frames[:1], frames[-1:], net)
    assert sigma_n_lpips(fire[:, :, :16], net) == pytest.approx(ratio.std(correction=0).item(), rel=1e-4)


@needs_weights
def test_sigma_n_lpips_is_finite_for_loops_and_standstills_and_sees_jerks(fire, networks):
    net = networks.get("lpips_alex")
    loop = torch.cat([fire[:, :, :8], fire[:, :, :8].flip(2)], 2)  # ends where it began
    assert 0 < sigma_n_lpips(loop, net) < 2
    assert sigma_n_lpips(fire[:, :, :1].expand(-1, -1, 16, -1, -1), net) == 0
    held = fire[:, :, :32:4].repeat_interleave(2, 2)  # moves only every other frame
    assert sigma_n_lpips(held, net) > 2 * sigma_n_lpips(fire[:, :, :16], net)


def blurred(clip: Tensor, size: int) -> Tensor:
    return F.avg_pool3d(clip, (1, size, size), 1, (0, size // 2, size // 2), count_include_pad=False)
