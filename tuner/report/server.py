"""Access control and limits shared by all servers of this package.

A page on the internet can make a browser on this machine send requests to 127.0.0.1: directly, or under its own name
after binding that name to 127.0.0.1 (DNS rebinding). The former have a foreign Origin, the latter a foreign Host. Both
are refused.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import logging
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tuner.errors import StorageError
from tuner.results.trial_table import harmless

SILENT_SECONDS = 20  # a client that sends nothing for this long is disconnected
MOST_CLIENTS = 64  # at once; the oldest makes room
LARGEST_BODY = 64 << 20  # bytes; as the proxy of deploy/nginx takes
READS = ("GET", "HEAD", "OPTIONS")

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class Access:
    """Which requests are answered.

    Parameters
    ----------
    host : str
        Address to listen on. On loopback, only requests to loopback names are answered; elsewhere also those to any
        numeric address, which cannot be a foreign name, and to this machine's name.
    names : frozenset of str
        Further names: those of proxies in front of the server.
    writable : bool
        Whether requests that change something are answered at all.
    token : str
        If not empty, a change needs the cookie that ``/?token=TOKEN`` sets.
    errors : io.TextIOBase or None
        Takes tracebacks of the application; None is stderr.
    """

    host: str
    names: frozenset[str] = frozenset()
    writable: bool = False
    token: str = ""
    errors: io.TextIOBase | None = field(default=None, compare=False)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server."""
        name = host_name(host)
        if name in self.names:
            return True
        if is_loopback(self.host):
            return is_loopback(name)
        return _is_address(name) or name in {"localhost", self.host.lower(), socket.gethostname().lower()}

    def refusal(self, environ: dict[str, Any]) -> str:
        """Reason why a request is refused; empty if it is answered."""
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        if not self.knows(host):
            return f"the Host {host[:100]!r} is not this server; behind a proxy, name it with --proxy."
        if origin is not None and not _same(origin, host):
            return f"a page of {origin[:100]!r} may not ask this server."
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site" and environ.get("HTTP_SEC_FETCH_MODE") != "navigate":
            return "a page of another site may not ask this server."
        if environ["REQUEST_METHOD"] in READS:
            return ""
        if not self.writable:
            return "this server only reads; tuner dashboard --write, or --proxy NAME, lets it write."
        if origin is None:
            return "a change needs an Origin, which every browser sends."
        if self.names and not self.token and host_name(host) not in self.names:
            return "changes are made through the proxy."
        return "" if self._has_token(environ) else "a change needs the address with ?token= that was printed."

    def _has_token(self, environ: dict[str, Any]) -> bool:
        if not self.token:
            return True
        try:
            cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_cookie(environ))
        except CookieError:
            return False
        return cookie is not None and secrets.compare_digest(cookie.value.encode(), self.token.encode())


def guarded(app: Wsgi, access: Access) -> Wsgi:
    """Put `access` in front of an application, which handles one request at a time."""
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if reason := access.refusal(environ):
            return _refuse(start_response, "403 Forbidden", reason)
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token", [""])[0]
        if access.token and given and secrets.compare_digest(given.encode(), access.token.encode()):
            cookie = f"{_cookie(environ)}={access.token}; Path=/; HttpOnly; SameSite=Strict"
            start_response("302 Found", [("Location", environ.get("PATH_INFO") or "/"), ("Set-Cookie", cookie)])
            return [b""]
        if environ["REQUEST_METHOD"] not in READS:
            length = environ.get("CONTENT_LENGTH") or "0"
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                return _refuse(start_response, "413 Content Too Large", f"at most {LARGEST_BODY} bytes are taken.")
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))  # a slow client holds no lock
        if access.errors is not None:
            environ["wsgi.errors"] = access.errors
        path = environ.get("PATH_INFO", "")
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [status, headers]
            return start_response(status, _headers(path, headers), exc_info) if not _is_table(path) else None

        with lock:
            body = app(environ, start)
        return _table(body, started, start_response, path) if _is_table(path) else body

    return answer


def _headers(path: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Answer to no other site; a stored file that is opened by itself runs no script here."""
    kept = [(k, v) for k, v in headers if k.lower() != "access-control-allow-origin"]
    kept += [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    return [*kept, ("Content-Security-Policy", "sandbox")] if path.startswith("/artifacts/") else kept


def _is_table(path: str) -> bool:
    return path.startswith("/csv/")


def _table(body: Iterable[bytes], started: list[Any], start_response: Any, path: str) -> Iterable[bytes]:
    """Make a table for download whose cells a spreadsheet does not interpret as formulas."""
    status, headers = started
    content = b"".join(body)
    if status.startswith("200"):
        out = io.StringIO()
        rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
        csv.writer(out).writerows([harmless(cell) for cell in row] for row in rows)
        content = out.getvalue().encode()
    headers = [(k, v) for k, v in headers if k.lower() != "content-length"]
    start_response(status, _headers(path, [*headers, ("Content-Length", str(len(content)))]))
    return [content]


def _refuse(start_response: Any, status: str, reason: str) -> Iterable[bytes]:
    content = json.dumps({"reason": reason}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


def _cookie(environ: dict[str, Any]) -> str:
    return f"tuner-{environ.get('SERVER_PORT', '0')}"  # cookies know no ports


def host_name(host: str) -> str:
    """Name or address in a Host header, without its port."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,/@\s]+)(?::\d+)?", host)
    return found[1].strip("[]").rstrip(".").lower() if found else ""


def _same(origin: str, host: str) -> bool:
    """Whether a page's origin is this server as it was asked."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    default = {"http": ":80", "https": ":443"}.get(parts.scheme)
    if default is None:
        return False
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Handler(WSGIRequestHandler):
    """Logs no requests, because pages poll every few seconds, and disconnects silent clients."""

    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingMixIn, WSGIServer):
    """One thread per client; if there are too many, the oldest client is disconnected."""

    daemon_threads = True
    request_queue_size = MOST_CLIENTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._clients: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a client."""
        with self._lock:
            if len(self._clients) >= MOST_CLIENTS:
                _cut(self._clients.pop(next(iter(self._clients))))
            self._clients[id(request)] = request
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Disconnect a client."""
        with self._lock:
            self._clients.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log quietly: a client that goes away or stays silent is not an error."""
        logging.getLogger(__name__).debug("a request ended early", exc_info=True)


class Server6(Server):
    """For addresses such as ::1."""

    address_family = socket.AF_INET6


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has disconnected by itself


def make_guarded_server(app: Wsgi, access: Access, port: int) -> Server:
    """Listen; port 0 takes a free one.

    Raises
    ------
    StorageError
        The address cannot be listened on.
    """
    kind = Server6 if ":" in access.host else Server
    try:
        return make_server(access.host, port, guarded(app, access), kind, Handler)
    except OSError as e:
        raise StorageError(
            f"cannot listen on {access.host}:{port} ({e.strerror}). Choose another --port or --host."
        ) from e
