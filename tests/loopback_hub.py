"""A Hugging Face Hub on this machine: the endpoints that the real client uses, over real HTTP.

Repositories live in memory. Faults can be ordered, so that a test sees what a user would: a connection that
breaks off, a gate, a server in trouble.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

KINDS = ("models", "datasets", "spaces")
LARGE = (".safetensors", ".mp4", ".webp", ".gif", ".bin")  # these travel by LFS
TOKEN = "hf_loopbackSecretToken1234567890abcd"
USER = "alice"


@dataclass
class Repo:
    """One repository: its commits, each a whole tree."""

    id: str
    kind: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # lies about how large a file is

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        parent = self.refs.get(ref, "")
        sha = hashlib.sha1(f"{self.id} {parent} {sorted(files)} {len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = files
        self.refs[ref] = sha
        return sha

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits.get(self.refs.get("main", ""), {})


class LoopbackHub:
    """The server. `repos` is what it holds, `requests` what it was asked, `faults` what is to go wrong."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}  # LFS objects by sha256
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[tuple[str, str, Any]] = []  # (method, part of the path, status or "cut")
        self.served = 0  # bytes of files
        self.lock = threading.Lock()
        config = uvicorn.Config(self._app(), host="127.0.0.1", port=0, log_level="critical")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def reset(self) -> None:
        for part in (self.repos, self.blobs, self.requests, self.headers, self.faults):
            part.clear()
        self.served = 0

    def repo(self, name: str, kind: str = "models") -> Repo:
        return self.repos[kind, name]

    def add(self, name: str, files: dict[str, bytes], **settings: Any) -> Repo:
        repo = Repo(name, "models", **settings)
        repo.commit(files)
        self.repos["models", name] = repo
        return repo

    def fail(self, method: str, part: str, how: int | str, times: int = 1) -> None:
        """The next `times` requests whose path holds `part` end so: a status, "page" (a page of the
        network's own), or "cut" in the middle."""
        self.faults += [(method, part, how)] * times

    # -- what it answers ---

    def _app(self) -> FastAPI:
        app = FastAPI()
        hub = self

        @app.middleware("http")
        async def note(request: Request, answer: Callable[..., Any]) -> Response:
            with hub.lock:
                hub.requests.append(f"{request.method} {request.url.path}")
                hub.headers.append(dict(request.headers))
                for fault in hub.faults:
                    if fault[0] == request.method and fault[1] in request.url.path:
                        hub.faults.remove(fault)
                        if fault[2] == "page":
                            return HTMLResponse("<html>Welcome to our hotel. Log in here.</html>")
                        if fault[2] != "cut":
                            # some servers repeat what they were sent
                            echo = request.headers.get("authorization", "")
                            return JSONResponse({"error": f"sorry ({echo})"}, fault[2])
                        request.state.cut = True
                        break
            return await answer(request)

        @app.get("/api/whoami-v2")
        def whoami(request: Request) -> Any:
            if not hub._may(request):
                return JSONResponse({"error": "Invalid credentials"}, 401)
            return {
                "type": "user", "name": USER, "fullname": "Alice", "orgs": [], "email": "alice@example.org",
                "avatarUrl": "", "isPro": False,
                "auth": {"accessToken": {"displayName": "test", "role": "write"}},
            }  # fmt: skip

        @app.post("/api/repos/create")
        async def create(request: Request) -> Any:
            values = await request.json()
            if not hub._may(request):
                return JSONResponse({"error": "Invalid username or password."}, 401)
            name = f"{values.get('organization') or USER}/{values['name']}"
            if not name.startswith(f"{USER}/"):
                return JSONResponse({"error": "You don't have the rights to create a model there"}, 403)
            key = (values.get("type", "model") + "s", name)
            url = f"{hub.url}/{'' if key[0] == 'models' else key[0] + '/'}{name}"
            if key in hub.repos:
                return JSONResponse({"error": "You already created this repo", "url": url}, 409)
            private = values.get("visibility") == "private" or values.get("private") is True
            hub.repos[key] = Repo(name, key[0], private)
            hub.repos[key].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
            return {"url": url, "name": name}

        @app.post("/api/validate-yaml")
        def validate() -> Any:
            return {"errors": [], "warnings": []}

        @app.get("/api/models")
        def models(request: Request, author: str = "", search: str = "", limit: int = 1000) -> Any:
            wanted = set(request.query_params.getlist("filter"))
            found = []
            for (kind, _), repo in sorted(hub.repos.items()):
                if kind != "models" or (repo.private and not hub._may(request)):
                    continue
                info = hub._info(repo)
                if (
                    wanted <= set(info["tags"])
                    and (not author or repo.id.startswith(f"{author}/"))
                    and search.lower() in repo.id.lower()
                ):
                    found.append(info)
            return found[:limit]

        @app.post("/{ns}/{name}.git/info/lfs/objects/batch")
        @app.post("/{kind}/{ns}/{name}.git/info/lfs/objects/batch")
        async def batch(request: Request, ns: str, name: str) -> Any:
            values = await request.json()
            objects = []
            for item in values["objects"]:
                entry = {"oid": item["oid"], "size": item["size"]}
                if item["oid"] not in hub.blobs:
                    entry["actions"] = {
                        "upload": {"href": f"{hub.url}/lfs/{item['oid']}"},
                        "verify": {"href": f"{hub.url}/lfs/{item['oid']}/verify"},
                    }
                objects.append(entry)
            return Response(
                json.dumps({"transfer": "basic", "objects": objects}),
                media_type="application/vnd.git-lfs+json",
            )

        @app.put("/lfs/{oid}")
        async def put(request: Request, oid: str) -> Any:
            if getattr(request.state, "cut", False):
                async for _ in request.stream():
                    break
                return Response(status_code=502)
            content = await request.body()
            if hashlib.sha256(content).hexdigest() != oid:
                return Response(status_code=400)
            hub.blobs[oid] = content
            return Response()

        @app.post("/lfs/{oid}/verify")
        def verify(oid: str) -> Any:
            return Response(status_code=200 if oid in hub.blobs else 404)

        @app.post("/api/{kind}/{ns}/{name}/preupload/{rev}")
        async def preupload(request: Request, kind: str, ns: str, name: str, rev: str) -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            values = await request.json()
            files = []
            for item in values["files"]:
                large = item["path"].endswith(LARGE)
                content = repo.files.get(item["path"])
                known = None if content is None else _oid(content, large)
                mode = "lfs" if large else "regular"
                files.append({"path": item["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
            return {"files": files}

        @app.post("/api/{kind}/{ns}/{name}/commit/{rev}")
        async def commit(request: Request, kind: str, ns: str, name: str, rev: str) -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            if not hub._may(request):
                return JSONResponse({"error": "Unauthorized"}, 403)
            files = dict(repo.files)
            for line in (await request.body()).decode().splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                elif item["key"] == "deletedFile":
                    del files[value["path"]]
            sha = repo.commit(files, unquote(rev))
            return {"commitOid": sha, "commitUrl": f"{hub.url}/{repo.id}/commit/{sha}", "success": True}

        @app.get("/api/{kind}/{ns}/{name}")
        @app.get("/api/{kind}/{ns}/{name}/revision/{rev:path}")
        def info(request: Request, kind: str, ns: str, name: str, rev: str = "main") -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            sha = hub._sha(repo, rev)
            return hub._info(repo, sha) if sha else _missing("RevisionNotFound")

        @app.get("/api/{kind}/{ns}/{name}/tree/{rev}")
        def tree(request: Request, kind: str, ns: str, name: str, rev: str) -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            if repo.gated:
                return _gated()
            sha = hub._sha(repo, rev)
            if not sha:
                return _missing("RevisionNotFound")
            return [_entry(repo, path, content) for path, content in repo.commits[sha].items()]

        @app.post("/api/{kind}/{ns}/{name}/paths-info/{rev}")
        async def paths(request: Request, kind: str, ns: str, name: str, rev: str) -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            if repo.gated:
                return _gated()
            sha = hub._sha(repo, rev)
            if not sha:
                return _missing("RevisionNotFound")
            body = await request.body()
            if request.headers.get("content-type", "").startswith("application/json"):
                wanted = json.loads(body)["paths"]
            else:
                wanted = (await request.form()).getlist("paths")
            files = repo.commits[sha]
            return [_entry(repo, path, files[path]) for path in wanted if path in files]

        @app.api_route("/{ns}/{name}/resolve/{rev}/{path:path}", methods=["HEAD", "GET"])
        @app.api_route("/{kind}/{ns}/{name}/resolve/{rev}/{path:path}", methods=["HEAD", "GET"])
        def resolve(request: Request, ns: str, name: str, rev: str, path: str, kind: str = "models") -> Any:
            repo = hub._find(request, kind, ns, name)
            if isinstance(repo, Response):
                return repo
            if repo.gated:
                return _gated()
            sha = hub._sha(repo, rev)
            if not sha:
                return _missing("RevisionNotFound")
            if path not in repo.commits[sha]:
                return _missing("EntryNotFound", sha)
            content = repo.commits[sha][path]
            etag = f'"{_oid(content, path.endswith(LARGE))}"'
            headers = {"X-Repo-Commit": sha, "ETag": etag, "Accept-Ranges": "bytes"}
            if path.endswith(LARGE):
                headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(repo.sizes.get(path, len(content)))}
            if request.method == "HEAD":
                return Response(headers={**headers, "Content-Length": str(len(content))})
            start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            status = 206 if start else 200
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            left = content[start:]
            headers["Content-Length"] = str(len(left))
            if getattr(request.state, "cut", False):
                return StreamingResponse(_cut(left), status, headers)
            hub.served += len(left)
            return Response(left, status, headers)

        @app.api_route("/{rest:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
        def nothing(rest: str) -> Any:
            return JSONResponse({"error": "no such endpoint"}, 404)

        return app

    def _may(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {TOKEN}"

    def _find(self, request: Request, kind: str, ns: str, name: str) -> "Repo | Response":
        repo = self.repos.get((kind, f"{ns}/{name}"))
        if repo is None or (repo.private and not self._may(request)):
            return JSONResponse({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return repo

    def _sha(self, repo: Repo, rev: str) -> str | None:
        rev = unquote(rev)
        return rev if rev in repo.commits else repo.refs.get(rev)

    def _info(self, repo: Repo, sha: str | None = None) -> dict[str, Any]:
        sha = sha or repo.refs["main"]
        tags = [repo.id.partition("/")[2]]
        card = repo.commits[sha].get("README.md", b"").decode(errors="replace").split("---\n")
        for line in card[1].splitlines() if len(card) > 2 else ():
            if line.startswith("- "):
                tags.append(line.removeprefix("- "))
            for key in ("library_name: ", "pipeline_tag: "):
                if line.startswith(key):
                    tags.append(line.removeprefix(key))
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        return {
            "_id": hashlib.md5(repo.id.encode()).hexdigest()[:24], "id": repo.id, "modelId": repo.id,
            "sha": sha, "private": repo.private, "gated": "manual" if repo.gated else False,
            "disabled": False, "tags": tags, "downloads": len(repo.id), "likes": 3, "siblings": siblings,
            "lastModified": "2026-11-22T10:00:00.000Z", "createdAt": "2026-11-20T10:00:00.000Z",
        }  # fmt: skip


def _oid(content: bytes, large: bool) -> str:
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(repo: Repo, path: str, content: bytes) -> dict[str, Any]:
    size = repo.sizes.get(path, len(content))
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": _oid(content, False)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _oid(content, True), "size": size, "pointerSize": 130}
    return entry


def _missing(code: str, sha: str = "") -> Response:
    headers = {"X-Error-Code": code, **({"X-Repo-Commit": sha} if sha else {})}
    return JSONResponse({"error": code}, 404, headers)


def _gated() -> Response:
    return JSONResponse({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})


def _cut(content: bytes) -> Iterator[bytes]:
    """Half of it, then the connection breaks."""
    yield content[: len(content) // 2]
    raise ConnectionResetError("cut")
