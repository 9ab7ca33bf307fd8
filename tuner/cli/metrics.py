"""`tuner status --prometheus` and `--serve`: writing and serving metrics."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.cli import context, logs

if TYPE_CHECKING:
    from tuner.storage.storage import FencedStorage


def write_metrics(storage: FencedStorage, study: str | None, file: Path) -> None:
    """Replace `file` atomically by the current metrics.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    from tuner.errors import StorageError
    from tuner.report.metrics import write

    try:
        write(storage, study, file)
    except OSError as e:
        raise StorageError(f"--prometheus {file}: cannot be written ({e.strerror}).") from e
    context.note(f"wrote {file}")


def serve_metrics(storage: FencedStorage, study: str | None, address: str) -> None:
    """Serve /metrics for Prometheus until Ctrl-C or SIGTERM.

    Raises
    ------
    UsageError
        `address` is not an address.
    StorageError
        The address cannot be listened on.
    """
    from tuner.errors import StorageError
    from tuner.report.metrics import serve
    from tuner.report.server import Access, is_loopback

    host, port = parse_address(address)
    if not is_loopback(host):
        context.note(f"warning: whoever reaches {host} can read the metrics; there is no authentication.")
    try:
        server = serve(storage, study, Access(host, errors=logs.Redacted()), port)
    except StorageError as e:
        raise StorageError(f"--serve {address}: {str(e).partition('. Choose')[0]}. Choose another port.") from e
    shown = f"[{host}]" if ":" in host else host
    context.note(f"{storage.address}: http://{shown}:{server.server_port}/metrics (Ctrl-C ends)")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ordinary end, even for process 1
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        context.note("metrics stopped")
    finally:
        signal.signal(signal.SIGTERM, before)
        server.shutdown()
        server.server_close()


def parse_address(text: str) -> tuple[str, int]:
    """Parse ``PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``; the default host is loopback.

    Raises
    ------
    UsageError
        Anything else.
    """
    from tuner.errors import UsageError

    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise UsageError(f"--serve {text!r} is not an address; write 9464, 127.0.0.1:9464 or [::1]:9464.")
    return host.strip("[]") or "127.0.0.1", int(port)
