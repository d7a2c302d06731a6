"""One training at a time, the others wait in line. The queue is on disk, so that it survives a restart."""

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dtsgan import jobs
from dtsgan.errors import DTSGANError, RunError
from dtsgan.rundir import RunDir, read_json, write_json
from dtsgan.ui.settings import Settings

TICK = 1.0  # seconds between looks at the queue
MOST_RESUMES = 3  # of a training that is killed again and again; then something is wrong with it
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that somebody asked for. `id` cannot be guessed: who knows it may ask after the job."""

    id: str
    visitor: str
    name: str  # of the run's folder
    title: str  # of the uploaded file, for messages
    options: list[str] = field(default_factory=list)  # of `dtsgan train`
    submitted: float = 0.0
    state: str = "waiting"  # waiting, started, ended
    resume: bool = False
    resume_options: list[str] = field(default_factory=list)
    resumes: int = 0  # after kills that nobody asked for
    stopping: bool = False
    pid: int = 0
    error: str = ""


class TrainingQueue:
    """Starts trainings one after another, each in a process of its own that outlives the page."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.app_folder / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._owner: Any = None
        self._swept = 0.0
        self._thread: threading.Thread | None = None

    # -- asking ---

    def submit(self, visitor: str, video: Path, title: str, name: str, options: list[str]) -> Job:
        """Puts a training in line. `video` is moved here.

        Raises:
            RunError: the line is full.
        """
        with self._lock:
            waiting = [job for job in self._all() if job.state == "waiting"]
            if len(waiting) >= self.settings.max_waiting:
                raise RunError(f"{len(waiting)} trainings are waiting already: try again in a while")
            job = Job(
                id=secrets.token_hex(16), visitor=visitor, name=self._free_name(visitor, name), title=title,
                options=options, submitted=time.time(),
            )  # fmt: skip
            folder = self.folder / job.id
            folder.mkdir(parents=True)
            shutil.move(str(video), folder / f"clip{video.suffix.lower()}")
            self._save(job)
        self.look()
        return self.get(job.id)

    def jobs(self, visitor: str) -> list[Job]:
        """A visitor's trainings, newest first; on a computer of one's own also runs begun elsewhere."""
        with self._lock:
            own = [job for job in self._all() if job.visitor == visitor or not self.settings.shared]
            known = {self.run(job).path for job in own}
            for path in jobs.find_runs(self.settings.runs(visitor)):
                if path not in known:
                    begun = RunDir(path).config.stat().st_mtime
                    own.append(
                        Job(id=f"run-{path.name}", visitor=visitor, name=path.name, title=path.name,
                            submitted=begun, state="ended")
                    )  # fmt: skip
        return sorted(own, key=lambda job: -job.submitted)

    def get(self, key: str, visitor: str = "") -> Job:
        """
        Raises:
            RunError: no such training.
        """
        if re.fullmatch(r"[0-9a-f]{32}", key):
            path = self.folder / key / "job.json"
            if path.exists():
                return _read(path)
        for job in self.jobs(visitor) if visitor else []:
            if job.id == key:
                return job
        raise RunError("there is no such training here: it may have been deleted")

    def run(self, job: Job) -> RunDir:
        return RunDir(self.settings.runs(job.visitor) / job.name)

    def position(self, job: Job) -> int:
        """How many trainings are before this one."""
        with self._lock:
            return sum(
                other.state == "started" or (other.state == "waiting" and other.submitted < job.submitted)
                for other in self._all()
                if other.id != job.id
            )

    def status(self, job: Job) -> dict[str, Any]:
        """The run's `status.json`, and in `state` one of waiting, starting, running, stopping, stopped,
        failed, done."""
        run = self.run(job)
        status: dict[str, Any] = jobs.run_state(run.path) if run.path.exists() else {"state": None}
        if job.state == "waiting":
            status |= {"state": "waiting", "position": self.position(job)}
        elif job.state == "started":
            if status["state"] != "running":
                status["state"] = "stopping" if job.stopping else "starting"
            elif job.stopping:
                status["state"] = "stopping"
        elif job.error and status["state"] != "done":
            status |= {"state": "failed", "error": job.error}
        elif status["state"] is None:
            status["state"] = "stopped"
        return {**status, "id": job.id, "name": job.name}

    def stop(self, job: Job) -> None:
        """Takes it out of the line, or asks it to save and stop."""
        with self._lock:
            job = self.get(job.id, job.visitor)
            if job.state == "waiting":
                self._save(
                    replace(job, state="ended", error="" if job.resume else "cancelled before it began")
                )
            elif job.state == "started":
                self._save(replace(job, stopping=True))
                self._signal(job)
            else:
                jobs.stop_run(self.run(job).path)

    def resume(self, job: Job, options: Sequence[str] = ()) -> Job:
        """Puts a stopped training back in line; `options` go to `dtsgan train --resume RUN`."""
        with self._lock:
            job = self.get(job.id, job.visitor)
            if job.state == "ended" and not jobs.is_running(self.run(job).path):
                born = self.run(job).config.exists()
                if not born and not self._clip(job):
                    raise RunError(f"{job.name} never began and its clip is gone: upload it again")
                job = replace(
                    job, id=job.id if len(job.id) == 32 else secrets.token_hex(16), state="waiting", error="",
                    resume=born, resume_options=list(options), resumes=0, stopping=False,
                    submitted=time.time(),
                )  # fmt: skip
                self._save(job)
        self.look()
        return job

    def delete(self, job: Job) -> None:
        """Removes the run and all that belongs to it.

        Raises:
            RunError: it is being trained now.
        """
        with self._lock:
            job = self.get(job.id, job.visitor)
            run = self.run(job).path
            if job.state == "started" or jobs.is_running(run):
                raise RunError(f"{job.name} is being trained: stop it first, then delete it")
            shutil.rmtree(run, ignore_errors=True)
            shutil.rmtree(self.folder / job.id, ignore_errors=True)

    # -- working ---

    def start(self) -> None:
        """Looks after the queue from now on, unless another page on the same folder does."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="training queue", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                self.look()
                if time.time() - self._swept > 600:
                    self._swept = time.time()
                    self.sweep()
            except Exception:  # the queue must outlive whatever one job does to it
                log.exception("the training queue stumbled")
            time.sleep(TICK)

    def look(self) -> None:
        """Notices what has ended and starts what is next."""
        with self._lock:
            if not self._own():
                return
            busy = False
            for job in self._all():
                if job.state == "started":
                    if self._is_alive(job):
                        busy = True
                    else:
                        self._end(job)
            waiting = sorted(
                (job for job in self._all() if job.state == "waiting"), key=lambda j: j.submitted
            )
            if waiting and not busy:
                self._start(waiting[0])

    def _start(self, job: Job) -> None:
        run, folder = self.run(job), self.folder / job.id
        clip = self._clip(job)
        if job.resume:
            arguments = ["--resume", str(run.path), *job.resume_options]
        elif clip is not None:
            arguments = [str(clip), "--out", str(run.path), *job.options]
        else:
            self._save(replace(job, state="ended", error="its clip is gone: upload it again"))
            return
        run.path.parent.mkdir(parents=True, exist_ok=True)
        process = jobs.start_process(arguments, folder / "log.txt")
        self._processes[job.id] = process
        self._save(replace(job, state="started", stopping=False, pid=process.pid))

    def _end(self, job: Job) -> None:
        """A started job whose process is gone: done, stopped, failed, or killed and to be resumed."""
        process = self._processes.pop(job.id, None)
        run = self.run(job)
        error = self._said(job)
        try:
            state = run.read_status().get("state")
        except DTSGANError as damage:
            state, error = "failed", str(damage)
        if run.config.exists():
            for clip in (self.folder / job.id).glob("clip.*"):
                clip.unlink()  # the run has its own copy
        polite = state in ("done", "stopped", "failed") or job.stopping
        if polite or error:
            self._save(replace(job, state="ended", error="" if state in ("done", "stopped") else error))
        elif job.resumes >= MOST_RESUMES:
            words = "it was killed again and again, perhaps for lack of memory: choose a smaller size"
            self._save(replace(job, state="ended", error=words))
        else:  # killed, by a restart of the machine or for its memory: nothing is lost
            code = process.returncode if process else None
            log.warning("training %s ended without a word (%s): it goes on", job.name, code)
            self._save(replace(job, state="waiting", resume=run.config.exists(), resumes=job.resumes + 1))

    def _is_alive(self, job: Job) -> bool:
        process = self._processes.get(job.id)
        if process is not None:
            return process.poll() is None
        # started by a page that is gone: its lock tells, or, before it has one, its process
        return jobs.is_running(self.run(job).path) or _is_training(job.pid, job.id, self.run(job).path)

    def _signal(self, job: Job) -> None:
        if not jobs.stop_run(self.run(job).path) and self._is_alive(job):
            with suppress(ProcessLookupError):
                os.kill(job.pid, 15)  # still starting: nothing to save

    def _said(self, job: Job) -> str:
        """The sentence that the command line ended with, without the names of our folders."""
        try:
            lines = (self.folder / job.id / "log.txt").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        found = [line.removeprefix("dtsgan: ") for line in lines if line.startswith("dtsgan: ")]
        if not found:
            return "the program ended with an error" if any("Traceback" in line for line in lines) else ""
        sentence = found[-1]
        for path in (self.folder / job.id).glob("clip.*"):
            sentence = sentence.replace(str(path), job.title)
        return sentence.replace(str(self.run(job).path), job.name)

    def _clip(self, job: Job) -> Path | None:
        return next((self.folder / job.id).glob("clip.*"), None)

    def _own(self) -> bool:
        """Whether this page looks after the queue: one does, as long as it lives."""
        if self._owner is None:
            file = (self.folder / "lock").open("w")
            if not jobs.try_lock(file):
                file.close()
                return False
            self._owner = file
        return True

    def sweep(self) -> None:
        """Removes videos shown once, and what strangers left long ago."""
        for path in (self.settings.app_folder / "clips").glob("*"):
            if path.stat().st_mtime < time.time() - 86400:
                path.unlink(missing_ok=True)
        if not self.settings.keep_days:
            return
        before = time.time() - 86400 * self.settings.keep_days
        with self._lock:
            for job in self._all():
                newest = max(job.submitted, _touched(self.run(job).path))
                if job.state == "ended" and newest < before:
                    self.delete(job)
        for path in (self.settings.app_folder / "previews").glob("*"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)

    # -- on disk ---

    def _all(self) -> list[Job]:
        found = []
        for path in self.folder.glob("*/job.json"):
            with suppress(DTSGANError, TypeError):
                found.append(_read(path))
        return found

    def _save(self, job: Job) -> None:
        (self.folder / job.id).mkdir(parents=True, exist_ok=True)
        write_json(self.folder / job.id / "job.json", asdict(job))

    def _free_name(self, visitor: str, name: str) -> str:
        base = safe_name(name)
        taken = {job.name for job in self._all() if job.visitor == visitor or not self.settings.shared}
        candidates = (base if k == 1 else f"{base}_{k}" for k in range(1, 10**6))
        return next(
            n for n in candidates if n not in taken and not (self.settings.runs(visitor) / n).exists()
        )


def safe_name(name: str) -> str:
    """A folder's name from whatever a visitor typed: letters, digits, `_`, at most 40."""
    words = re.sub(r"[^\w]+", "_", name, flags=re.ASCII).strip("_").lower()
    return words[:40].strip("_") or "texture"


def read_losses(run: RunDir, most: int = 240) -> list[dict[str, float]]:
    """The lines of `progress.jsonl`, thinned to `most`."""
    try:
        lines = run.progress.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines[:: max(1, len(lines) // most)]:
        with suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict):
                found.append(values)
    return found


def _read(path: Path) -> Job:
    return Job(**read_json(path))


def _touched(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _is_training(pid: int, job: str, run: Path) -> bool:
    """Whether `pid` is a process that trains this job (numbers are used again)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return job in words or str(run) in words
