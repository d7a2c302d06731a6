"""Textures on the Hugging Face Hub: push, pull, search, and the whole demo as a Space."""

import os
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from dtsgan import transfer
from dtsgan.card import model_card
from dtsgan.errors import ConfigError, HubError, ModelFileError
from dtsgan.folder import LIMITS, MODEL_INDEX, NEEDED, SHIMS
from dtsgan.model import DTSGAN
from dtsgan.rundir import write_json, write_text
from dtsgan.transfer import OnProgress

__all__ = ["HubTexture", "cached", "model_card", "pull", "push", "push_space", "search"]

ROOT = Path(__file__).resolve().parent.parent  # of the repository, where this is a clone
TAG = "dtsgan"  # that every texture on the Hub has
SPACE_FILES = (
    "app.py",
    "requirements.txt",
    "README.md",
    "LICENSE",
    "dtsgan/**/*",
    "weights/**/*",
    "examples/*.mp4",
    "docs/*",
)
SPACE_NEEDS = ("app.py", "requirements.txt", "README.md", "dtsgan/__init__.py")
LICENCE = re.compile(r"[A-Za-z0-9.+-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class HubTexture:
    """What the Hub says of a texture before it is pulled."""

    id: str  # user/name
    tags: tuple[str, ...] = ()
    downloads: int = 0  # in the last month
    likes: int = 0
    updated: str = ""  # date, as 2026-11-22
    private: bool = False


def push(
    model: DTSGAN | str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    licence: str | None = None,
    on_progress: OnProgress | None = None,
) -> str:
    """Puts a texture on the Hub with its card, previews and training record; see `DTSGAN.push_to_hub`.

    Args:
        model: a texture, or what names one: a model folder, a run's folder, a bundled name.
        repo: `"user/name"`, made if there is none.
        licence: as the Hub names licences, e.g. `"cc0-1.0"`.

    Returns:
        The repository's address.

    Raises:
        HubError: the Hub does not take it; the sentence says why.
        ModelFileError: there is no such model, or it is damaged.
    """
    transfer.check_repo_id(repo)  # before a long load
    if licence is not None and not LICENCE.fullmatch(licence):
        raise ConfigError(f'a licence is a short name as "mit" or "cc0-1.0", got "{licence}"')
    if not isinstance(model, DTSGAN):
        model = DTSGAN.from_pretrained(model)
    return model.push_to_hub(repo, private, token, licence=licence, on_progress=on_progress)


def pull(
    repo: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Brings a texture from the Hub to this machine, checked as strictly as when it is drawn from.

    Args:
        folder: where to put a model folder of its own, which must not exist; the Hub's cache when not given,
            where `DTSGAN.from_pretrained(repo)` finds it without a network.

    Returns:
        The folder that holds it.

    Raises:
        HubError: it cannot be had.
        ModelFileError: it is damaged or unsafe, or `folder` is taken.
    """
    target = None if folder is None else Path(folder)
    if target is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelFileError(f"{target} exists already: choose another folder for {repo}")
    transfer.check_repo_id(repo)
    snapshot = transfer.download(
        repo, LIMITS, NEEDED, revision=revision, token=token, on_progress=on_progress
    )
    DTSGAN.from_pretrained(snapshot)  # refuses what is damaged before it is called pulled
    if on_progress is not None:
        on_progress(1.0, f"{repo} is here")
    if target is None:
        return snapshot
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            for name in LIMITS:
                if (snapshot / name).is_file():
                    (partial / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(snapshot / name, partial / name)
            for name, text in SHIMS.items():  # ours, whatever the repository has in their place
                write_text(partial / name, text)
            write_json(partial / "model_index.json", MODEL_INDEX)
            partial.chmod(0o755)  # a temporary folder is its owner's alone
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelFileError(f"cannot write {repo} to {target}: {error.strerror or error}") from error
    return target


def search(
    query: str = "",
    *,
    author: str | None = None,
    tag: str | None = None,
    limit: int = 30,
    token: str | None = None,
) -> list[HubTexture]:
    """Textures on the Hub, the most downloaded first.

    Args:
        query: words in the name.
        author: a user or an organisation.
        tag: a further tag that it must have, e.g. `"free"` or `"anchored"`.
        limit: the most to return, 1 to 1000.

    Raises:
        HubError: the Hub cannot be asked.
    """
    if not 1 <= limit <= 1000:
        raise ConfigError(f"limit must be between 1 and 1000, got {limit}")
    transfer.check_reachable()
    with transfer.hub_errors(query, None, "searching"):
        found = transfer.client(token).list_models(
            filter=[TAG, *([tag] if tag else [])],
            search=query or None,
            author=author,
            sort="downloads",
            limit=limit,
        )
        return [_texture(info) for info in found]


def cached() -> list[HubTexture]:
    """Textures that were pulled before and draw without a network."""
    found = []
    for repo, file in transfer.cached_repos("config.json"):
        if '"library_name": "dtsgan"' in file.read_text(errors="replace")[: LIMITS["config.json"]]:
            found.append(HubTexture(id=repo))
    return found


def push_space(
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    on_progress: OnProgress | None = None,
) -> str:
    """Puts the whole demo on the Hub as a Space: app, package, bundled textures and examples.

    Needs a clone of the repository; what git ignores there (runs, caches) is not sent.

    Returns:
        The Space's address.

    Raises:
        HubError: no clone, or the Hub does not take it.
    """
    transfer.check_repo_id(repo)
    missing = [name for name in SPACE_NEEDS if not (ROOT / name).is_file()]
    if missing:
        raise HubError(f"a Space is made from a clone of the repository; {ROOT} has no {missing[0]}")
    files: dict[str, Path | bytes] = {
        path.relative_to(ROOT).as_posix(): path
        for pattern in SPACE_FILES
        for path in sorted(ROOT.glob(pattern))
        if _belongs(path)
    }
    files["README.md"] = space_readme((ROOT / "README.md").read_text(encoding="utf-8")).encode()
    return transfer.upload(
        files,
        repo,
        repo_type="space",
        private=private,
        token=token,
        ours=lambda there: "dtsgan/__init__.py" in there or not there - {".gitattributes", "README.md"},
        message="Upload the demo",
        on_progress=on_progress,
    )


def space_readme(text: str) -> str:
    """The repository's README as a Space's: its front matter names the gradio that is installed here, as that
    is the one the app was tried with."""
    if not text.startswith("---\n"):
        raise HubError("README.md has no front matter, without which it is not a Space's: begin it with ---")
    try:
        installed = version("gradio")
    except PackageNotFoundError:
        return text
    return re.sub(r"(?m)^sdk_version:.*$", f"sdk_version: {installed}", text, count=1)


def _belongs(path: Path) -> bool:
    """Whether a file is part of the demo: nothing hidden, half-written or left by Python."""
    parts = path.relative_to(ROOT).parts
    hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return path.is_file() and not path.is_symlink() and not hidden and path.suffix != ".partial"


def _texture(info: Any) -> HubTexture:
    updated = info.last_modified or info.created_at
    return HubTexture(
        id=info.id,
        tags=tuple(info.tags or ()),
        downloads=info.downloads or 0,
        likes=info.likes or 0,
        updated=updated.date().isoformat() if updated else "",
        private=bool(info.private),
    )
