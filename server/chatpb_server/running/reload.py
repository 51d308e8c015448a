"""SIGHUP: the settings, and the files that they name, are read again."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from chatpb_server.running.config import ConfigError, conflicts
from chatpb_server.running.settings import Settings
from chatpb_server.watching.logs import configure_logging

_logger = logging.getLogger(__name__)

#: What can change while a relay runs. A table stands for all that is in it.
RENEWED: Final = (
    "grace",
    "insecure_listen",
    "limits.max_running",
    "limits.max_waiting",
    "limits.timeout",
    "log",
    "passed_back",
    "passed_on",
    "retry",
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
            inner = getattr(result, table).model_copy(
                update={key: getattr(getattr(new, table), key)}
            )
            result = result.model_copy(update={table: inner})
        else:
            result = result.model_copy(update={key: getattr(new, key)})
    if mistakes := list(conflicts(result)):
        raise ConfigError(*mistakes)
    wanted = dict(_flat(new))
    return result, [name for name, value in _flat(result) if wanted.get(name) != value]


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
                new = await asyncio.to_thread(self._load)
                result, others = merged(self._settings, new)
                await use(result)
            except ConfigError as error:
                text = "; ".join(error.mistakes)
                _logger.error("the settings stay as they are: %s", text)
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
