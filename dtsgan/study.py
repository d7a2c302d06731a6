"""The paper's user study (Table 2) on a comparison: a blind page, votes on disk, the table with intervals.

A page shows the videos of all methods on one clip, in an order of its own, or two of them, and asks which
looks most real. The videos are inside the page, so no address names a method; the order of each page is known
to the server alone. A page answers to one vote.
"""

import json
import math
import random
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dtsgan.compare.contestants import OWN
from dtsgan.compare.folder import REAL, ReportDir
from dtsgan.compare.page import real_clip, shown_video
from dtsgan.compare.tables import Results, Table
from dtsgan.errors import ConfigError, RunError, nearest
from dtsgan.report import render, video_data

PAPER_TABLE_2 = {
    "two_stream": 11.78, "dynamic_generator": 20.67, "cgcnn_gram": 5.89, "cgcnn_mean": 7.78, OWN: 53.89,
}  # fmt: skip
Z = 1.959963984540054  # of a normal distribution: 95 %
COOKIE = "participant"
MAX_BODY = 1000  # bytes of a vote
HEADERS = {  # nothing is fetched, framed, kept or told to others
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "media-src data:; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    id TEXT PRIMARY KEY, participant TEXT NOT NULL, clip TEXT NOT NULL, shown TEXT NOT NULL,
    made REAL NOT NULL);
CREATE TABLE IF NOT EXISTS votes (
    trial TEXT PRIMARY KEY REFERENCES trials (id), choice TEXT NOT NULL, at REAL NOT NULL);
"""


class Study:
    """What is asked, and what was answered.

    Args:
        report: a folder that `dtsgan compare` has filled.
        methods: only these; all that are done when not given.
        in_pairs: two methods at a time instead of all.
        with_real: the real clip is one of the choices.

    Raises:
        RunError: a folder without a comparison, or with fewer than two videos of every clip.
        ConfigError: a method that is not done on any clip.
    """

    def __init__(
        self,
        report: Path,
        methods: Sequence[str] | None = None,
        in_pairs: bool = False,
        with_real: bool = False,
    ) -> None:
        self.folder, self.in_pairs = ReportDir(Path(report)), in_pairs
        self.results = Results.read(self.folder)
        done = [method for method in self.results.methods if self.results.cells(None, method)]
        if unknown := [method for method in methods or () if method not in done]:
            raise ConfigError(
                f'"{unknown[0]}" is not done on any clip{nearest(unknown[0], done)}: choose from '
                f"{', '.join(done)}"
            )
        chosen = [method for method in done if methods is None or method in methods]
        self.choices: dict[str, list[str]] = {}
        for clip in self.results.clips:
            here = [method for method in chosen if self.results.cells(clip, method)]
            here += [REAL] * with_real
            if len(here) > 1:
                self.choices[clip] = here
        if not self.choices:
            raise RunError(
                f"{report} has no clip with the videos of two methods: run dtsgan compare with more methods"
            )
        with self._database() as database:
            database.executescript(SCHEMA)

    def questions(self, participant: str) -> list[tuple[str, list[str]]]:
        """What one participant is asked, in an order of their own: clips, and the methods shown together."""
        rng = random.Random(f"{participant} {self.in_pairs}")
        asked = [
            (clip, list(shown))
            for clip, methods in self.choices.items()
            for shown in (combinations(methods, 2) if self.in_pairs else [methods])
        ]
        rng.shuffle(asked)
        for _, shown in asked:
            rng.shuffle(shown)
        return asked

    def next_trial(self, participant: str) -> tuple[str, str, list[str], int, int] | None:
        """The page that a participant has not answered yet: its secret name, clip, methods in the order
        shown, its number and how many there are. None: all are answered."""
        asked = self.questions(participant)
        with self._database() as database:
            rows = database.execute(
                "SELECT clip, shown, id, choice FROM trials LEFT JOIN votes ON trial = id "
                "WHERE participant = ?",
                (participant,),
            ).fetchall()
            known = {(clip, shown): (name, choice) for clip, shown, name, choice in rows}
            for number, (clip, shown) in enumerate(asked, start=1):
                name, choice = known.get((clip, json.dumps(shown)), ("", None))
                if choice is not None:
                    continue
                if not name:
                    name = secrets.token_urlsafe(16)
                    database.execute(
                        "INSERT INTO trials VALUES (?, ?, ?, ?, ?)",
                        (name, participant, clip, json.dumps(shown), time.time()),
                    )
                return name, clip, shown, number, len(asked)
        return None

    def vote(self, participant: str, trial: str, position: int) -> bool:
        """Keeps one answer; false if there is no such page, or it is not this participant's. The first answer
        to a page counts."""
        with self._database() as database:
            row = database.execute(
                "SELECT shown FROM trials WHERE id = ? AND participant = ?", (trial, participant)
            ).fetchone()
            shown = json.loads(row[0]) if row else []
            if not 0 <= position < len(shown):
                return False
            database.execute(
                "INSERT OR IGNORE INTO votes VALUES (?, ?, ?)", (trial, shown[position], time.time())
            )
        return True

    def answers(self) -> list[tuple[list[str], str]]:
        """All votes: the methods shown, and the chosen one."""
        with self._database() as database:
            rows = database.execute(
                "SELECT shown, choice FROM trials JOIN votes ON trial = id ORDER BY at"
            ).fetchall()
        return [(json.loads(shown), choice) for shown, choice in rows]

    def num_participants(self) -> int:
        with self._database() as database:
            query = "SELECT COUNT(DISTINCT participant) FROM trials JOIN votes ON trial = id"
            return int(database.execute(query).fetchone()[0])

    def title(self, method: str) -> str:
        return "real" if method == REAL else self.results.title(method)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection for one question: SQLite locks the file between threads and processes."""
        try:
            database = sqlite3.connect(self.folder.votes, timeout=10)
            try:
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise RunError(f"{self.folder.votes} cannot be used ({error}): move it away") from error


# -- the table ---


def wilson(won: int, shown: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): unlike the usual one it never leaves [0, 1]."""
    if not shown:
        return 0.0, 1.0
    share, spread = won / shown, Z**2 / shown
    middle = share + spread / 2
    half = Z * math.sqrt(share * (1 - share) / shown + Z**2 / (4 * shown**2))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def preferences(study: Study) -> dict[str, Any]:
    """How often each method was chosen when it was shown; most preferred first."""
    answers = study.answers()
    methods = sorted({method for shown, _ in answers for method in shown})
    found: list[dict[str, Any]] = []
    for method in methods:
        shown = sum(method in among for among, _ in answers)
        won = sum(choice == method for _, choice in answers)
        low, high = wilson(won, shown)
        found.append({
            "method": method, "title": study.title(method), "chosen": won, "shown": shown,
            "share": won / shown, "low": low, "high": high,
        })  # fmt: skip
    found.sort(key=lambda entry: -entry["share"])
    return {
        "votes": len(answers),
        "participants": study.num_participants(),
        "database": str(study.folder.votes),
        "preferences": found,
    }


def table_2(study: Study) -> str:
    """The paper's Table 2 in Markdown."""
    found = preferences(study)
    rows = []
    for entry in found["preferences"]:
        paper = PAPER_TABLE_2.get(OWN if entry["method"].startswith(f"{OWN}_") else entry["method"])
        rows.append([
            entry["title"], f"{entry['share']:.1%}", f"{entry['low']:.1%} to {entry['high']:.1%}",
            str(entry["chosen"]), str(entry["shown"]), "–" if paper is None else f"{paper:.2f}%",
        ])  # fmt: skip
    header = ["method", "chosen as most real", "95 % interval (Wilson)", "votes", "times shown", "paper"]
    sizes = sorted({len(shown) for shown, _ in study.answers()})
    among = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "no"
    note = (
        f"{found['votes']} votes of {found['participants']} participants, each among {among} videos. The "
        "paper asked 50 people about 18 clips and 5 methods. Intervals take votes as independent; those of "
        "one participant are not quite."
    )
    return f"{Table('Table 2', header, rows).markdown()}\n\n{note}"


# -- the page ---


def build_app(study: Study) -> Starlette:
    """`/` shows the next page to this participant, `/vote` takes its answer and goes on."""

    @lru_cache(maxsize=64)
    def video(clip: str, method: str) -> str:
        if method == REAL:
            return video_data(*real_clip(study.folder, study.results, clip))
        return video_data(*shown_video(study.folder, study.results.cells(clip, method)[0]))

    def page(request: Request) -> Response:
        participant = request.cookies.get(COOKIE) or secrets.token_urlsafe(16)
        trial = study.next_trial(participant)
        if trial is None:
            response = HTMLResponse(render("study.html.j2", videos=None), headers=HEADERS)
        else:
            name, clip, shown, number, count = trial
            videos = [video(clip, method) for method in shown]
            html = render("study.html.j2", videos=videos, trial=name, number=number, count=count)
            response = HTMLResponse(html, headers=HEADERS)
        response.set_cookie(COOKIE, participant, max_age=30 * 86400, httponly=True, samesite="strict")
        return response

    async def vote(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return refused("this is no vote")
        fields = parse_qs(body.decode("ascii", "replace"))
        trial, choice = (fields.get(name, [""])[0] for name in ("trial", "choice"))
        participant = request.cookies.get(COOKIE, "")
        if not choice.isdecimal() or not study.vote(participant, trial, int(choice)):
            return refused("this page is not known here, or nothing was chosen")
        return RedirectResponse("/", status_code=303, headers=HEADERS)

    def refused(reason: str) -> Response:
        return HTMLResponse(
            render("study.html.j2", videos=None, refused=reason), status_code=400, headers=HEADERS
        )

    return Starlette(routes=[Route("/", page), Route("/vote", vote, methods=["POST"])])


def serve(study: Study, host: str = "127.0.0.1", port: int = 7870) -> None:
    """Serves the page until it is interrupted.

    Raises:
        RunError: if the address cannot be listened on.
    """
    import socket
    import sys

    import uvicorn

    if not 0 <= port < 65536:
        raise ConfigError(f"the port must be between 0 and 65535, got {port}")
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise RunError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): choose another --port"
        ) from error
    with listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        config = uvicorn.Config(build_app(study), log_level="warning", server_header=False)
        uvicorn.Server(config).run(sockets=[listener])
