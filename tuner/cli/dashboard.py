"""`tuner dashboard`: optuna-dashboard on the storage, with artifacts."""

from __future__ import annotations

import ipaddress
import signal
from typing import Annotated

import typer

from tuner.cli import context, options

EXAMPLE = "Example: tuner dashboard --port 8080"


def command(
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback is open to others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    storage: options.Storage = None,
    artifacts: options.Artifacts = None,
) -> None:
    """Serve the Pareto front, histories and every trial's artifacts until Ctrl-C."""
    from tuner.report.dashboard import serve

    opened = context.open_existing(storage)
    store = context.open_artifacts(artifacts)
    if not is_loopback(host):
        context.note(f"warning: the dashboard has no authentication; whoever reaches {host} can change and delete.")
    shown = f"[{host}]" if ":" in host else host

    def ready(at: int) -> None:
        context.note(f"{opened.address}: http://{shown}:{at}/dashboard/ (Ctrl-C ends)")

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ordinary end, also as process 1
    try:
        serve(opened, store, host=host, port=port, ready=ready)
    except KeyboardInterrupt:
        context.note("dashboard stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
