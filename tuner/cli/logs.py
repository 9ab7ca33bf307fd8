"""Log lines on stderr: as text, or one JSON object a line; secrets in neither."""

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
NOTICES = logging.getLogger("tuner.notice")  # what whoever started a worker should see now
PIPE_VARIABLE = "TUNER_NOTICES"  # the handle that a supervisor gives its workers
LEVELS = {"error: ": logging.ERROR, "warning: ": logging.WARNING, "warning  ": logging.WARNING}


class TextFormatter(logging.Formatter):
    """Time and message, as a person greps it."""

    def __init__(self, form: str = "%(asctime)s %(message)s") -> None:
        super().__init__(form, "%Y-%m-%d %H:%M:%S")
        self.secrets = secrets_of(os.environ, sys.argv)

    def format(self, record: logging.LogRecord) -> str:
        """Word a record, its exception included."""
        return redact(super().format(record), self.secrets)


class JsonLines(JsonFormatter):
    """One object: time (UTC), level, logger, message, the fields of `log_fields`, exc_info."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
        self.secrets = secrets_of(os.environ, sys.argv)

    def process_log_record(self, log_data: LogData) -> LogData:
        """Mask secrets before they are escaped; put the time first."""
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
    """A stream for people around another one, which is asked what a terminal is asked.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Number of the handle."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # rich asks for it
        """Of the stream."""
        return self.stream.encoding


class Unfailing(Around):
    """A stream for people whose disk may be full: what cannot be written is lost, and ends nothing.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.failing = False

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as e:
            self._fail(e)
        else:
            self.failing = False
        return len(text)

    def flush(self) -> None:
        """Write what could not be written before, if that is possible now."""
        try:
            self.stream.flush()
        except OSError as e:
            self._fail(e)

    def _fail(self, e: OSError) -> None:
        if not self.failing:
            self.failing = True  # first, because this notice fails here too
            NOTICES.warning("the log cannot be written (%s); lines are lost until it can.", e.strerror)


class ToSupervisor(logging.Handler):
    """Tells who started this process what he should see now, past a log that may be on a full disk.

    Parameters
    ----------
    handle : int
        Writing end of the supervisor's pipe.
    log : Unfailing
        Where everything goes; while that fails, warnings go to the supervisor too.
    """

    def __init__(self, handle: int, log: Unfailing) -> None:
        super().__init__(logging.WARNING)
        os.set_inheritable(handle, False)
        os.set_blocking(handle, False)  # a supervisor that is stopped must stop nobody else
        self.pipe, self.log = handle, log
        self.setFormatter(TextFormatter("%(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is a notice, or has no other way to be seen."""
        return record.name == NOTICES.name or self.log.failing

    def emit(self, record: logging.LogRecord) -> None:
        """Send one notice."""
        self.tell(self.format(record))

    def tell(self, message: str, *, last: bool = False) -> None:
        """Send one line, whole or not at all."""
        while len(line := json.dumps({"message": message, "last": last}).encode() + b"\n") > select.PIPE_BUF:
            message = message[: 3 * len(message) // 4]
        with contextlib.suppress(OSError):  # nobody reads any more: then nobody is to be told
            os.write(self.pipe, line)


class Redacted(io.TextIOBase):
    """Stderr for tracebacks of other programs: without secrets."""

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, text: str) -> int:
        """Write through."""
        sys.stderr.write(redact(text))
        return len(text)


class Masked(Around):
    """Stderr of every command: whoever writes there, a library's warning too, shows no secret.

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
        """Write what is left."""
        self.stream.flush()


class LogStream(io.TextIOBase):
    """What is printed for people becomes log records, a line each; blank lines are left out."""

    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, text: str) -> int:
        """Log every complete line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log a line without its end."""
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
        Another format.
    """
    chosen = given or os.environ.get("TUNER_LOG_FORMAT") or "text"
    if chosen not in FORMATS:
        raise UsageError(unknown("log format", chosen, FORMATS))
    return chosen


def start(given: str | None, **fields: object) -> None:
    """Log to stderr from here on; in JSON, everything else that is printed there too.

    Parameters
    ----------
    given : str or None
        As for `log_format`.
    fields
        Of every line.
    """
    chosen = log_format(given)
    log = Unfailing(sys.stderr)
    # As text it goes where stderr leads at that moment: above a live table while there is one.
    handler = logging.StreamHandler(log) if chosen == "json" else _ToStderr()
    handler.setFormatter(JsonLines() if chosen == "json" else TextFormatter())
    handler.addFilter(AddFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    if pipe := os.environ.pop(PIPE_VARIABLE, None):  # of this process alone, not of those that it starts
        root.addHandler(ToSupervisor(int(pipe), log))
    root.setLevel(logging.INFO)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    add_log_fields(**fields)
    sys.stderr = LogStream() if chosen == "json" else log


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is when a record comes."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass  # the base class sets what it found at the start


@contextmanager
def restored() -> Iterator[None]:
    """In this block stderr shows no secret; whatever `start` changes in it is as before after it."""
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
        except OSError:  # else Python ends with 120, because its own last flush fails
            sys.stderr = log
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("optuna").setLevel(optuna)
        logging.captureWarnings(False)


def say(text: str, **fields: object) -> None:
    """Print for people, or log with more fields where everything is logged."""
    if isinstance(sys.stderr, LogStream):
        for line in filter(None, map(str.strip, text.splitlines())):
            OUTPUT.info(line, extra=fields)
    else:
        print(redact(text), file=sys.stderr, flush=True)


def failed(message: str, e: BaseException | None = None) -> None:
    """Say why the process ends, to its supervisor too; in JSON with the traceback of what was not expected."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ToSupervisor):
            handler.tell(redact(message), last=True)
    if isinstance(sys.stderr, LogStream):
        OUTPUT.error(message, exc_info=e)
    else:
        print(f"error: {redact(message)}", file=sys.stderr)


def print_exception(kind: type[BaseException], e: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without secrets: what `sys.excepthook` is with TUNER_DEBUG."""
    print(redact("".join(traceback.format_exception(kind, e, trace))), file=sys.stderr, end="")


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        OUTPUT.error("a thread ended by an exception", exc_info=failure.exc_value)
