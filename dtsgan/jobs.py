"""A run is a folder: start it, follow it, stop it, find it again after a restart."""

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import torch
from filelock import lock_descriptor
from torch import Tensor

from dtsgan import __version__
from dtsgan.card import draw_previews, write_card
from dtsgan.checkpoint import load_state, save_state
from dtsgan.config import Config, EncoderConfig, PyramidConfig, parse_settings
from dtsgan.config import preset as find_preset
from dtsgan.errors import ConfigError, DTSGANError, RunError
from dtsgan.estimate import check_memory, estimate
from dtsgan.model import DTSGAN
from dtsgan.patch_transport import has_outlines, natural_stride
from dtsgan.predict import TIME_SHARE, EncoderTraining
from dtsgan.pyramid import is_stationary_in_space, resize, scale_sizes
from dtsgan.rundir import RunDir, write_json
from dtsgan.trainer import Progress, Training, check_length, check_size
from dtsgan.video import read_clip, side_by_side, write_clip

SAVE_SECONDS = 4.0  # a killed run loses at most this, and the step it was in
STATUS_SECONDS = 1.0
PREVIEW_SECONDS = 3.0
LOOKING = threading.Lock()  # who looks at a run's lock holds it for a moment: one of us at a time
LOOK = PyramidConfig(num_scales=2)  # at 25 pixels one sees whether a clip is a scene or a texture


def train(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    preset: str = "fast",
    *,
    start: float | None = None,
    end: float | None = None,
    crop: tuple[int, int, int, int] | None = None,
    size: int | None = None,
    layout: str = "auto",
    update: str | None = None,
    device: str = "auto",
    seed: int = 0,
    budget: float | None = None,
    settings: dict[str, Any] | None = None,
    with_prediction: bool = False,
) -> "Run":
    """Starts learning the texture of `video`.

    Args:
        video: any file that holds video, or a folder of frames.
        out: the run's folder; `runs/<name of the video>` when not given. Never overwritten.
        preset: a name from `PRESETS`.
        start, end: the part to learn from, in seconds.
        crop: `(x, y, width, height)` in the source's pixels.
        size: shorter side of the finest scale in pixels.
        layout: `"auto"`, `"anchored"` (a scene) or `"free"` (a texture of any size).
        update: the data update, `"neighbour"`, `"single"` or `"random"`; the preset's own when not given.
        device: `"auto"`, `"cpu"`, `"cuda"` or `"mps"`.
        seed: of everything random in the training.
        budget: minutes that the training may take; the preset's step counts are scaled to it.
        settings: any other setting by its name; those of the encoder begin with `encoder.`.
        with_prediction: train the encoder of `DTSGAN.predict`, too, in a third of the time again at most.

    Returns:
        A `Run`: iterate it for `Progress`; `run.model` is the texture, from the first finished scale on.
    """
    if budget is not None and not 0 < budget < 10**6:
        raise ConfigError(f"the budget must be a positive number of minutes, got {budget:g}")
    if layout not in ("auto", "anchored", "free"):
        raise ConfigError(f'layout is auto, anchored or free; got "{layout}"')
    settings, encoder = encoder_settings(settings or {}, seed)
    changes = {"seed": seed, **({} if update is None else {"update": update}), **settings}
    chosen = find_preset(preset).with_settings(changes)  # a wrong name is refused before a long video is read
    place = choose_device(device)
    path, folder = Path(video), RunDir(Path(out) if out else Path("runs") / Path(video).stem)
    side = size or chosen.pyramid.max_size
    clip, facts = read_clip(path, start=start, end=end, crop=crop, size=side)
    if layout == "auto":
        layout = (
            "free"
            if is_stationary_in_space(resize(clip, scale_sizes(LOOK, *clip.shape[3:])[0]))
            else "anchored"
        )
    config = find_preset(preset, "free" if layout == "free" else "anchored").with_settings(changes)
    if config.model.patch_transport:
        named = {name.rpartition(".")[2] for name in changes}
        if "patch_stride" not in named:
            config = config.with_settings({"patch_stride": natural_stride(clip)})
        stride, agrees = config.model.patch_stride, config.model.patch_agreement
        # matched seams cost some of what is new; guided fades jump in slow scenes, aligned ones bend water
        sweeps = agrees and stride == 4 and has_outlines(clip)
        suited = {"guided_fades": stride == 2 or sweeps, "matched_seams": sweeps, "aligned_fades": sweeps}
        config = config.with_settings({name: v for name, v in suited.items() if name not in named})
    if size is not None:
        config = replace(config, pyramid=config.pyramid.resized(size))
    check_memory(config, clip.shape[2], (clip.shape[3], clip.shape[4]), place)
    check_length(config, clip.shape[2])
    check_size(config, scale_sizes(config.pyramid, clip.shape[3], clip.shape[4]))
    folder.create()
    write_clip(folder.source, clip, facts.fps)  # before config.json, which makes the folder a run
    info = {
        "format_version": 1,
        "dtsgan": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": str(place),
        "video": path.name,
        "video_sha256": _sha256(path),
        "start": start,
        "end": end,
        "crop": crop,
        "fps": facts.fps,
        "budget": budget,
        "config": config.to_dict(),
        "prediction": asdict(encoder) if with_prediction else None,
    }
    write_json(folder.config, info)
    run = Run.resume(folder.path)  # learn from what a resumed run will read
    run.warnings = facts.warnings
    return run


class Run:
    """A training and its folder. Iterating trains and keeps the folder true; stopping saves."""

    def __init__(
        self, folder: RunDir, clip: Tensor, config: Config, device: torch.device, info: dict[str, Any]
    ) -> None:
        self.folder, self.info, self.device = folder, info, device
        self.warnings: tuple[str, ...] = ()  # what the reader of the video should know
        self.fps: float = info["fps"]
        budget = info.get("budget")
        self.encoder_config: EncoderConfig | None = info["prediction"]
        share = 1 if self.encoder_config is None else 1 / (1 + TIME_SHARE)
        self.training = Training(clip, config, device, None if budget is None else 60 * budget * share)
        self.encoder_training: EncoderTraining | None = None  # once the pyramid is finished
        self.seconds = float(info.get("seconds", 0.0))  # spent in earlier sittings
        self.source_clip = clip

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        with_prediction: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> "Run":
        """Finds a stopped, killed or finished run again.

        Args:
            with_prediction: train the encoder of `DTSGAN.predict`, too, even if the run began without.
            settings: of the encoder, where it is not begun yet; their names begin with `encoder.`.

        Raises:
            RunError: if there is none in `path`, or it is damaged.
        """
        folder = RunDir(Path(path))
        folder.check()
        info = folder.read_config()
        try:
            config = Config.from_dict(info["config"])
            device = choose_device(str(info["device"]))
            info["seconds"] = float(folder.read_status().get("seconds", 0.0))
            info["fps"] = float(info["fps"])
            info["video"] = str(info["video"])
            known = info.get("prediction")
            encoder = None if known is None else EncoderConfig(**parse_settings(EncoderConfig, known))
            if not 0 < info["fps"] <= 1000:
                raise ConfigError(f"fps must be between 0 and 1000, got {info['fps']:g}")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunError(f"{folder.config} is damaged: {error}") from error
        if with_prediction:
            others, wanted = encoder_settings(settings or {}, config.train.seed)
            if others:
                raise ConfigError(
                    f'the setting "{next(iter(others))}" cannot change when a run is resumed: only those of '
                    "the encoder can, as encoder.steps"
                )
            if encoder is None or (settings and wanted != encoder):
                if folder.encoder_state.exists():
                    raise RunError(
                        f"{folder.path} has an encoder with other settings: delete {folder.encoder_state} to "
                        "train it anew"
                    )
                encoder = wanted
                write_json(folder.config, {**folder.read_config(), "prediction": asdict(encoder)})
        info["prediction"] = encoder
        clip, _ = read_clip(folder.source)
        run = cls(folder, clip, config, device, info)
        if folder.state.exists():
            state = load_state(folder.state, device)
            try:
                run.training.load_state_dict(state)
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise RunError(
                    f"{folder.state} does not belong to this run: delete it to start the run anew"
                ) from error
        if run.training.is_finished and encoder is not None:
            run._begin_encoder()
        return run

    @property
    def model(self) -> DTSGAN:
        """The texture as far as it is learned.

        Raises:
            RunError: before the first scale is finished.
        """
        if not self.training.finished_scales:
            raise RunError("no scale is finished yet: iterate the run")
        encoder = self.encoder_training
        finished = encoder.encoder if encoder is not None and encoder.is_finished else None
        return DTSGAN(self.training.finished_pyramid(), self.fps, self._record(), finished)

    @property
    def is_finished(self) -> bool:
        """Whether all that the run was asked for is learned."""
        encoder = self.encoder_training
        is_predicting = self.encoder_config is None or (encoder is not None and encoder.is_finished)
        return self.training.is_finished and is_predicting

    def describe(self) -> str:
        """One line: what is learned and what that will cost here."""
        config, clip = self.training.config, self.source_clip
        cost = estimate(config, clip.shape[2], (clip.shape[3], clip.shape[4]), self.device)
        share = 1 if self.encoder_config is None else 1 + TIME_SHARE
        minutes = self.info.get("budget") or share * cost.seconds / 60
        return (
            f"{self.info['video']}: {clip.shape[2]} frames of {clip.shape[4]}x{clip.shape[3]} "
            f"at {self.fps:g} fps, "
            f"{config.model.layout}; preset {config.preset}: about {minutes:.3g} minutes and "
            f"{cost.memory / 2**30:.1f} GB on {self.device}"
        )

    def __iter__(self) -> Generator[Progress]:
        training, folder = self.training, self.folder
        if self.is_finished and folder.read_status().get("state") == "done":
            return
        with limited_threads(training.config.train.threads), self._lock():
            began = time.monotonic() - self.seconds
            saved = shown = 0.0
            finished = training.finished_scales
            progress: Progress | None = None
            try:
                with folder.progress.open("a") as log:
                    for progress in self._steps():
                        self.seconds = time.monotonic() - began
                        if training.finished_scales > finished:
                            finished = training.finished_scales
                            kept = time.perf_counter()
                            self._keep_scale(progress.scale)
                            # a preview takes its time from the scales that are left
                            training.budget.begin(time.perf_counter() - kept)
                            saved = 0.0
                        if self.seconds - shown >= STATUS_SECONDS or not shown:
                            shown = self.seconds
                            self._write_status("running", progress)
                            log.write(
                                json.dumps({"seconds": round(self.seconds, 2), **_as_dict(progress)}) + "\n"
                            )
                            log.flush()
                        if self.seconds - saved >= SAVE_SECONDS:
                            saved = self.seconds
                            self._save_state()
                        yield progress
                self.seconds = time.monotonic() - began
                if not self._final_preview.exists():
                    self._keep_scale(training.pyramid.num_scales - 1)
                if self.encoder_training is not None:
                    self._keep_encoder()
                self._save_state()
                self._write_status("done", progress or self._last_progress())
            except GeneratorExit:  # between two steps
                self.seconds = time.monotonic() - began
                self._save_state()
                self._write_status("stopped", progress)
                raise
            except KeyboardInterrupt:  # within a step: what is half done is done again from the last state
                self.seconds = time.monotonic() - began
                self._write_status("stopped", progress)
                raise
            except DTSGANError as error:
                self._write_status("failed", progress, str(error))
                raise
            except OSError as error:
                with suppress(OSError):
                    self._write_status("failed", progress, f"cannot write: {error.strerror or error}")
                raise RunError(
                    f"cannot write to {folder.path}: {error.strerror or error}; the last state stands"
                ) from error

    def _steps(self) -> Iterator[Progress]:
        """The pyramid's steps, then the encoder's; `work_done` is of both."""
        whole = 1.0 if self.encoder_config is None else 1 / (1 + TIME_SHARE)
        for progress in self.training:
            yield replace(progress, work_done=whole * progress.work_done)
        if self.encoder_config is None:
            return
        if self.encoder_training is None:
            save_state(self.folder.state, self.training.state_dict())  # from here on it stays as it is
            self._begin_encoder()
        assert self.encoder_training is not None
        for progress in self.encoder_training:
            yield replace(progress, work_done=whole + (1 - whole) * progress.work_done)

    def _begin_encoder(self) -> None:
        """The encoder's training, as far as it had come."""
        assert self.encoder_config is not None
        path = self.folder.encoder_state
        budget = TIME_SHARE * self.training.budget.spent
        self.encoder_training = EncoderTraining(
            self.training.finished_pyramid(), self.source_clip, self.encoder_config, self.device, budget
        )
        if path.exists():
            state = load_state(path, self.device)
            try:
                self.encoder_training.load_state_dict(state)
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise RunError(
                    f"{path} does not belong to this run: delete it to train the encoder anew"
                ) from error

    def _last_progress(self) -> Progress:
        encoder = self.encoder_training
        return self.training.last_progress() if encoder is None else encoder.last_progress()

    def _save_state(self) -> None:
        if self.encoder_training is None:
            save_state(self.folder.state, self.training.state_dict())
        else:
            save_state(self.folder.encoder_state, self.encoder_training.state_dict())

    def _keep_encoder(self) -> None:
        """The model with its encoder, and a prediction beside what really came."""
        model = self.model
        model.save_pretrained(self.folder.model)
        start = self.source_clip.shape[2] // 2
        real = resize(self.source_clip[:, :, start : start + round(PREVIEW_SECONDS * self.fps)], model.size)
        pair = side_by_side(real, model.predict(real[:, :, 0], real.shape[2]))
        draw_previews(self.folder.model, model, source=self.source_clip, loop_only=True)
        write_card(self.folder.model, model)
        write_clip(self.folder.prediction_preview, pair, self.fps)

    def _keep_scale(self, scale: int) -> None:
        """The model so far and a preview beside its source, after each finished scale."""
        model = self.model
        model.save_pretrained(self.folder.model)
        frames = min(self.source_clip.shape[2], round(PREVIEW_SECONDS * self.fps))
        sample = model.sample(frames)
        real = resize(self.source_clip[:, :, :frames], model.size)
        pair = side_by_side(real, sample)
        write_clip(self.folder.preview(scale), pair, self.fps)
        if self.training.is_finished:
            draw_previews(self.folder.model, model, loop_only=True)
            write_card(self.folder.model, model)
            write_clip(self._final_preview, pair, self.fps)  # last: it says that nothing is missing

    @property
    def _final_preview(self) -> Path:
        return self.folder.model / "preview.mp4"

    def _write_status(self, state: str, progress: Progress | None = None, error: str | None = None) -> None:
        done = progress.work_done if progress else 0.0
        remaining = self.seconds * (1 - done) / done if done > 0.005 else None
        values = {
            "state": state,
            "stage": progress.stage if progress else "texture",
            "scale": progress.scale if progress else 0,
            "num_scales": progress.num_scales if progress else self.training.pyramid.num_scales,
            "step": progress.step if progress else 0,
            "num_steps": progress.num_steps if progress else 0,
            "work_done": round(done, 4),
            "seconds": round(self.seconds, 2),
            "eta_seconds": None if remaining is None else round(remaining, 1),
            "error": error,
            "pid": os.getpid(),
        }
        write_json(self.folder.status, values)

    def _record(self) -> dict[str, Any]:
        """training.json: enough to train the same texture again."""
        known = {key: value for key, value in self.info.items() if key not in ("format_version", "seconds")}
        known["prediction"] = None if self.encoder_config is None else asdict(self.encoder_config)
        return {**known, "wall_seconds": round(self.seconds, 1)}

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process a run."""
        with self.folder.lock.open("w") as file:
            try:
                is_ours = try_lock(file, patience=0.5)
            except OSError as error:  # of some network drives
                where = f"{self.folder.path} cannot be locked ({error.strerror or error})"
                raise RunError(f"{where}: train in a folder on a disk of this machine") from error
            if not is_ours:
                raise RunError(f"{self.folder.path} is being trained by another process")
            yield


def encoder_settings(settings: dict[str, Any], seed: int) -> tuple[dict[str, Any], EncoderConfig]:
    """Settings that are not the encoder's, and the encoder's own, whose names begin with `encoder.`."""
    own = {k.removeprefix("encoder."): v for k, v in settings.items() if k.startswith("encoder.")}
    others = {k: v for k, v in settings.items() if not k.startswith("encoder.")}
    return others, EncoderConfig(**parse_settings(EncoderConfig, {"seed": seed, **own}))


# -- runs of other processes ---


def start_process(arguments: Sequence[str], log: str | os.PathLike[str]) -> "subprocess.Popen[bytes]":
    """Trains in a process of its own, which outlives this one.

    Args:
        arguments: those of `dtsgan train`.
        log: a file for what it says; written anew.
    """
    command = [sys.executable, "-m", "dtsgan", "train", *map(str, arguments)]
    environment = {**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip


def try_lock(file: IO[Any], patience: float = 0.0) -> bool:
    """Locks an open file until it is closed; false where it is locked by another. The lock is the operating
    system's, so a killed process leaves none behind.

    Args:
        patience: seconds; who only looks whether a file is locked holds the lock itself for a moment.
    """
    until = time.monotonic() + patience
    while not lock_descriptor(file.fileno(), blocking=False):
        if time.monotonic() >= until:
            return False
        time.sleep(patience / 10)
    return True


def is_running(path: str | os.PathLike[str]) -> bool:
    """Whether some process trains the run in `path` now: the operating system knows, also after a kill."""
    try:
        with LOOKING, RunDir(Path(path)).lock.open("r") as file:
            return not try_lock(file, patience=0.05)  # another process may look, too
    except OSError:  # no such run, or a disk that knows no locks, where none is trained
        return False


def run_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `status.json` says, set right: a run that says "running" and was killed is "stopped"."""
    folder = RunDir(Path(path))
    running = is_running(folder.path)  # before the status is read: a run that ends in between is not stopped
    try:
        status = folder.read_status()
    except RunError as error:
        status = {"state": "failed", "error": str(error)}
    state = status.get("state")
    if running:
        state = "running"
    elif state in (None, "running"):
        state = "stopped"
    return {**status, "state": state}


def find_runs(folder: str | os.PathLike[str]) -> list[Path]:
    """The runs under `folder`, newest first."""
    found = [
        path.parent for path in Path(folder).glob("*/config.json") if RunDir(path.parent).source.exists()
    ]
    return sorted(found, key=lambda path: -RunDir(path).config.stat().st_mtime)


def stop_run(path: str | os.PathLike[str]) -> bool:
    """Asks the process that trains `path` to save and stop; false where there is none."""
    if not is_running(path):
        return False
    pid = RunDir(Path(path)).read_status().get("pid")
    if not isinstance(pid, int) or pid <= 1:
        return False
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return False
    return True


def choose_device(name: str) -> torch.device:
    """
    Raises:
        ConfigError: a device that this machine has not.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind = name.partition(":")[0]
    if not available.get(kind, False):
        raise ConfigError(f'this machine has no device "{name}": use --device auto or cpu')
    return torch.device(name)


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Never more threads than cores: spinning barriers make a step ten times slower."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(min(threads or cores, cores))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and a polite kill ask to stop between two steps, where nothing is lost. Asking twice stops at
    once."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_dict(progress: Progress) -> dict[str, Any]:
    return {
        "stage": progress.stage,
        "scale": progress.scale,
        "step": progress.step,
        **{k: round(v, 6) for k, v in progress.losses.items()},
    }


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
