"""Repeated log records: the first is written, and one a second with how many were left out."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

#: For how many seconds a record silences those that are like it.
_SECONDS: Final = 1.0
_MOST_KEYS: Final = 1000


class Repeats(logging.Filter):
    """Bounds how much repeated warnings and errors write, whoever repeats what causes them.

    Records are alike if they have the same template and the same texts in it or, if they have a
    traceback, the same type of exception from the same place. The line of a call is always written,
    but not always its traceback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._seen: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record."""
        if record.levelno < logging.WARNING:
            return True
        is_of_call = hasattr(record, "fields")
        if is_of_call and not record.exc_info:
            return True
        left_out = self._left_out(_key(record))
        if is_of_call:
            if left_out is None:
                record.exc_info = None
            return True
        if left_out:
            record.fields = {"left_out": left_out}
        return left_out is not None

    def _left_out(self, key: object) -> int | None:
        """How many such records were left out since the last one; None to leave it out too."""
        now = time.monotonic()
        with self._lock:
            until, count = self._seen.get(key, (0.0, 0))
            if now < until:
                self._seen[key] = (until, count + 1)
                return None
            if len(self._seen) >= _MOST_KEYS:
                self._seen.clear()
            self._seen[key] = (now + _SECONDS, 0)
            return count


def _key(record: logging.LogRecord) -> object:
    """What is equal for records that are alike."""
    if record.exc_info:
        kind, _, trace = record.exc_info
        place = None
        while trace is not None:
            place, trace = (trace.tb_frame.f_code, trace.tb_lineno), trace.tb_next
        return (record.name, record.levelno, str(record.msg), kind, place)
    args = record.args if isinstance(record.args, tuple) else ()
    texts = tuple(str(arg) for arg in args if not isinstance(arg, int | float))
    return (record.name, record.levelno, str(record.msg), texts)
