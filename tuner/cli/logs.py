"""Log lines on stderr, as text or as one JSON object per line, without secrets."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from tuner.cli.redaction import redact, secrets_of
from tuner.errors import UsageError, unknown
from tuner.search.log_fields import AddFields, add_log_fields, log_fields

FORMATS = ("text", "json")
OUTPUT = logging.getLogger("tuner.output")
NOTICES = logging.getLogger("tuner.notice")  # what the user who started a worker should see now
PIPE_VARIABLE = "TUNER_NOTICES"  # handle of the pipe from a worker to its supervisor
LEVELS = {"error: ": logging.ERROR, "warning: ": logging.WARNING, "warning  ": logging.WARNING}


class TextFormatter(logging.Formatter):
    """Time and message as text."""

    def __init__(self, form: str = "%(asctime)s %(message)s") -> None:
        super().__init__(form, "%Y-%m-%d %H:%M:%S")
        self.secrets = secrets_of(os.environ, sys.argv)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, including its exception."""
        return redact(super().format(record), self.secrets)


class JsonLines(JsonFormatter):
    """A JSON object with time (UTC), level, logger, message, the fields of `log_fields`, and exc_info."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
        self.secrets = secrets_of(os.environ, sys.argv)

    def process_log_record(self, log_data: LogData) -> LogData:
        """Mask secrets before they are escaped, and put the time first."""
        clean = {key: self._clean(value) for key, value in log_data.items()}
        return {"time": clean.pop("time"), **clean}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            value = f"{type(value).__name__}: {value}"
        if isinstance(value, dict):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None  # JSON has no NaN
        return redact(value, self.secrets) if isinstance(value, str) else value


class Around(io.TextIOBase):
    """A wrapper of a text stream that answers questions about the terminal like that stream.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """File descriptor of the stream."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # rich asks for it
        """Encoding of the stream."""
        return self.stream.encoding


class Unfailing(Around):
    """A stream whose disk may be full: what cannot be written is lost, but raises no error.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.failing = False

    def write(self, text: str) -> int:
        """Write the text, or lose it."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as e:
            self._fail(e)
        else:
            self.failing = False
        return len(text)

    def flush(self) -> None:
        """Write buffered text, if that is possible now."""
        try:
            self.stream.flush()
        except OSError as e:
            self._fail(e)

    def _fail(self, e: OSError) -> None:
        if not self.failing:
            self.failing = True  # set first, because this notice fails here, too
            NOTICES.warning("the log cannot be written (%s); lines are lost until it can.", e.strerror)


class ToSupervisor(logging.Handler):
    """Sends notices to the process that started this one, bypassing the log, which may be on a full disk.

    Parameters
    ----------
    handle : int
        Writing end of the supervisor's pipe.
    log : Unfailing
        The log; while it fails, warnings go to the supervisor, too.
    """

    def __init__(self, handle: int, log: Unfailing) -> None:
        super().__init__(logging.WARNING)
        os.set_inheritable(handle, False)
        os.set_blocking(handle, False)  # a stopped supervisor must not block its workers
        self.pipe, self.log = handle, log
        self.setFormatter(TextFormatter("%(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is a notice, or could not be seen otherwise."""
        return record.name == NOTICES.name or self.log.failing

    def emit(self, record: logging.LogRecord) -> None:
        """Send one notice."""
        self.tell(self.format(record))

    def tell(self, message: str, *, last: bool = False) -> None:
        """Send one line, completely or not at all."""
        while len(line := json.dumps({"message": message, "last": last}).encode() + b"\n") > select.PIPE_BUF:
            message = message[: 3 * len(message) // 4]
        with contextlib.suppress(OSError):  # nobody reads the pipe any more
            os.write(self.pipe, line)


class Redacted(io.TextIOBase):
    """Stderr for tracebacks of libraries, without secrets."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write to stderr without secrets."""
        sys.stderr.write(redact(text))
        return len(text)


class Masked(Around):
    """Stderr of every command, which masks secrets whoever writes there, even in warnings of libraries.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.secrets = secrets_of(os.environ, sys.argv)

    def write(self, text: str) -> int:
        """Write without secrets."""
        self.stream.write(redact(text, self.secrets))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


class LogStream(io.TextIOBase):
    """Turns printed text into log records, one per line; blank lines are left out."""

    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Log every complete line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log an unfinished line."""
        rest, self._rest = self._rest, ""
        self._log(rest)

    def _log(self, line: str) -> None:
        line = line.strip()
        for start, level in LEVELS.items():
            if line.startswith(start):
                OUTPUT.log(level, line.removeprefix(start).strip())
                return
        if line:
            OUTPUT.info(line)


def log_format(given: str | None) -> str:
    """--log-format, else TUNER_LOG_FORMAT, else text.

    Raises
    ------
    UsageError
        The format is unknown.
    """
    chosen = given or os.environ.get("TUNER_LOG_FORMAT") or "text"
    if chosen not in FORMATS:
        raise UsageError(unknown("log format", chosen, FORMATS))
    return chosen


def start(given: str | None, **fields: object) -> None:
    """Log to stderr from now on; in JSON, everything else that is printed there is logged, too.

    Parameters
    ----------
    given : str or None
        As for `log_format`.
    fields
        Fields of every line.
    """
    chosen = log_format(given)
    log = Unfailing(sys.stderr)
    # Text goes to what stderr is at that moment, e.g. above a live table.
    handler = logging.StreamHandler(log) if chosen == "json" else _ToStderr()
    handler.setFormatter(JsonLines() if chosen == "json" else TextFormatter())
    handler.addFilter(AddFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    if pipe := os.environ.pop(PIPE_VARIABLE, None):  # only for this process, not for those that it starts
        root.addHandler(ToSupervisor(int(pipe), log))
    root.setLevel(logging.INFO)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    add_log_fields(**fields)
    sys.stderr = LogStream() if chosen == "json" else log


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time of each record."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass  # the base class sets the stream of the start


@contextmanager
def restored() -> Iterator[None]:
    """Mask secrets on stderr in this block, and undo afterwards what `start` changed in it."""
    root, stderr, hook = logging.getLogger(), sys.stderr, threading.excepthook
    handlers, level, optuna = root.handlers[:], root.level, logging.getLogger("optuna").level
    sys.stderr = Masked(stderr)
    try:
        with log_fields():
            yield
    finally:
        sys.stderr.flush()
        log, sys.stderr, threading.excepthook = sys.stderr, stderr, hook
        try:
            stderr.flush()
        except OSError:  # otherwise Python exits with 120, because its own last flush fails
            sys.stderr = log
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("optuna").setLevel(optuna)
        logging.captureWarnings(False)


def say(text: str, **fields: object) -> None:
    """Print for people, or log with these fields if everything is logged as JSON."""
    if isinstance(sys.stderr, LogStream):
        for line in filter(None, map(str.strip, text.splitlines())):
            OUTPUT.info(line, extra=fields)
    else:
        print(redact(text), file=sys.stderr, flush=True)


def failed(message: str, e: BaseException | None = None) -> None:
    """Report why the process ends, to its supervisor, too; in JSON with the traceback of an unexpected error."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ToSupervisor):
            handler.tell(redact(message), last=True)
    if isinstance(sys.stderr, LogStream):
        OUTPUT.error(message, exc_info=e)
    else:
        print(f"error: {redact(message)}", file=sys.stderr)


def print_exception(kind: type[BaseException], e: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without secrets; used as `sys.excepthook` with TUNER_DEBUG."""
    print(redact("".join(traceback.format_exception(kind, e, trace))), file=sys.stderr, end="")


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        OUTPUT.error("a thread ended with an exception", exc_info=failure.exc_value)
