"""Prediction of frames that no training has seen, and editing, each beside its floors.

    DTSGAN_EVAL_DATA=clips/ DTSGAN_METRIC_WEIGHTS=weights/ python benchmarks/prediction.py --runs runs70/

For each clip a texture and its encoder are learned from the first 70 % of the video (`--runs` keeps these
runs and goes on with those that are there; `--existing` trains nothing). Predictions begin at frames of the
last 30 %; what really followed is the truth. Floors: the last frame copied, a random real clip, and the real
clip whose first frame is nearest to the picture. LPIPS (AlexNet) is measured where its weights are at hand.
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import Figure, keep, machine, parser
from torch import Tensor

from dtsgan import jobs
from dtsgan.edit import Edit, plain_edit
from dtsgan.metrics.motion import frame_differences, motion_ratio
from dtsgan.metrics.patches import sliced_wasserstein
from dtsgan.model import DTSGAN
from dtsgan.video import from_uint8, probe, read_clip, to_uint8, write_contact_sheet

LENGTH = 16  # frames of a prediction, the picture included
NEAR = slice(1, 5)  # the four frames after the picture
SEEN = 0.7  # of the video, that is learned from


def main() -> None:
    p = parser(__doc__.splitlines()[0], "python benchmarks/prediction.py --clips flag fountain")
    p.add_argument("--clips", nargs="*", metavar="NAME", help="of DTSGAN_EVAL_DATA (default: all)")
    p.add_argument("--runs", type=Path, default=Path("runs70"), help="where the runs are kept (runs70/)")
    p.add_argument("--existing", action="store_true", help="measure the runs that are there, train nothing")
    p.add_argument("--preset", default="fast", help="recipe of the training (default: %(default)s)")
    p.add_argument("--starts", type=int, default=6, help="pictures of each clip (default: %(default)s)")
    p.add_argument("--seeds", type=int, default=2, help="futures of each picture (default: %(default)s)")
    p.add_argument("--sheets", type=Path, help="folder for contact sheets: the truth above the prediction")
    arguments = p.parse_args()
    data = os.environ.get("DTSGAN_EVAL_DATA")
    if not data:
        raise SystemExit("set DTSGAN_EVAL_DATA to a folder of clips: the figures are of real footage")
    if arguments.quick:
        arguments.starts, arguments.seeds = 2, 1
    before = machine()
    figures = []
    names = arguments.clips or sorted(path.stem for path in Path(data).glob("*.mp4"))
    for name in names:
        video, folder = Path(data) / f"{name}.mp4", arguments.runs / name
        if arguments.existing and not (folder / "model" / "encoder").exists():
            continue
        whole = probe(video)
        learned = round(SEEN * whole.num_frames)
        if whole.num_frames - learned < LENGTH:
            print(f"{name}: too short to hold {LENGTH} frames back")
            continue
        if not arguments.existing:
            train(video, folder, arguments.preset, learned / whole.fps)
        model = DTSGAN.from_pretrained(folder)
        clip, _ = read_clip(video, size=min(model.size))
        figures += prediction_figures(name, model, clip, learned, arguments)
        figures += edit_figures(name, model, clip[:, :, :LENGTH], arguments)
    keep("prediction", figures, before, arguments)


def train(video: Path, folder: Path, preset: str, end: float) -> None:
    run = (
        jobs.Run.resume(folder, with_prediction=True)
        if (folder / "config.json").exists()
        else jobs.train(video, folder, preset, end=end, with_prediction=True)
    )
    print(run.describe())
    for _ in run:
        pass


# -- prediction ---


def prediction_figures(name: str, model: DTSGAN, clip: Tensor, learned: int, arguments) -> list[Figure]:
    """Of one clip, each with the value of every picture and seed."""
    lpips = load_lpips()
    seen = clip[:, :, :learned]
    rng = torch.Generator().manual_seed(0)
    ordinary = frame_differences(clip)
    values: dict[tuple[str, str, str], list[float]] = {}

    def note(method: str, what: str, unit: str, value: float) -> None:
        values.setdefault((what, method, unit), []).append(float(value))

    starts = torch.linspace(learned, clip.shape[2] - LENGTH, arguments.starts).long().tolist()
    sheet = []
    for start in starts:
        real = clip[:, :, start : start + LENGTH]
        picture = real[0, :, 0]
        nearest = int(
            (seen[:, :, : learned - LENGTH] - picture[None, :, None]).square().mean((0, 1, 3, 4)).argmin()
        )
        random = int(torch.randint(learned - LENGTH, (), generator=rng))
        closed = DTSGAN(model.pyramid, model.fps)
        methods: dict[str, list[Tensor]] = {
            "encoder": [model.predict(picture, LENGTH, seed) for seed in range(arguments.seeds)],
            "copy of the last frame": [real[:, :, :1].expand_as(real)],
            "nearest real clip": [seen[:, :, nearest : nearest + LENGTH]],
            "random real clip": [seen[:, :, random : random + LENGTH]],
        }
        if closed.can_predict:
            futures = [closed.predict(picture, LENGTH, seed) for seed in range(arguments.seeds)]
            methods["closed form, no encoder"] = futures
        sheet += [real[:, :, :8], methods["encoder"][0][:, :, :8]]
        for method, futures in methods.items():
            for future in futures:
                error = psnr(future, real)
                note(method, "first frame, PSNR", "dB", min(float(error[0]), 99.0))
                note(method, "frames 2 to 5, PSNR", "dB", error[NEAR].mean())
                note(method, "frames 2 to 16, PSNR", "dB", error[1:].mean())
                note(method, "motion ratio", "", motion_ratio(future, real))
                steps = frame_differences(torch.cat([picture[None, :, None], future[:, :, 1:2]], 2))
                note(
                    method,
                    "jump: part of real steps that are smaller",
                    "",
                    (ordinary < steps[0]).float().mean(),
                )
                if lpips is not None:
                    note(method, "first frame, LPIPS", "", lpips(future[:, :, :1], real[:, :, :1]).mean())
                    note(method, "frames 2 to 16, LPIPS", "", lpips(future[:, :, 1:], real[:, :, 1:]).mean())
                    note(method, "sigma-N-LPIPS", "", sigma_n_lpips(future, lpips))
        if lpips is not None:
            note("what really came", "sigma-N-LPIPS", "", sigma_n_lpips(real, lpips))
    if arguments.sheets is not None:
        write_contact_sheet(arguments.sheets / f"{name}.png", sheet[:8], 8)
    return [Figure(f"{name}: {what}, {method}", unit, runs) for (what, method, unit), runs in values.items()]


def psnr(fake: Tensor, real: Tensor) -> Tensor:
    """Of each frame, `(T,)`; the range of values is 2."""
    return 10 * torch.log10(4 / (fake - real).square().mean((0, 1, 3, 4)).clamp(min=1e-12))


def sigma_n_lpips(clip: Tensor, lpips: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Deviation of LPIPS of neighbours over that of the ends (Eq. 6); a loop's ends are kept apart."""
    ends = float(lpips(clip[:, :, :1], clip[:, :, -1:]).mean())
    return float(lpips(clip[:, :, :-1], clip[:, :, 1:]).std()) / max(ends, 1e-3)


def load_lpips() -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS of each pair of frames, where `DTSGAN_METRIC_WEIGHTS` holds AlexNet's features."""
    weights = Path(os.environ.get("DTSGAN_METRIC_WEIGHTS", "")) / "alexnet_features.safetensors"
    if not weights.is_file():
        return None
    import lpips
    from safetensors.torch import load_file

    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    known = load_file(weights)
    net.net.load_state_dict({k: known["features." + k.split(".", 1)[1]] for k in net.net.state_dict()})

    @torch.no_grad()
    def distance(one: Tensor, other: Tensor) -> Tensor:
        return net(*(clip[0].transpose(0, 1) for clip in (one, other))).flatten()

    return distance


# -- editing ---


def edit_figures(name: str, model: DTSGAN, clip: Tensor, arguments) -> list[Figure]:
    """A patch of the video moved to another place: drawn anew, beside plain pasting and Poisson blending."""
    height, width = clip.shape[3:]
    w, h = width // 4, height // 4
    values: dict[tuple[str, str], list[float]] = {}
    sheet = [clip]
    active = frame_map(clip)  # patches are taken from where it moves most
    top, left = peak(active, h, w)
    for k, (x, y) in enumerate(((left // 3, top // 3), ((left + width - w) // 2, (top + height - h) // 2))):
        one = Edit(op="copy", box=(left, top, w, h), to=(x, y), delay=2 + k)
        plain, mask = plain_edit(model, clip, one)
        inside = mask[0, 0, 0] > 0
        results = {
            "drawn anew": model.edit(plain, mask),
            "plain pasting": plain,
            "Poisson blending": poisson(plain, clip, inside),
        }
        for method, edited in results.items():
            seam = seam_ratio(edited, clip, inside)
            patch = edited[..., y : y + h, x : x + w]
            source = clip[..., top : top + h, left : left + w]
            moved = frame_differences(patch).mean() / frame_differences(source).mean().clamp(min=1e-6)
            values.setdefault(("seam ratio", method), []).append(seam)
            values.setdefault(("motion inside against the source's", method), []).append(float(moved))
            values.setdefault(("patch distance", method), []).append(
                sliced_wasserstein(patch, clip, num_levels=2)
            )
        kept = model.edit(plain, mask)
        is_same = torch.equal(kept[..., grown(inside, 12) == 0], clip[..., grown(inside, 12) == 0])
        values.setdefault(("unchanged outside, to the last bit", "drawn anew"), []).append(float(is_same))
        sheet += list(results.values())
    if arguments.sheets is not None:
        write_contact_sheet(arguments.sheets / f"{name}_edit.png", sheet, 8)
    return [Figure(f"{name}: edit, {what}, {method}", "", runs) for (what, method), runs in values.items()]


def frame_map(clip: Tensor) -> Tensor:
    """Deviation over time of each pixel, `(H, W)`."""
    return clip.std(2).mean((0, 1))


def peak(values: Tensor, h: int, w: int) -> tuple[int, int]:
    """Upper left corner of the window of the largest mean."""
    means = torch.nn.functional.avg_pool2d(values[None, None], (h, w), stride=1)[0, 0]
    place = int(means.argmax())
    return place // means.shape[1], place % means.shape[1]


def grown(mask: Tensor, by: int) -> Tensor:
    return torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * by + 1, 1, by)[0, 0]


def seam_ratio(edited: Tensor, clip: Tensor, inside: Tensor) -> float:
    """Steps between neighbours across the mask's border, over ordinary steps of the video at both ends of the
    patch: 1 is as any place."""

    def across(video: Tensor, mask: Tensor) -> Tensor:
        sideways = (video[..., 1:] - video[..., :-1]).abs().mean((0, 1, 2))
        down = (video[..., 1:, :] - video[..., :-1, :]).abs().mean((0, 1, 2))
        return torch.cat([
            sideways[mask[:, 1:] != mask[:, :-1]], down[mask[1:] != mask[:-1]]
        ])  # fmt: skip

    near = grown(inside, 6) > 0
    steps = torch.cat([
        (edited[..., 1:] - edited[..., :-1]).abs().mean((0, 1, 2))[near[:, 1:] & near[:, :-1]],
        (edited[..., 1:, :] - edited[..., :-1, :]).abs().mean((0, 1, 2))[near[1:] & near[:-1]],
    ])  # fmt: skip
    return float(across(edited, inside).mean() / steps.mean().clamp(min=1e-6))


def poisson(plain: Tensor, clip: Tensor, inside: Tensor) -> Tensor:
    """Poisson blending of each frame (Perez et al. 2003), OpenCV's."""
    rows, columns = (torch.nonzero(inside.any(axis)).flatten() for axis in (1, 0))
    centre = (int(columns[0] + columns[-1] + 1) // 2, int(rows[0] + rows[-1] + 1) // 2)
    mask = (inside.numpy() * 255).astype(np.uint8)
    border = [0, -1]
    mask[border, :], mask[:, border] = 0, 0  # it needs a rim to read from
    frames = [
        cv2.seamlessClone(np.ascontiguousarray(p), np.ascontiguousarray(c), mask, centre, cv2.NORMAL_CLONE)
        for p, c in zip(to_uint8(plain)[0], to_uint8(clip)[0], strict=True)
    ]
    return from_uint8(np.stack(frames)[None])


if __name__ == "__main__":
    main()
