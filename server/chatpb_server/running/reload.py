"""SIGHUP: the settings, and the files that they name, are read again."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from chatpb_server.running.config import ConfigError
from chatpb_server.running.conflicts import conflicts
from chatpb_server.running.settings import Settings
from chatpb_server.running.threads import in_daemon_thread
from chatpb_server.watching.logs import configure_logging

_logger = logging.getLogger(__name__)
_LOAD_SECONDS: Final = 30.0

#: What can change while a relay runs. A table stands for all that is in it.
RENEWED: Final = (
    "grace",
    "http.cors_origins",
    "http.fallback",
    "insecure_listen",
    "limits.max_running",
    "limits.max_waiting",
    "limits.timeout",
    "log",
    "models",
    "passed_back",
    "passed_on",
    "record.keep",
    "record.redact",
    "record.redact_patterns",
    "record.redact_seconds",
    "record.rules",
    "retry",
    "store.all",
    "store.keep",
    "store.max_bytes",
    "store.timeout",
    "tokens",
    "upstreams",
)


def merged(now: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """The settings of a running relay after a change.

    Args:
        now: Those that it has.
        new: Those that it should have.

    Returns:
        Those that it can have: the new ones of `RENEWED`, and the others as they are; and the
        names of the others that differ.

    Raises:
        ConfigError: They cannot be used together.
    """
    result = now
    for name in RENEWED:
        table, _, key = name.rpartition(".")
        if table:
            before, value = getattr(result, table), getattr(getattr(new, table), key)
            if getattr(before, key) == value:  # workers get what is set, even if it is a default
                continue
            if _is_off(result, table):
                continue
            inner = before.model_copy(update={key: value})
            result = result.model_copy(update={table: inner})
        else:
            result = result.model_copy(update={key: getattr(new, key)})
    if mistakes := list(conflicts(result)):
        raise ConfigError(*mistakes)
    wanted = dict(_flat(new))
    return result, [name for name, value in _flat(result) if wanted.get(name) != value]


def _is_off(settings: Settings, table: str) -> bool:
    """Whether the other settings of a table mean nothing without the one that needs a restart."""
    places = {"record": settings.record.directory, "store": settings.store.url}
    return table in places and places[table] is None


def _flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The settings by name, except those of the upstreams."""
    for name, value in settings.model_dump(exclude={"upstreams"}).items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


class Reloads:
    """Reads the settings again at each SIGHUP, from the moment when it is made in an event loop.

    Args:
        settings: Those with which the relay started.
        load: Reads them; in a thread.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    async def run(self, use: Callable[[Settings], Awaitable[None]]) -> None:
        """Waits for signals, for as long as it runs.

        Args:
            use: Changes the settings of the running relay, or raises ConfigError and changes
                nothing.
        """
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                async with asyncio.timeout(_LOAD_SECONDS):
                    new = await in_daemon_thread(self._load)
                    result, others = merged(self._settings, new)
                    await use(result)
            except ConfigError as error:
                text = "; ".join(error.mistakes)
                _logger.error("the settings stay as they are: %s", text)
                continue
            except TimeoutError:
                text = "the files could not be read within %g seconds"
                _logger.error(f"the settings stay as they are: {text}", _LOAD_SECONDS)
                continue
            except Exception as error:
                _logger.error("the settings stay as they are", exc_info=error)
                continue
            self._settings = result
            configure_logging(result.log.format, result.log.level)
            if others:
                text = ", ".join(others)
                _logger.warning("read the settings again; these need a restart: %s", text)
            else:
                _logger.info("read the settings again")
