"""Up to the Hugging Face Hub and down from it, with every failure as one sentence.

What the files hold is judged by who reads them (`model.py`); here they only travel: by name, within limits of
size, and all of them or none.
"""

import errno
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dtsgan import __version__
from dtsgan.errors import HubError

OnProgress = Callable[[float, str], None]  # how much is done, 0 to 1, and what is being done

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
SECRET = re.compile(r"hf_[A-Za-z0-9]+|(?i:bearer)\s+\S+")


def is_repo_id(name: str) -> bool:
    """Whether `name` could be a repository of the Hub, `user/name`."""
    return re.fullmatch(f"{WORD}/{WORD}", name) is not None and ".." not in name and "--" not in name


def client(token: str | None = None) -> Any:
    """The Hub's own client; the saved token or HF_TOKEN where none is given."""
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="dtsgan", library_version=__version__)


def download(
    repo: str,
    limits: Mapping[str, int],
    required: Sequence[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Brings the named files of a model repository into the Hub's cache and returns the snapshot's folder.

    A revision that is in the cache already costs one request, and none where the Hub cannot be reached.
    Nothing but the named files is ever asked for, so no code travels.

    Args:
        limits: the files wanted, and the most bytes that each may have.
        required: those without which the repository is not what was looked for.

    Raises:
        HubError: repository, revision or file missing; private or gated; no network and not in the cache; too
            large; no space; broken off.
    """
    check_repo_id(repo)
    with hub_errors(repo, revision, "downloading"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        # one commit for all files; offline it is the one that was seen last
        commit = client(token).resolve_revision(
            repo, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        wanted: dict[str, Any] = {
            "repo_id": repo,
            "revision": commit,
            "cache_dir": cache_dir,
            "token": token,
            "allow_patterns": list(limits),
            "library_name": "dtsgan",
            "library_version": __version__,
        }
        try:
            folder = Path(snapshot_download(**wanted, local_files_only=True))
            if all((folder / name).exists() for name in required):
                return folder
            if local_files_only:
                raise HubError(f'"{repo}" is only in part in the cache: pull it once with a network')
        except LocalEntryNotFoundError:
            if local_files_only:
                raise
        total = _check_listing(repo, token, commit.resolved, limits, required)
        bars: dict[str, Any] = {}
        if on_progress is not None:
            bars["tqdm_class"] = _reporting_bar(on_progress, f"downloading {repo}", total)
        return Path(snapshot_download(**wanted, **bars))


def upload(
    files: Mapping[str, Path | bytes],
    repo: str,
    *,
    repo_type: str = "model",
    private: bool = False,
    token: str | None = None,
    ours: Callable[[set[str]], bool],
    stale: Sequence[str] = (),
    message: str = "Upload with dtsgan",
    on_progress: OnProgress | None = None,
) -> str:
    """Makes the repository if there is none and puts the files into it in one commit: all of them or none.

    A push that broke off can be repeated: what has arrived is not sent again.

    Args:
        files: name in the repository to a file on disk or its bytes.
        ours: whether a repository with these file names may be written over.
        stale: names to remove if the repository has them and `files` does not.

    Returns:
        The repository's address.

    Raises:
        HubError: no token or not a good one, a repository of something else, or a public one where a private
            one was asked for; no network; broken off.
    """
    check_repo_id(repo)
    report = on_progress or (lambda fraction, what: None)
    with hub_errors(repo, None, "uploading"):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants, get_token
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        if not (token or get_token()):
            raise HubError(f"pushing needs a token of huggingface.co that may write: {LOG_IN}")
        api = client(token)
        report(0.0, f"making the repository {repo}")
        try:
            info = api.repo_info(repo, repo_type=repo_type)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            info = None
        there: set[str] = set()
        if info is None:
            sdk = {"space_sdk": "gradio"} if repo_type == "space" else {}
            api.create_repo(repo, repo_type=repo_type, private=private, exist_ok=True, **sdk)
        else:
            if private and not info.private:
                raise HubError(
                    f'"{repo}" exists already and is public: make it private in its settings, push without '
                    "--private, or choose another name"
                )
            there = {sibling.rfilename for sibling in info.siblings or ()}
            if not ours(there):
                raise HubError(f'"{repo}" holds something else, which would be mixed up: choose another name')
        report(0.1, f"uploading {len(files)} files")
        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in sorted(files.items())
        ]
        operations += [CommitOperationDelete(name) for name in stale if name in there - set(files)]
        api.create_commit(repo, operations, commit_message=message, repo_type=repo_type)
        report(1.0, "done")
        prefix = "" if repo_type == "model" else f"{repo_type}s/"
        return f"{constants.ENDPOINT}/{prefix}{repo}"


def check_reachable() -> None:
    """Fails at once where there is no way to the Hub; the client would try a listing for half a minute.

    Raises:
        HubError: there is none.
    """
    with hub_errors("the Hub", None, "searching"):
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session

        get_session().head(constants.ENDPOINT, timeout=10)


def cached_repos(name: str, cache_dir: str | Path | None = None) -> list[tuple[str, Path]]:
    """Model repositories in the cache whose newest snapshot has a file `name`: their ids and that file."""
    from huggingface_hub import constants

    root = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    found = []
    for folder in sorted(root.glob("models--*--*")):
        snapshots = sorted(folder.glob(f"snapshots/*/{name}"), key=lambda path: path.lstat().st_mtime)
        if snapshots and snapshots[-1].is_file():
            found.append((folder.name.removeprefix("models--").replace("--", "/"), snapshots[-1]))
    return found


def check_repo_id(repo: str) -> None:
    """
    Raises:
        HubError: `repo` is no `user/name`.
    """
    if not is_repo_id(repo):
        raise HubError(f'a repository on the Hub is named "user/name", got "{scrubbed(repo)}"')


def scrubbed(text: object) -> str:
    """One line without anything that looks like a token."""
    return SECRET.sub("***", " ".join(str(text).split()))[:300]


@contextmanager
def hub_errors(repo: str, revision: str | None, doing: str) -> Iterator[None]:
    """Turns what the Hub's client raises into a `HubError` of one sentence; other errors are bugs."""
    try:
        yield
    except (HubError, KeyboardInterrupt):
        raise
    except Exception as error:
        sentence = _sentence(error, repo, revision, doing)
        if sentence is None:
            raise
        # not chained: the client's exceptions hold the request, and with it the token
        raise HubError(scrubbed(sentence)) from None


def _sentence(error: BaseException, repo: str, revision: str | None, doing: str) -> str | None:
    """What happened and what to do next; None for what has nothing to do with the Hub."""
    import httpx2
    from huggingface_hub import constants, errors

    chain = list(_chain(error))

    def met(*kinds: type[BaseException]) -> Any:
        return next((e for e in chain if isinstance(e, kinds)), None)

    if any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in chain):
        return (
            f'there is no space left for "{repo}" in {constants.HF_HUB_CACHE}: free some, or set HF_HOME to '
            "a folder on another disk; what has arrived is kept"
        )
    if met(errors.OfflineModeIsEnabled):
        if doing != "downloading":
            return "HF_HUB_OFFLINE forbids to ask the Hub: unset it"
        return (
            f'"{repo}" is not in the cache and HF_HUB_OFFLINE forbids to ask for it: unset it, or use what '
            "is here (dtsgan list)"
        )
    answer = met(errors.HfHubHTTPError)
    if answer is not None:
        return _answered(answer, repo, revision, doing)
    if met(errors.IncompleteSnapshotError):
        return (
            f'"{repo}" is only in part in the cache, as a download broke off, and the Hub '
            f"({constants.ENDPOINT}) cannot be asked for the rest: pull it again with a network"
        )
    no_way = met(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)
    broken = met(httpx2.TransportError)
    not_here = met(errors.LocalEntryNotFoundError, errors.RevisionResolutionError)
    if no_way or (not_here and broken):
        return (
            f"the Hub ({constants.ENDPOINT}) cannot be reached"
            + (f' and "{repo}" is not in the cache' if doing == "downloading" else "")
            + ": check the network; bundled textures and those pulled before work without it (dtsgan list)"
        )
    if not_here:
        return f'"{repo}" is not in the cache ({constants.HF_HUB_CACHE}): pull it once with a network'
    if met(json.JSONDecodeError, errors.FileMetadataError):
        return (
            f"what answers at {constants.ENDPOINT} is not the Hub: the network may have a page to log in to, "
            "or HF_ENDPOINT may be wrong"
        )
    if met(errors.HFValidationError):
        return f'"{repo}" or the revision "{revision}" is no name that the Hub could have'
    if met(errors.LocalTokenNotFoundError):
        return f"there is no token: {LOG_IN}"
    system = met(OSError)
    short = system is not None and system.errno is None and "onsistency" in str(system)  # of sizes
    if broken or short:
        kept = (
            "what has arrived is kept and need not be sent again" if doing == "uploading" else "do it again"
        )
        return f'the connection to the Hub broke off while {doing} "{repo}": {kept}'
    if isinstance(system, PermissionError):
        return f"cannot write to {system.filename or constants.HF_HUB_CACHE}: set HF_HOME to your own folder"
    if system is not None and system.errno is not None:
        return f'{system.strerror} ({system.filename}) while {doing} "{repo}": nothing is lost, do it again'
    return None


def _answered(answer: Any, repo: str, revision: str | None, doing: str) -> str:
    """What the Hub meant by an error of its own."""
    from huggingface_hub import constants, errors

    code = answer.response.status_code
    if isinstance(answer, errors.GatedRepoError):
        return f'"{repo}" is gated: ask for access at {constants.ENDPOINT}/{repo}, then {LOG_IN}'
    if isinstance(answer, errors.RevisionNotFoundError):
        return f'"{repo}" has no revision "{revision}": give one of its branches, tags or commits'
    if isinstance(answer, errors.RemoteEntryNotFoundError):
        return f'a file of "{repo}" is missing on the Hub: it is being changed just now; try again'
    if isinstance(answer, errors.RepositoryNotFoundError) or code == 404:
        return f'the Hub has no repository "{repo}", or it is private: check the name, or {LOG_IN}'
    if code == 401:
        return f"the Hub does not accept the token: {LOG_IN}"
    if code == 403:
        return (
            f'the token may not do that with "{repo}": take one with write access from '
            f"{constants.ENDPOINT}/settings/tokens and {LOG_IN}"
        )
    if code == 429:
        return "the Hub has had too many requests from here: wait some minutes and try again"
    if code in (409, 412):
        return f'"{repo}" was changed by someone else at the same time: do it again'
    if code >= 500:
        return f'the Hub answered with error {code} while {doing} "{repo}": nothing is lost, try again later'
    return f"the Hub refused it ({code}): {answer.server_message or 'it gives no reason'}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _check_listing(
    repo: str, token: str | None, commit: str, limits: Mapping[str, int], required: Sequence[str]
) -> int:
    """Refuses a repository by its listing, before any download; returns how many bytes are wanted."""
    sizes = {
        entry.path: entry.size
        for entry in client(token).get_paths_info(repo, list(limits), revision=commit)
        if hasattr(entry, "size")
    }
    missing = [name for name in required if name not in sizes]
    if missing:
        raise HubError(f'"{repo}" is not a DTSGAN texture: it has no {missing[0]}')
    for name, size in sizes.items():
        if name in limits and size > limits[name]:
            raise HubError(
                f'"{repo}" is not a DTSGAN texture: its {name} has {size / 2**20:,.0f} MB, and none needs '
                f"more than {limits[name] / 2**20:,.0f}"
            )
    return sum(sizes.values())


def _reporting_bar(on_progress: OnProgress, what: str, total: int) -> type:
    """A progress bar that draws nothing and tells `on_progress`, from the threads of several files."""
    from tqdm.auto import tqdm

    lock = threading.Lock()

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.counts_bytes = "econstruct" in str(settings.get("desc"))
            super().__init__(*arguments, **{**settings, "disable": True})
            self.total: float | None = settings.get("total")  # which a disabled bar forgets
            self.done = 0.0

        def update(self, n: float | None = 1) -> None:
            if self.counts_bytes:
                with lock:
                    self.done += n or 0
                    on_progress(min(1.0, self.done / max(1, total)), what)

    return Bar
