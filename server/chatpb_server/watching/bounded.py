"""What bounds the labels and values of metrics: callers and upstreams choose them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: The label of everything that has no label of its own.
OTHER: Final = "other"
#: How many models get a label in each process.
MOST_MODELS: Final = 100
# Counters are doubles, which cannot count on from much more. No true count is near it.
MOST_TOKENS: Final = 1 << 40
_MOST_LENGTH: Final = 128


def representable(text: str) -> str:
    """A text without lone surrogates, which neither Prometheus nor OTLP can represent.

    Both fail to send anything as long as there is one.
    """
    return text.encode(errors="replace").decode()


class Names:
    """The values of a label, whose number is bounded.

    Args:
        known: The values. None: the first that are admitted.
        most: How many are admitted.
    """

    def __init__(self, known: Iterable[str] | None, most: int) -> None:
        self._names = set(known or ())
        self._room = most if known is None else 0

    def get(self, name: str) -> str:
        """The label of a name."""
        return name if not name or name in self._names else OTHER

    def admit(self, name: str) -> str:
        """The label of a name that deserves one of its own, while there is room."""
        if (
            self._room
            and name
            and name not in self._names
            and len(name) <= _MOST_LENGTH
            and representable(name) == name
        ):
            self._room -= 1
            self._names.add(name)
        return self.get(name)
