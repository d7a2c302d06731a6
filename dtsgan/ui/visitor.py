"""Who is asking: a signed cookie, so that one visitor's runs are not shown to another."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

COOKIE = "dtsgan_visitor"
SECONDS = 90 * 24 * 3600
Scope = MutableMapping[str, Any]


class VisitorSession:
    """ASGI middleware: puts the visitor's name into `scope["visitor"]`, and gives newcomers a cookie.

    The name is 32 hexadecimal digits that nobody can guess or forge: the cookie is signed.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], secret: str) -> None:
        self.app = app
        self.signer = URLSafeSerializer(secret, salt="visitor")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        visitor = self._read(scope)
        if visitor is not None:
            scope["visitor"] = visitor
            await self.app(scope, receive, send)
            return
        scope["visitor"] = visitor = secrets.token_hex(16)
        is_page = scope["type"] == "http" and scope["path"] in ("/", "")

        async def send_with_cookie(message: Any) -> None:
            if is_page and message["type"] == "http.response.start":
                # In a Space's frame the page is a third party's: such a cookie must say None and Secure.
                secure = _is_https(scope)
                rules = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
                value = self.signer.dumps(visitor)
                cookie = f"{COOKIE}={value}; Max-Age={SECONDS}; Path=/; HttpOnly; {rules}"
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie.encode())]
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def _read(self, scope: Scope) -> str | None:
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
        try:
            visitor = self.signer.loads(SimpleCookie(header)[COOKIE].value)
        except (KeyError, BadSignature, CookieError):
            return None
        return visitor if isinstance(visitor, str) else None


def visitor_of(request: Any, user: str | None = None) -> str:
    """The visitor behind a Gradio or Starlette request; with a login, whoever logged in."""
    user = user or getattr(request, "username", None)
    if user:
        return hashlib.sha256(f"user:{user}".encode()).hexdigest()[:32]
    inner = getattr(request, "request", request)  # gradio wraps Starlette's
    scope = getattr(inner, "scope", None) or {}
    return scope.get("visitor") or "0" * 32


def visitor_on(connection: Any) -> str:
    """The visitor on an HTTP or WebSocket connection to a route that Gradio does not guard itself.

    Raises:
        PermissionError: a login is asked for and nobody has.
    """
    app = connection.app
    cookies = connection.cookies
    token = cookies.get(f"access-token-{app.cookie_id}") or cookies.get(
        f"access-token-unsecure-{app.cookie_id}"
    )
    user = app.tokens.get(token)
    if app.auth is not None and user is None:
        raise PermissionError("log in first")
    return visitor_of(connection, user)


def _is_https(scope: Scope) -> bool:
    forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"").decode("latin-1")
    return (forwarded or scope.get("scheme", "http")).split(",")[0].strip() in ("https", "wss")
