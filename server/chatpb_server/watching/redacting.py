"""Redacts records in a process of its own, which is ended if it takes too long.

A redactor is Python that holds the interpreter's lock, may be slow, and may not return at all, as a
regular expression that tries too much. In a process of its own it delays no call, and can be ended.
"""

from __future__ import annotations

import functools
import signal
import threading
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import Field

from chatpb import ConversionError
from chatpb._errors import os_error_text
from chatpb.redaction import PatternRedactor, RedactionError, Redactor, load_redactor, redact_record
from chatpb_server.core.apart import Job, Processes
from chatpb_server.core.setting import Setting, Table

#: The redactor that is shipped.
PATTERNS: Final = "patterns"
#: A redactor may load a model when it starts.
_START_SECONDS: Final = 120.0
#: The same if it was ended, and how long after that failed it is tried again.
_RESTART_SECONDS: Final = 30.0
#: So much later than the relay would, the process ends itself.
_LATER: Final = 1.0


class RedactTable(Table):
    """Whether and how records are redacted."""

    title: ClassVar[str] = "Recording"

    redact: Annotated[
        str | None,
        Setting(
            "Redact the texts of all records first, with this redactor: patterns (e-mail addresses,"
            " keys, cards, IBANs, IP addresses, telephone numbers), the name of an entry point of"
            " the group chatpb.redactors, or MODULE:ATTRIBUTE.",
            flag="--record-redact",
            value="REDACTOR",
        ),
    ] = None
    redact_patterns: Annotated[
        Path | None,
        Setting(
            "A TOML file with more patterns for the redactor patterns: regular expressions by the"
            " names that are put in place of what they match.",
            flag="--record-redact-patterns",
        ),
    ] = None
    redact_seconds: Annotated[
        float,
        Field(gt=0),
        Setting(
            "How long the redaction of a record may take, with the time that it waits for others."
            " After that only its metadata is kept.",
            flag="--record-redact-seconds",
            unit="seconds",
        ),
    ] = 10


class RedactError(Exception):
    """A redactor that cannot be used, with a text for the user."""


class Spec(NamedTuple):
    """Which redactor is used.

    Attributes:
        name: Its name.
        own: More patterns, and their names.
    """

    name: str
    own: tuple[tuple[str, str], ...] = ()


Failure = Literal["error", "timeout"]
#: Why a record could not be redacted, in metrics.
FAILURES: Final[tuple[Failure, ...]] = ("error", "timeout")


class Redaction:
    """Redacts records, one at a time.

    Args:
        spec: The redactor.
        seconds: How long a record may wait for it and take.
    """

    def __init__(self, spec: Spec, seconds: float) -> None:
        self.spec = spec
        self.seconds = seconds
        self._processes = Processes(idle=None)
        self._start_at = 0.0

    @property
    def is_started(self) -> bool:
        """Whether the process is there."""
        return self._processes.has_idle()

    def start(self, seconds: float = _START_SECONDS) -> None:
        """Starts the process, in which the redactor is loaded.

        Args:
            seconds: How long that may take.

        Raises:
            RedactError: The redactor cannot be used.
        """
        result = self._call(seconds, _start, self.spec)
        if isinstance(result, bytes):
            return
        raise RedactError(f"redact: {result if isinstance(result, str) else 'it did not start'}")

    def redacted(self, record: bytes, until: float, *, is_cut: bool = False) -> bytes | Failure:
        """A record whose texts are redacted, or why that failed. It blocks.

        Args:
            record: The record.
            until: When it has to be done, in seconds of `time.monotonic`.
            is_cut: Whether its chunks may end anywhere.
        """
        now = time.monotonic()
        if now >= until:
            return "timeout"
        if not self.is_started:  # it was ended
            if now < self._start_at:
                return "error"
            try:
                self.start(_RESTART_SECONDS)
            except RedactError:
                self._start_at = time.monotonic() + _RESTART_SECONDS
                return "error"
        seconds = until - time.monotonic()
        if seconds <= 0:
            return "timeout"
        result = self._call(seconds, redact, self.spec, seconds + _LATER, record, is_cut)
        return result if isinstance(result, bytes) or result == "timeout" else "error"

    def close(self) -> None:
        """Ends the process."""
        self._processes.close()

    def _call(self, seconds: float, function: Any, *args: Any) -> Any:
        job = Job(function, *args, processes=self._processes)
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            job.end()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            return job.run()
        except (ConversionError, RuntimeError):
            return "timeout" if is_late.is_set() else None
        finally:
            timer.cancel()


def spec_of(table: RedactTable) -> Spec | None:
    """The redactor that the settings name, if they do.

    Raises:
        RedactError: Its patterns cannot be read.
    """
    if table.redact_patterns is not None and table.redact != PATTERNS:
        raise RedactError(f"redact_patterns needs redact = {PATTERNS!r} (--record-redact)")
    if table.redact is None:
        return None
    own: Mapping[str, Any] = {}
    path = table.redact_patterns
    if path is not None:
        try:
            own = tomllib.loads(path.read_text("utf-8"))
            PatternRedactor(own)
        except OSError as error:
            raise RedactError(f"redact_patterns: {path}: {os_error_text(error)}") from None
        except Exception as error:  # of TOML, of regular expressions, of types
            raise RedactError(f"redact_patterns: {path}: {error}") from None
    return Spec(table.redact, tuple(own.items()))


@functools.lru_cache(1)
def _redactor(spec: Spec) -> Redactor:
    if spec.name == PATTERNS:
        return PatternRedactor(dict(spec.own))
    return load_redactor(spec.name)


def _start(spec: Spec) -> bytes | str:
    """Loads a redactor; the text is an error."""
    try:
        list(_redactor(spec)([]))
    except RedactionError as error:
        return str(error)
    except Exception as error:
        return f"{spec.name}: {type(error).__name__}: {error}"
    return b""


def redact(spec: Spec, seconds: float, record: bytes, is_cut: bool) -> bytes:
    """Redacts a record in this process, which ends if it takes longer than so many seconds.

    The relay ends it before; this is for a relay that was killed meanwhile.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)  # Python does not handle the signal: it ends all
    try:
        return redact_record(record, _redactor(spec), is_cut=is_cut)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
