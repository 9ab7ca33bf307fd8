"""`tuner dashboard`: serve optuna-dashboard for the storage, with artifacts."""

from __future__ import annotations

import secrets
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import context, logs, options

if TYPE_CHECKING:
    from tuner.report.server import Access

EXAMPLE = "Example: tuner dashboard --port 8080"


def command(
    host: Annotated[str, typer.Option(help="Address to listen on; others can reach any but loopback.")] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8080,
    proxy: Annotated[
        list[str] | None, typer.Option(help="Host name of a proxy with a log-in that serves the dashboard.")
    ] = None,
    write: Annotated[
        bool | None,
        typer.Option("--write/--read-only", help="Whether notes and studies can be changed [only behind a --proxy]."),
    ] = None,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
) -> None:
    """Serve the Pareto front, histories and artifacts of all trials until Ctrl-C; read-only without --write or --proxy.

    With --write, changes need the printed address with its token; behind a --proxy they need its log-in.
    """
    from tuner.report.dashboard import serve

    access = allow(host, proxy or [], write)
    opened = context.open_existing(storage, reading=not access.writable)
    store = context.open_artifacts(artifacts, reading=not access.writable)
    warn(host, access)
    shown = f"[{host}]" if ":" in host else host

    def ready(at: int) -> None:
        token = f"?token={access.token}" if access.token else ""
        context.note(f"{opened.address}: http://{shown}:{at}/dashboard/ (Ctrl-C ends)")
        if token:
            print(f"to change notes and studies: http://{shown}:{at}/dashboard/{token}", flush=True)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ordinary end, even for process 1
    try:
        serve(opened, store, access, port=port, ready=ready)
    except KeyboardInterrupt:
        context.note("dashboard stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def allow(host: str, proxies: list[str], write: bool | None) -> Access:
    """Determine from where the dashboard can be used, and who can change something.

    Raises
    ------
    UsageError
        A --proxy is not a host name.
    """
    from tuner.errors import UsageError
    from tuner.report.server import Access, host_name

    for name in proxies:
        if not host_name(name) or ":" in name:
            raise UsageError(
                f"--proxy {name!r} is not a host name; write the one in the browser, e.g. tuner.example.org."
            )
    writable = bool(proxies) if write is None else write
    token = secrets.token_urlsafe(24) if writable and not proxies else ""
    names = frozenset(host_name(name) for name in proxies)
    return Access(host, names, writable, token, logs.Redacted())


def warn(host: str, access: Access) -> None:
    """Warn if others can reach the dashboard."""
    from tuner.report.server import is_loopback

    if is_loopback(host):
        return
    what = "read and change everything" if access.writable and not access.token else "read everything"
    context.note(f"warning: the dashboard has no log-in of its own; whoever reaches {host} can {what}.")
