"""The textures at hand (bundled, trained here, pulled), their models, and whose turn it is to draw."""

import hashlib
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dtsgan.errors import DTSGANError, ModelFileError, RunError
from dtsgan.folder import BUNDLED
from dtsgan.jobs import choose_device
from dtsgan.model import DTSGAN
from dtsgan.rundir import RunDir, read_json
from dtsgan.ui.previews import draw_apart
from dtsgan.ui.settings import EXAMPLES, Settings

MODELS_KEPT = 8
REST = 1.5  # seconds without a visitor's drawing, after which previews are drawn
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Texture:
    """A model folder as the page shows it."""

    key: str  # what the address of the page says: "fire", "runs/river", "user/fire"
    title: str
    folder: Path
    origin: str  # "bundled", "trained here" or "pulled"
    height: int
    width: int
    layout: str
    fps: float
    run: Path | None = None

    @property
    def is_free(self) -> bool:
        return self.layout == "free"

    @property
    def id(self) -> str:
        """A short name that is safe in an address and changes with the model."""
        config = self.folder / "config.json"
        stamp = f"{self.folder}:{config.stat().st_mtime_ns if config.exists() else 0}"
        return hashlib.sha256(stamp.encode()).hexdigest()[:20]

    @property
    def source(self) -> Path | None:
        """The real video it was learned from, where it is at hand."""
        if self.run is not None and RunDir(self.run).source.exists():
            return RunDir(self.run).source
        try:
            name = str(read_json(self.folder / "training.json").get("video", ""))
        except RunError:
            return None
        example = EXAMPLES / Path(name).name
        return example if name and example.is_file() else None


class Turns:
    """Lets drawers take turns, first come first served: visitors share the cores, a chunk at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def take(self) -> Iterator[None]:
        mine = threading.Event()
        with self._lock:
            self._waiting.append(mine)
            if self._waiting[0] is mine:
                mine.set()
        mine.wait()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.popleft()
                if self._waiting:
                    self._waiting[0].set()


class Library:
    """Finds textures for a visitor, keeps the models last used in memory and makes the gallery's previews."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.turns = Turns()
        self._models: OrderedDict[tuple[str, str], DTSGAN] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._failed: set[str] = set()
        self._visited = 0.0  # when a visitor's chunk was drawn last

    def textures(self, visitor: str) -> list[Texture]:
        """All that this visitor may play: bundled first, then own runs, newest first, then pulled ones."""
        found = [
            read_texture(path.parent, path.parent.name, "bundled") for path in BUNDLED.glob("*/config.json")
        ]
        found.sort(key=lambda texture: texture.title if texture else "")
        runs = sorted(
            self.settings.runs(visitor).glob("*/model/config.json"), key=lambda p: -p.stat().st_mtime
        )
        for path in runs:
            run = path.parent.parent
            texture = read_texture(path.parent, f"runs/{run.name}", "trained here")
            found.append(texture and replace(texture, run=run, title=_title(run.name)))
        for path in sorted(self.settings.pulled.glob("*/*/config.json")):
            folder = path.parent
            found.append(read_texture(folder, f"{folder.parent.name}/{folder.name}", "pulled"))
        return [texture for texture in found if texture is not None]

    def find(self, key: str, visitor: str) -> Texture:
        """
        Raises:
            ModelFileError: this visitor has no such texture.
        """
        if not key:
            raise ModelFileError("choose a texture first: click one in the gallery")
        for texture in self.textures(visitor):
            if texture.key == key or texture.id == key:
                return texture
        raise ModelFileError(f'there is no texture "{key:.80}" here: choose one from the gallery')

    def model(self, texture: Texture, device: torch.device | None = None) -> DTSGAN:
        """The model, loaded when first asked for."""
        device = device or torch.device("cpu")
        key = (texture.id, str(device))
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
        model = DTSGAN.from_pretrained(texture.folder, device)
        with self._lock:
            self._models[key] = model
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
        return model

    def chunks(self, model: DTSGAN, num_frames: int | None, **settings: object) -> Iterator[Tensor]:
        """`DTSGAN.chunks`, each drawn when it is this caller's turn."""
        self._visited = time.monotonic()
        with self.turns.take():
            chunks = model.chunks(num_frames, **settings)
        while True:
            with self.turns.take():
                chunk = next(chunks, None)
            self._visited = time.monotonic()
            if chunk is None:
                return
            yield chunk

    # -- previews ---

    def loop(self, texture: Texture) -> Path | None:
        """The gallery's seamless loop of a texture, or None as long as it is not made."""
        path = self._loop_path(texture)
        return path if path.exists() else None

    def make_loops(self, textures: list[Texture], after: float = 0.0) -> None:
        """Draws the previews that are missing, one after another, in the background, `after` some seconds."""
        missing = [t for t in textures if not self._loop_path(t).exists() and t.id not in self._failed]
        if missing:
            thread = threading.Timer(after, self._make_loops, args=(missing,))
            thread.daemon = True
            thread.start()

    def _make_loops(self, textures: list[Texture]) -> None:
        with self._making:
            files = {t: self._loop_path(t) for t in textures if t.id not in self._failed}
            missing = {texture: path for texture, path in files.items() if not path.exists()}
            while missing and time.monotonic() - self._visited < REST:
                time.sleep(0.1)
            if missing:
                draw_apart({texture.folder: path for texture, path in missing.items()})
            self._failed |= {texture.id for texture, path in missing.items() if not path.exists()}

    def sample_path(self, texture: Texture, seed: int) -> Path:
        """Where the short video of a seed is kept for the grid of many."""
        return self.settings.app_folder / "previews" / f"{texture.id}-{int(seed)}.mp4"

    def new_clip(self) -> Path:
        """A place for a video shown once; its name cannot be guessed, and in a day it is gone."""
        folder = self.settings.app_folder / "clips"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{secrets.token_hex(16)}.mp4"

    def _loop_path(self, texture: Texture) -> Path:
        return self.settings.app_folder / "previews" / f"{texture.id}.mp4"


def read_texture(folder: Path, key: str, origin: str) -> Texture | None:
    """What a model folder's configuration tells, without loading the model; None where it tells nonsense."""
    try:
        config = read_json(folder / "config.json")
        height, width = (int(side) for side in config["sizes"][-1])
        layout, fps = str(config["model"]["layout"]), float(config["fps"])
    except (DTSGANError, KeyError, TypeError, ValueError, IndexError):
        return None
    return Texture(key, _title(folder.name), folder, origin, height, width, layout, fps)


def drawing_device() -> torch.device:
    """Where videos to save are drawn."""
    return choose_device("auto")


def live_device() -> torch.device:
    """Where live views are drawn: a ZeroGPU Space lends its GPU for moments only."""
    return torch.device("cpu") if os.environ.get("SPACES_ZERO_GPU") else choose_device("auto")


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
