"""Where the page keeps things, and how much it lets a stranger ask for."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif", ".webp", ".mpg", ".mpeg", ".ogv")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One page. `home` is all that it may write to; what it may read besides are the bundled textures and
    the examples.

    On a computer of one's own (`shared` is false) every run in `home` is everybody's. Where strangers meet,
    each visitor has a folder that the others are not shown, and the limits are tighter.
    """

    home: Path
    shared: bool = False
    max_upload_mb: int = 200
    max_upload_pixels: int = 4096 * 2304
    max_clip_seconds: float = 60.0  # that a training may learn from
    max_seconds: float = 120.0  # of a video to save
    max_side: int = 1024  # of a video to save, in pixels
    max_live_side: int = 512
    max_viewers: int = 8  # live views at once
    max_minutes: float = 24 * 60.0  # of a training
    max_waiting: int = 20  # trainings in the queue
    keep_days: float = 0.0  # after which what a visitor left is removed; 0: never

    @classmethod
    def from_environment(cls, home: Path | None = None, shared: bool | None = None) -> "Settings":
        """`DTSGAN_HOME` names the folder (default: `runs`); on a Space the limits are those for strangers."""
        folder = (home or Path(os.environ.get("DTSGAN_HOME") or "runs")).absolute()
        if shared is None:
            shared = bool(os.environ.get("SPACE_ID"))
        if not shared:
            return cls(home=folder)
        return cls(
            home=folder, shared=True, max_upload_mb=50, max_clip_seconds=20.0, max_seconds=30.0, max_side=640,
            max_live_side=320, max_minutes=30.0, keep_days=2.0,
        )  # fmt: skip

    @property
    def app_folder(self) -> Path:
        """What the page keeps for itself: uploads, the queue, previews."""
        return self.home / ".app"

    @property
    def pulled(self) -> Path:
        """Textures from the Hub."""
        return self.app_folder / "pulled"

    def runs(self, visitor: str) -> Path:
        """The folder that holds a visitor's runs."""
        return self.home / "visitors" / visitor if self.shared else self.home

    def secret(self) -> str:
        """What sessions are signed with; made once, so that a restart knows its visitors again."""
        path = self.app_folder / "secret"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"secret.{os.getpid()}.partial")
            partial.touch(mode=0o600)
            partial.write_text(secrets.token_hex(32))
            os.replace(partial, path)
        return path.read_text()
