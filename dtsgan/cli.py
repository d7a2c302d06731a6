"""The command line: one subcommand a verb. Results go to stdout, progress to stderr.

Exit status: 0 good, 1 an error the user can mend (one sentence), 2 wrong usage, 130 interrupted (state
saved).
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtsgan import __version__
from dtsgan.config import PRESETS
from dtsgan.errors import ConfigError, DTSGANError, RunError

# Read by OpenMP when torch is first imported: threads that wait asleep. Where another program shares the
# cores, threads that spin at every barrier make a training step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MODEL_HELP = (
    "a model folder, a run's folder, the name of a bundled texture (dtsgan list) or user/name on the Hub"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        result = arguments.command(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (DTSGANError, OSError) as error:
        message = " ".join(str(error).split())
        print(json.dumps({"error": message}) if arguments.json else f"dtsgan: {message}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtsgan",
        description="Learn a dynamic texture from one short video, then draw endless new video of it.",
        epilog="example: dtsgan train river.mp4 --out runs/river && dtsgan sample runs/river --out new.mp4",
    )
    parser.add_argument("--version", action="version", version=f"dtsgan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_sample(commands)
    _add_predict(commands)
    _add_edit(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_study(commands)
    _add_list(commands)
    _add_push(commands)
    _add_pull(commands)
    _add_push_space(commands)
    _add_ui(commands)
    return parser


# -- train ---


def _add_train(commands: Any) -> None:
    p = _command(
        commands, "train", train_command, "learn the texture of one video",
        "dtsgan train river.mp4 --out runs/river\n"
        "dtsgan train fire.mp4 --out runs/fire --preset preview --start 2 --end 6\n"
        "dtsgan train --resume runs/river\n"
        "dtsgan train --resume runs/river --with-prediction",
    )  # fmt: skip
    p.add_argument("video", metavar="VIDEO", nargs="?", help="a video file, or a folder of frames")
    p.add_argument(
        "--out", metavar="RUN", type=Path, help="the run's folder (never overwritten); needed with VIDEO"
    )
    p.add_argument("--resume", metavar="RUN", type=Path, help="go on with a run that was stopped or killed")
    p.add_argument(
        "--preset", default="fast", help="the recipe: " + ", ".join(PRESETS) + " (default: %(default)s)"
    )
    p.add_argument(
        "--start", metavar="S", type=float, help="learn from this second on (default: the beginning)"
    )
    p.add_argument("--end", metavar="S", type=float, help="learn up to this second (default: the end)")
    p.add_argument(
        "--crop", metavar="X,Y,W,H", type=_crop, help="learn from this part of the picture, in its pixels"
    )
    p.add_argument(
        "--size", metavar="PX", type=int, help="shorter side of the result in pixels (default: 150)"
    )
    p.add_argument(
        "--layout", default="auto", choices=("auto", "anchored", "free"),
        help="anchored: a scene with places; free: a texture, drawn at any size (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--update", choices=("neighbour", "single", "random"),
        help="how the training clip moves through the video (default: the preset's)",
    )  # fmt: skip
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.add_argument("--seed", metavar="N", type=int, default=0, help="of the training (default: %(default)s)")
    p.add_argument("--budget", metavar="MINUTES", type=float, help="scale the recipe to this time")
    p.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
        help="any other setting, e.g. --set lr_g=0.001 (repeatable)",
    )  # fmt: skip
    p.add_argument(
        "--with-prediction", action="store_true",
        help="also train the encoder of dtsgan predict, in a third of the time again at most; with --resume "
        "on a run that has none (its settings: --set encoder.form=paper, encoder.steps=N)",
    )  # fmt: skip


def train_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan import jobs

    if (arguments.video is None) == (arguments.resume is None):
        arguments.parser.error("give a VIDEO to learn from and --out RUN, or --resume RUN")
    if arguments.resume is None and arguments.out is None:
        arguments.parser.error("give the run a folder: --out RUN")
    if arguments.resume is not None:
        settings = _settings(arguments.settings) if arguments.with_prediction else {}
        run = jobs.Run.resume(arguments.resume, arguments.with_prediction, settings)
    else:
        run = jobs.train(
            arguments.video,
            arguments.out,
            arguments.preset,
            start=arguments.start,
            end=arguments.end,
            crop=arguments.crop,
            size=arguments.size,
            layout=arguments.layout,
            update=arguments.update,
            device=arguments.device,
            seed=arguments.seed,
            budget=arguments.budget,
            settings=_settings(arguments.settings),
            with_prediction=arguments.with_prediction,
        )
    folder = run.folder.path
    for warning in run.warnings:
        _say(f"note: {warning}")
    _say(run.describe())
    progress_bar = tqdm(total=1.0, bar_format=BAR, file=sys.stderr)
    with jobs.stop_requests() as asked_to_stop, progress_bar as bar, closing(iter(run)) as steps:
        try:
            for progress in steps:
                bar.n = progress.work_done
                losses = " ".join(f"{name} {value:.3g}" for name, value in progress.losses.items())
                steps_done = f"step {progress.step}/{progress.num_steps}"
                step = steps_done if progress.num_steps else "in closed form"
                bar.set_description_str(
                    f"{'scale' if progress.stage == 'texture' else 'prediction'} "
                    f"{progress.scale + 1}/{progress.num_scales} {step}",
                    refresh=False,
                )
                bar.set_postfix_str(losses, refresh=False)
                bar.update(0)
                if asked_to_stop():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            bar.close()
            _say(f"stopped and saved; go on with: dtsgan train --resume {folder}")
            raise
    _say(f"done in {run.seconds / 60:.1f} minutes; draw from it with: dtsgan sample {folder} --out new.mp4")
    return {"run": str(folder), "model": str(run.folder.model), **run.folder.read_status()}


BAR = "{desc} |{bar:24}| {percentage:3.0f}% {elapsed}<{remaining} {postfix}"


# -- sample ---


def _add_sample(commands: Any) -> None:
    p = _command(
        commands, "sample", sample_command, "draw new video from a model",
        "dtsgan sample runs/river --out new.mp4 --seconds 20 --seed 7\n"
        "dtsgan sample runs/river --out loop.gif --num-frames 48 --loop\n"
        "dtsgan sample runs/caustics --out wall.mp4 --height 300 --width 600 --tile xy",
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "--out", metavar="FILE|DIR", type=Path, required=True,
        help=".mp4, .webm, .gif, .webp, or a folder for PNG frames; with --num-videos the number is added",
    )  # fmt: skip
    length = p.add_mutually_exclusive_group()
    length.add_argument("--num-frames", metavar="N", type=int, help="length in frames (default: 5 seconds)")
    length.add_argument("--seconds", metavar="S", type=float, help="length in seconds")
    p.add_argument(
        "--height", metavar="H", type=int, help="in pixels; free textures only (default: as trained)"
    )
    p.add_argument(
        "--width", metavar="W", type=int, help="in pixels; free textures only (default: as trained)"
    )
    p.add_argument("--seed", metavar="N", type=int, default=0, help="names the video (default: %(default)s)")
    p.add_argument(
        "--num-videos", metavar="K", type=int, default=1, help="draw seeds N to N+K-1 (default: 1)"
    )
    p.add_argument("--start-frame", metavar="N", type=int, default=0, help="begin here in the endless video")
    p.add_argument("--loop", action="store_true", help="a perfect loop of the given length")
    p.add_argument(
        "--tile", choices=("x", "y", "xy"), default="", help="no seam in space; free textures only"
    )
    p.add_argument("--fps", metavar="F", type=float, help="frame rate of the file (default: the source's)")
    p.add_argument(
        "--speed", metavar="X", type=float, default=1.0, help="of the motion, 0.1 to 4 (default: 1)"
    )
    p.add_argument(
        "--diversity", metavar="X", type=float, default=1.0,
        help="0: the source's own coarse motion, 1: all new, up to 2: wilder (default: 1)",
    )  # fmt: skip


def sample_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan.model import DTSGAN
    from dtsgan.video import write_clip

    model = DTSGAN.from_pretrained(arguments.model)
    fps, count = _length(arguments, model.fps)
    if arguments.num_videos < 1:
        raise ConfigError(f"num_videos must be at least 1, got {arguments.num_videos}")
    files = []
    for k in range(arguments.num_videos):
        chunks = model.chunks(
            count,
            height=arguments.height,
            width=arguments.width,
            seed=arguments.seed + k,
            start_frame=arguments.start_frame,
            loop=arguments.loop,
            tile=arguments.tile,
            speed=arguments.speed,
            diversity=arguments.diversity,
        )
        path = arguments.out
        if arguments.num_videos > 1:
            path = path.with_name(f"{path.stem}_{arguments.seed + k}{path.suffix}")
        with tqdm(total=count, unit="frame", file=sys.stderr, leave=False) as bar:
            write_clip(path, _counted(chunks, bar), fps)
        files.append(str(path))
        _say(f"{path}: {count} frames of seed {arguments.seed + k}")
    height, width = model.size
    size = {"height": arguments.height or height, "width": arguments.width or width}
    return {"files": files, "num_frames": count, "fps": fps, "seed": arguments.seed, **size}


# -- predict ---


def _add_predict(commands: Any) -> None:
    p = _command(
        commands, "predict", predict_command, "draw the future of one picture",
        "dtsgan predict runs/river photo.jpg --out future.mp4 --seconds 10\n"
        "dtsgan predict runs/river photo.jpg --out loop.gif --num-frames 48 --loop\n"
        "dtsgan predict runs/river film.mp4 --frame 120 --out slow.mp4 --speed 0.5",
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "image", metavar="IMAGE", type=Path, help="a picture of any size (resized, its middle cut out)"
    )
    p.add_argument("--frame", metavar="N", type=int, help="IMAGE is a video: begin at its frame N")
    p.add_argument(
        "--out", metavar="FILE|DIR", type=Path, required=True, help=".mp4, .webm, .gif, .webp, or a folder"
    )
    length = p.add_mutually_exclusive_group()
    length.add_argument("--num-frames", metavar="N", type=int, help="length in frames (default: 5 seconds)")
    length.add_argument("--seconds", metavar="S", type=float, help="length in seconds")
    p.add_argument("--seed", metavar="N", type=int, default=0, help="names the future (default: %(default)s)")
    p.add_argument("--fps", metavar="F", type=float, help="frame rate of the file (default: the source's)")
    p.add_argument("--loop", action="store_true", help="a perfect loop that begins and ends at the picture")
    p.add_argument(
        "--speed", metavar="X", type=float, default=1.0,
        help="of the motion, 0.1 to 4; 0.5 and 0.25 draw two and four times the frames (default: 1)",
    )  # fmt: skip


def predict_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan.model import DTSGAN
    from dtsgan.predict import FAR, how_far
    from dtsgan.video import read_picture, write_clip

    model = DTSGAN.from_pretrained(arguments.model)
    fps, count = _length(arguments, model.fps)
    picture, facts = read_picture(arguments.image, arguments.frame)
    chunks = model.predict_chunks(picture, count, arguments.seed, arguments.loop, arguments.speed)
    for warning in facts.warnings:
        _say(f"note: {warning}")
    height, width = model.size
    is_cut = picture.shape[1] * width != picture.shape[2] * height
    if (facts.height, facts.width) != (height, width):
        cut = ", its middle cut out" if is_cut else ""
        _say(f"note: {arguments.image} ({facts.width}x{facts.height}) is made {width}x{height}{cut}")
    distance = how_far(model, picture)
    if distance > FAR:
        _say(
            f"note: this picture is {distance:.1f} times as far from the texture as its frames are from each "
            "other: what follows will soon look like the texture, not like the picture"
        )
    with tqdm(total=count, unit="frame", file=sys.stderr, leave=False) as bar:
        write_clip(arguments.out, _counted(chunks, bar), fps)
    _say(f"{arguments.out}: {count} frames from {arguments.image}, seed {arguments.seed}")
    return {
        "file": str(arguments.out), "num_frames": count, "fps": fps, "seed": arguments.seed, "height": height,
        "width": width, "distance": round(distance, 3), "has_encoder": model.has_encoder,
    }  # fmt: skip


# -- edit ---


def _add_edit(commands: Any) -> None:
    p = _command(
        commands, "edit", edit_command, "edit video of a texture: paste, move, paint, erase, and blend it in",
        "dtsgan edit runs/river --edited pasted.mp4 --mask mask.png --out river.mp4\n"
        "dtsgan edit runs/river --edits list.json --out river.mp4\n"
        'dtsgan edit runs/river --edit \'{"op": "erase", "box": [40, 30, 50, 20]}\' --out river.mp4',
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument("--edited", metavar="CLIP", type=Path, help="video that was edited by other means")
    p.add_argument(
        "--mask", metavar="IMAGE|CLIP", type=Path,
        help="with --edited: where it was edited, not black; a picture, or a video of one mask a frame",
    )  # fmt: skip
    p.add_argument(
        "--clip", metavar="CLIP", type=Path, help="video to be edited (default: the run's own source)"
    )
    p.add_argument("--edits", metavar="FILE", type=Path, help="list of edits (JSON, see docs/editing.md)")
    p.add_argument(
        "--edit", metavar="JSON", action="append", default=[], dest="more",
        help="one more edit (repeatable), made after those of --edits",
    )  # fmt: skip
    p.add_argument("--save", metavar="FILE", type=Path, help="keep the list of all edits made, as JSON")
    p.add_argument(
        "--out", metavar="FILE|DIR", type=Path, required=True, help=".mp4, .mkv, .gif, or a folder"
    )
    p.add_argument(
        "--start-scale", metavar="N", type=int,
        help="number of the size at which the edit enters: 0, the coarsest, draws most of it anew, the last "
        "but the video's own least (default: the first of half the video's size)",
    )  # fmt: skip
    p.add_argument("--seed", metavar="N", type=int, default=0, help="of what is drawn (default: %(default)s)")


def edit_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan.edit import Edit, apply_edits, load_edits, save_edits
    from dtsgan.model import DTSGAN
    from dtsgan.rundir import RunDir
    from dtsgan.video import read_clip, write_clip

    if (arguments.edited is None) != (arguments.mask is None):
        arguments.parser.error("--edited CLIP and --mask IMAGE|CLIP belong together")
    if (arguments.edited is None) == (arguments.edits is None and not arguments.more):
        arguments.parser.error("give an edited video and its mask, or a list of edits (--edits, --edit)")
    edits = load_edits(arguments.edits) if arguments.edits else []
    for text in arguments.more:
        try:
            edits.append(Edit.from_dict(json.loads(text)))
        except json.JSONDecodeError as error:
            raise ConfigError(f"--edit takes a JSON object, got {text!r:.60}: {error}") from error
    model = DTSGAN.from_pretrained(arguments.model)
    source = arguments.edited or arguments.clip or RunDir(Path(arguments.model)).source
    if not source.exists():
        raise RunError(f"{source} does not exist: give the video to be edited with --clip CLIP")
    clip, facts = read_clip(source, min_frames=1)
    for warning in facts.warnings:
        _say(f"note: {warning}")
    if arguments.edited is not None:
        mask = read_clip(arguments.mask, min_frames=1)[0][0].amax(0) + 1  # T H W, 0 where it is black
        edited = model.edit(clip, mask > 0.02, arguments.start_scale, arguments.seed)
    else:
        folder = arguments.edits.parent if arguments.edits else Path()
        edited = apply_edits(model, clip, edits, arguments.start_scale, arguments.seed, folder)
    write_clip(arguments.out, edited, facts.fps)
    if arguments.save is not None:
        save_edits(arguments.save, edits)
    _say(f"{arguments.out}: {edited.shape[2]} frames, {len(edits) or 1} edits")
    return {
        "file": str(arguments.out), "num_frames": edited.shape[2], "fps": facts.fps, "seed": arguments.seed,
        "edits": [one.to_dict() for one in edits],
    }  # fmt: skip


def _length(arguments: argparse.Namespace, fps: float) -> tuple[float, int]:
    """Frames a second and number of frames that `--fps`, `--seconds` and `--num-frames` ask for."""
    fps = fps if arguments.fps is None else arguments.fps
    if not 0 < fps <= 1000:
        raise ConfigError(f"fps must be between 0 and 1000, got {fps:g}")
    seconds = 5.0 if arguments.seconds is None else arguments.seconds
    if not 0 < seconds < 10**7:
        raise ConfigError(f"seconds must be more than 0 and less than 10^7, got {seconds:g}")
    return fps, arguments.num_frames if arguments.num_frames is not None else round(seconds * fps)


def _counted(chunks: Any, bar: Any) -> Any:
    for chunk in chunks:
        yield chunk[0]
        bar.update(chunk.shape[2])


# -- evaluate ---


def _add_evaluate(commands: Any) -> None:
    p = _command(
        commands, "evaluate", evaluate_command, "score samples against the real video, beside floors",
        "dtsgan evaluate runs/river\n"
        "dtsgan evaluate runs/river --num-videos 6 --report report\n"
        "dtsgan evaluate runs/river --reference held_out.mp4 --metric-weights weights --json",
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "--reference", metavar="CLIP", type=Path, help="real video (default: the run's own source)"
    )
    p.add_argument(
        "--num-videos", metavar="N", type=int, default=20, help="samples to draw (default: %(default)s)"
    )
    p.add_argument(
        "--metric-weights", metavar="DIR", type=Path,
        help="pretrained metric networks in local files (default: $DTSGAN_METRIC_WEIGHTS, or download them)",
    )  # fmt: skip
    p.add_argument(
        "--report",
        metavar="DIR",
        type=Path,
        help="also write a page with videos, slices, spectra and the table",
    )


def evaluate_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan.evaluate import evaluate, source_of, table
    from dtsgan.model import DTSGAN
    from dtsgan.report import check_folder, write_report

    if arguments.report:
        check_folder(arguments.report)
    model = DTSGAN.from_pretrained(arguments.model)
    reference = arguments.reference or source_of(arguments.model)
    with tqdm(total=1.0, bar_format=BAR, file=sys.stderr) as bar:

        def show(part: float, what: str) -> None:
            bar.n = part
            bar.set_description_str(what, refresh=False)
            bar.update(0)

        evaluation = evaluate(
            model, reference, arguments.num_videos, weights=arguments.metric_weights, on_progress=show
        )
        if arguments.report:
            show(1.0, "writing the report")
            page = write_report(arguments.report, model, evaluation, reference, str(arguments.model))
    if not arguments.json:
        print(table(evaluation))
    result = evaluation.to_dict()
    if arguments.report:
        result["report"] = str(page)
        _say(f"report: {page}")
    else:
        _say(f"a page with the videos beside these numbers: dtsgan evaluate {arguments.model} --report DIR")
    return result


# -- compare and study ---


def _add_compare(commands: Any) -> None:
    p = _command(
        commands, "compare", compare_command, "compare methods on clips: the paper's tables, and a page",
        "dtsgan compare flag.mp4 fire.mp4 --methods all --out report\n"
        "dtsgan compare flag.mp4 --methods lds dtsgan_preview --quick --out quick\n"
        "dtsgan compare clips/*.mp4 --methods dtsgan_fast --update single neighbour --out table3\n"
        "dtsgan compare clips/*.mp4 --methods all mine --import my.methods --out report",
        "Killed at any time, the same command goes on; a method that fails is a row with its reason.",
    )  # fmt: skip
    p.add_argument("clips", metavar="CLIP", nargs="*", help="video files; the middle square of each is used")
    p.add_argument("--out", metavar="REPORT", type=Path, required=True, help="the report's folder")
    p.add_argument(
        "--methods", metavar="NAME", nargs="+", default=["all"],
        help="all (every baseline and dtsgan_preview, dtsgan_fast and dtsgan_quality), or names; "
        "dtsgan_PRESET is a preset (default: all)",
    )  # fmt: skip
    p.add_argument(
        "--update", metavar="NAME", nargs="+", default=[],
        help="learn each DTSGAN preset with these data updates, too: single, neighbour, random (Table 3)",
    )  # fmt: skip
    p.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change a setting of every DTSGAN preset, e.g. --set update_every=20 (repeatable)",
    )  # fmt: skip
    p.add_argument(
        "--seeds", metavar="N", type=int, nargs="+", default=[0],
        help="of learning and drawing; each is a cell (default: 0)",
    )  # fmt: skip
    p.add_argument(
        "--num-videos", metavar="N", type=int, help="videos a cell (default: 20, the paper's; --quick: 2)"
    )
    p.add_argument(
        "--num-frames", metavar="N", type=int, default=16,
        help="frames of every clip that is scored (default: %(default)s, the paper's)",
    )  # fmt: skip
    p.add_argument(
        "--size", metavar="PX", type=int, default=150,
        help="side of every clip that is scored (default: %(default)s, the paper's)",
    )  # fmt: skip
    p.add_argument(
        "--budget", metavar="MINUTES", type=float,
        help="for a cell to learn and draw (default: as long as each method's settings take; --quick: 0.6)",
    )  # fmt: skip
    p.add_argument(
        "--quick", action="store_true",
        help="the methods' quick settings and little of all else, to see that all works: 6 minutes a clip",
    )  # fmt: skip
    p.add_argument(
        "--processes",
        metavar="N",
        type=int,
        help="cells at a time, which share the cores (default: 1; --quick: 2)",
    )
    p.add_argument(
        "--metric-weights", metavar="DIR", type=Path,
        help="pretrained networks of scores and methods in local files (default: $DTSGAN_METRIC_WEIGHTS)",
    )  # fmt: skip
    p.add_argument(
        "--import", metavar="MODULE", action="append", default=[], dest="imports",
        help="a Python module that adds your own methods to dtsgan.baselines.BASELINES (repeatable)",
    )  # fmt: skip
    p.add_argument("--retry", action="store_true", help="run cells anew that failed or were not available")
    p.add_argument("--rescore", action="store_true", help="score anew what is drawn, e.g. with other weights")
    p.add_argument(
        "--report-only", action="store_true", help="run nothing: write tables and page of what is done"
    )


def compare_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan.compare import QUICK, Settings, compare, write_report
    from dtsgan.compare.running import summary

    if not arguments.clips and not arguments.report_only:
        arguments.parser.error("give at least one CLIP, or --report-only")
    if arguments.report_only:
        folder = write_report(arguments.out)
    else:
        usual = QUICK if arguments.quick else Settings()
        settings = replace(
            usual,
            size=arguments.size,
            num_frames=arguments.num_frames,
            num_videos=usual.num_videos if arguments.num_videos is None else arguments.num_videos,
            budget=usual.budget if arguments.budget is None else arguments.budget,
            changes=_settings(arguments.changes),
        )
        processes = arguments.processes
        if processes is None:
            processes = 2 if arguments.quick else 1
        with tqdm(unit="cell", file=sys.stderr, leave=False) as bar:

            def show(done: int, total: int, what: str) -> None:
                bar.total, bar.n = total, done
                bar.refresh()
                tqdm.write(what, file=sys.stderr)

            try:
                folder = compare(
                    arguments.clips, arguments.out, arguments.methods, arguments.update, arguments.seeds,
                    settings, arguments.metric_weights, processes, arguments.imports,
                    arguments.retry, arguments.rescore, show,
                )  # fmt: skip
            except KeyboardInterrupt:
                bar.close()
                _say("stopped; the same command goes on where it was")
                raise
    result = summary(folder)
    if not arguments.json:
        print((folder.path / "table1.md").read_text())
    _say(f"page: {folder.page}; which looks most real? ask people: dtsgan study {folder.path}")
    return result


def _add_study(commands: Any) -> None:
    p = _command(
        commands, "study", study_command, "ask people which method's video looks most real (a blind page)",
        "dtsgan study report\n"
        "dtsgan study report --pairs --port 8000\n"
        "dtsgan study report --table > table2.md",
        "Votes are kept in REPORT/votes.sqlite; the page can be closed and opened again.",
    )  # fmt: skip
    p.add_argument("report", metavar="REPORT", type=Path, help="a folder that dtsgan compare has filled")
    p.add_argument("--table", action="store_true", help="print who is preferred so far, and serve nothing")
    p.add_argument("--pairs", action="store_true", help="show two methods at a time instead of all")
    p.add_argument(
        "--with-real", action="store_true", help="put the real clip among them: who else is taken for it?"
    )
    p.add_argument("--methods", metavar="NAME", nargs="+", help="only these (default: all that are done)")
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", metavar="N", type=int, default=7870, help="default: %(default)s")


def study_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan.study import Study, preferences, serve, table_2

    study = Study(arguments.report, arguments.methods, arguments.pairs, arguments.with_real)
    if arguments.table:
        if not arguments.json:
            print(table_2(study))
        return preferences(study)
    serve(study, arguments.host, arguments.port)
    return preferences(study)


# -- list ---


def _add_list(commands: Any) -> None:
    p = _command(
        commands, "list", list_command,
        "textures at hand: bundled, pulled, and runs under a folder; or those on the Hub",
        "dtsgan list\ndtsgan list --hub --search river\ndtsgan list --hub --author USER --tag free",
    )  # fmt: skip
    p.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"), help="default: runs/"
    )
    p.add_argument("--hub", action="store_true", help="textures on the Hugging Face Hub instead")
    p.add_argument("--search", metavar="WORDS", help="with --hub: words in the name")
    p.add_argument("--author", metavar="USER", help="with --hub: by this user or organisation")
    p.add_argument("--tag", metavar="TAG", help="with --hub: with this tag, e.g. free or anchored")
    p.add_argument("--limit", metavar="N", type=int, default=30, help="with --hub: at most (default: 30)")


def list_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan.folder import BUNDLED, bundled_models
    from dtsgan.rundir import RunDir, read_json

    if arguments.hub:
        return _list_hub(arguments)
    if arguments.search or arguments.author or arguments.tag:
        arguments.parser.error("--search, --author and --tag look on the Hub: add --hub")
    from dtsgan import hub

    bundled = [{"name": name, "folder": str(BUNDLED / name)} for name in bundled_models()]
    pulled = [{"id": texture.id} for texture in hub.cached()]
    runs: list[dict[str, Any]] = []
    for status in sorted(arguments.folder.glob("*/status.json")):
        run = RunDir(status.parent)
        try:
            values = read_json(status)
        except RunError:
            values = {"state": "damaged"}
        runs.append({"run": str(run.path), "state": values.get("state"), "has_model": run.model.exists()})
    if not arguments.json:
        for item in bundled:
            print(f"{item['name']:24} bundled")
        for item in pulled:
            print(f"{item['id']:24} pulled from the Hub")
        for item in runs:
            print(
                f"{item['run']:24} {item['state']}{'' if item['has_model'] else ', nothing to draw from yet'}"
            )
        if not bundled and not pulled and not runs:
            print(f"nothing yet: dtsgan train VIDEO --out {arguments.folder}/NAME makes the first")
    return {"bundled": bundled, "pulled": pulled, "runs": runs}


def _list_hub(arguments: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from dtsgan import hub

    found = hub.search(
        arguments.search or "", author=arguments.author, tag=arguments.tag, limit=arguments.limit
    )
    if not arguments.json:
        for texture in found:
            facts = f"{texture.downloads} downloads, {texture.likes} likes"
            print(f"{texture.id:32} {texture.updated:10}  {facts}{'  private' if texture.private else ''}")
        if not found:
            print("the Hub has no such texture")
    return {"hub": [asdict(texture) for texture in found]}


# -- the Hub ---

# A token on a command line ends up in the shell's history and in the list of processes.
TOKEN_HELP = "The token is the one of `hf auth login`, or HF_TOKEN; it is no option, as others could read it."


def _add_push(commands: Any) -> None:
    p = _command(
        commands, "push", push_command, "put a texture on the Hugging Face Hub, with its card and previews",
        "dtsgan push runs/river USER/river --licence cc0-1.0\ndtsgan push runs/river USER/river --private",
        TOKEN_HELP,
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument("repo", metavar="REPO", help="user/name; made if there is none, else brought up to date")
    p.add_argument("--private", action="store_true", help="for your eyes only")
    p.add_argument("--licence", metavar="NAME", help="as the Hub names licences, e.g. cc0-1.0 or cc-by-4.0")


def push_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan import hub

    url = hub.push(
        arguments.model,
        arguments.repo,
        private=arguments.private,
        licence=arguments.licence,
        on_progress=lambda fraction, what: _say(what) if fraction < 1 else None,
    )
    if not arguments.json:
        print(url)
    return {"repo": arguments.repo, "url": url}


def _add_pull(commands: Any) -> None:
    p = _command(
        commands, "pull", pull_command, "bring a texture from the Hub to this machine",
        "dtsgan pull USER/river && dtsgan sample USER/river --out new.mp4\n"
        "dtsgan pull USER/river --out textures/river --revision v1",
        TOKEN_HELP,
    )  # fmt: skip
    p.add_argument("repo", metavar="REPO", help="user/name")
    p.add_argument("--revision", metavar="NAME", help="a branch, tag or commit (default: the newest)")
    p.add_argument(
        "--out", metavar="FOLDER", type=Path, help="a model folder of its own (default: the Hub's cache)"
    )


def pull_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan import hub

    folder = hub.pull(arguments.repo, revision=arguments.revision, folder=arguments.out)
    if not arguments.json:
        print(folder)
    _say(f"draw from it with: dtsgan sample {arguments.out or arguments.repo} --out new.mp4")
    return {"repo": arguments.repo, "folder": str(folder)}


def _add_push_space(commands: Any) -> None:
    p = _command(
        commands, "push-space", push_space_command, "put the whole demo on the Hub, as a Space of yours",
        "dtsgan push-space USER/textures",
        TOKEN_HELP,
    )  # fmt: skip
    p.add_argument("repo", metavar="REPO", help="user/name; made if there is none, else brought up to date")
    p.add_argument("--private", action="store_true", help="for your eyes only")


def push_space_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan import hub

    url = hub.push_space(
        arguments.repo,
        private=arguments.private,
        on_progress=lambda fraction, what: _say(what) if fraction < 1 else None,
    )
    if not arguments.json:
        print(url)
    return {"repo": arguments.repo, "url": url}


# -- ui ---


def _add_ui(commands: Any) -> None:
    p = _command(
        commands, "ui", ui_command, "open the page: play, train, score by clicking",
        "dtsgan ui\ndtsgan ui --host 0.0.0.0 --port 7860 --auth name:password",
    )  # fmt: skip
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", metavar="N", type=int, help="default: the first free one from 7860 on")
    p.add_argument("--share", action="store_true", help="a public link through Gradio's servers")
    p.add_argument("--auth", metavar="NAME:PASSWORD", help="let in only those who know these")
    p.add_argument(
        "--runs", metavar="FOLDER", type=Path, help="where runs are kept (default: $DTSGAN_HOME, or runs/)"
    )
    p.add_argument("--mcp", action="store_true", help="serve the page's actions as tools, too (gradio[mcp])")


def ui_command(arguments: argparse.Namespace) -> dict[str, Any]:
    name, separator, password = (arguments.auth or "").partition(":")
    if arguments.auth is not None and not (name and separator and password):
        raise ConfigError("--auth takes NAME:PASSWORD, both at least one letter long")
    from dtsgan.ui.app import serve

    serve(
        arguments.host,
        arguments.port,
        arguments.share,
        (name, password) if name else None,
        arguments.runs,
        arguments.mcp,
    )
    return {}


# -- shared ---


def _command(
    commands: Any, name: str, run: Any, summary: str, examples: str, note: str = ""
) -> argparse.ArgumentParser:
    p = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + "." + (f"\n{note}" if note else ""),
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    p.set_defaults(command=run, parser=p)
    return p


def _crop(text: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f'takes four whole numbers X,Y,W,H, got "{text}"') from None
    return x, y, width, height


def _settings(items: list[str]) -> dict[str, str]:
    settings = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator:
            raise ConfigError(f'--set takes KEY=VALUE, got "{item}"')
        settings[key.strip()] = value.strip()
    return settings


def _say(message: str) -> None:
    print(message, file=sys.stderr)
