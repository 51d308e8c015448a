"""Where settings come from: a flag, a variable or the configuration file."""

from __future__ import annotations

from pathlib import Path


class Places:
    """Where settings come from.

    Args:
        path: The configuration file: the place of each setting that has no other place.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._places: dict[tuple[int | str, ...], str] = {}
        self._defaults: set[tuple[str, ...]] = set()

    @property
    def file(self) -> str | None:
        """The configuration file; None without one."""
        return None if self._path is None else str(self._path)

    def add_default(self, key: tuple[str, ...]) -> None:
        """Records that the relay itself has filled in a setting."""
        self._defaults.add(key)

    def add(self, key: tuple[int | str, ...], place: str) -> None:
        """Records the place of a setting or a table."""
        self._places[key] = place

    def find(self, key: tuple[int | str, ...]) -> str:
        """What an error message about a setting begins with."""
        for length in range(len(key), 0, -1):
            if place := self._places.get(key[:length]):
                # Not the position in a list: a flag that is repeated has none to the eye.
                return ".".join([place, *(part for part in key[length:] if isinstance(part, str))])
        name = ".".join(map(str, key))
        below = [place for known, place in self._places.items() if known[: len(key)] == key]
        if below:  # a table whose values come from flags
            return " and ".join(below)
        return f"{self._path}: {name}" if self._path else name

    def source(self, key: tuple[str, ...]) -> str | None:
        """The flag, the variable or the file that sets a setting; None for a default."""
        return None if key in self._defaults else self._places.get(key) or str(self._path)
