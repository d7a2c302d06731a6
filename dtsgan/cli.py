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
from pathlib import Path
from typing import Any

from dtsgan import __version__
from dtsgan.config import PRESETS
from dtsgan.errors import ConfigError, DTSGANError, RunError, VideoError

# Read by OpenMP when torch is first imported: threads that wait asleep. Where another program shares the
# cores, threads that spin at every barrier make a training step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MODEL_HELP = "a model folder, a run's folder or the name of a bundled texture (dtsgan list)"


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
    _add_evaluate(commands)
    _add_list(commands)
    _add_ui(commands)
    return parser


# -- train ---


def _add_train(commands: Any) -> None:
    p = _command(
        commands, "train", train_command, "learn the texture of one video",
        "dtsgan train river.mp4 --out runs/river\n"
        "dtsgan train fire.mp4 --out runs/fire --preset preview --start 2 --end 6\n"
        "dtsgan train --resume runs/river",
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


def train_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from dtsgan import jobs

    if (arguments.video is None) == (arguments.resume is None):
        arguments.parser.error("give a VIDEO to learn from and --out RUN, or --resume RUN")
    if arguments.resume is None and arguments.out is None:
        arguments.parser.error("give the run a folder: --out RUN")
    if arguments.resume is not None:
        run = jobs.Run.resume(arguments.resume)
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
                bar.set_description_str(
                    f"scale {progress.scale + 1}/{progress.num_scales} "
                    f"step {progress.step}/{progress.num_steps}",
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
    fps = model.fps if arguments.fps is None else arguments.fps
    if not 0 < fps <= 1000:
        raise ConfigError(f"fps must be between 0 and 1000, got {fps:g}")
    seconds = 5.0 if arguments.seconds is None else arguments.seconds
    if not 0 < seconds < 10**7:
        raise ConfigError(f"seconds must be more than 0 and less than 10^7, got {seconds:g}")
    count = arguments.num_frames if arguments.num_frames is not None else round(seconds * fps)
    if arguments.num_videos < 1:
        raise ConfigError(f"num_videos must be at least 1, got {arguments.num_videos}")
    files = []
    for k in range(arguments.num_videos):
        chunks = model.chunks(
            count,
            arguments.height,
            arguments.width,
            arguments.seed + k,
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


def _counted(chunks: Any, bar: Any) -> Any:
    for chunk in chunks:
        yield chunk[0]
        bar.update(chunk.shape[2])


# -- evaluate ---


def _add_evaluate(commands: Any) -> None:
    p = _command(
        commands, "evaluate", evaluate_command, "score samples against the real video, beside floors",
        "dtsgan evaluate runs/river\ndtsgan evaluate runs/river --reference held_out.mp4 --json",
    )  # fmt: skip
    p.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    p.add_argument(
        "--reference", metavar="CLIP", type=Path, help="real video (default: the run's own source)"
    )
    p.add_argument(
        "--num-videos", metavar="N", type=int, default=4, help="samples to draw (default: %(default)s)"
    )


def evaluate_command(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from dtsgan import metrics
    from dtsgan.model import DTSGAN
    from dtsgan.pyramid import resize
    from dtsgan.rundir import RunDir
    from dtsgan.video import read_clip

    model = DTSGAN.from_pretrained(arguments.model)
    reference = arguments.reference or RunDir(Path(arguments.model)).source
    if not reference.exists():
        raise RunError(f"{reference} does not exist: give the real video with --reference CLIP")
    if arguments.num_videos < 1:
        raise ConfigError(f"num_videos must be at least 1, got {arguments.num_videos}")
    real = resize(read_clip(reference, min_frames=4)[0], model.size)
    length = min(real.shape[2], 64)
    fakes = torch.cat([model.sample(length, seed=k) for k in range(arguments.num_videos)])
    try:
        scores, floors = metrics.scores(fakes, real), metrics.floors(real)
    except ValueError as error:  # too short or too small for a score
        raise VideoError(f"{reference} cannot be compared with: {error}") from error
    if not arguments.json:
        columns = {"model": scores, **floors}
        print(f"{'':28}" + "".join(f"{name:>16}" for name in columns))
        for name in scores:
            print(
                f"{name:28}"
                + "".join(f"{column.get(name, float('nan')):16.3f}" for column in columns.values())
            )
    return {"scores": scores, "floors": floors, "num_videos": arguments.num_videos, "num_frames": length}


# -- list ---


def _add_list(commands: Any) -> None:
    p = _command(
        commands, "list", list_command, "textures at hand: bundled, and runs under a folder", "dtsgan list"
    )
    p.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"), help="default: runs/"
    )


def list_command(arguments: argparse.Namespace) -> dict[str, Any]:
    from dtsgan.model import BUNDLED, bundled_models
    from dtsgan.rundir import RunDir, read_json

    bundled = [{"name": name, "folder": str(BUNDLED / name)} for name in bundled_models()]
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
        for item in runs:
            print(
                f"{item['run']:24} {item['state']}{'' if item['has_model'] else ', nothing to draw from yet'}"
            )
        if not bundled and not runs:
            print(f"nothing yet: dtsgan train VIDEO --out {arguments.folder}/NAME makes the first")
    return {"bundled": bundled, "runs": runs}


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


def _command(commands: Any, name: str, run: Any, summary: str, examples: str) -> argparse.ArgumentParser:
    p = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
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


if __name__ == "__main__":
    sys.exit(main())
