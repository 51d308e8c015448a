"""The text of messages in a JSON object, cut out of its text or written.

To cut it out is faster: the object is read by orjson, whose numbers are not exact, and no tree is
written as text again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final

import orjson

from chatpb._mapping.text import dump, dump_bytes

Tree = dict[str, Any]

_EXACT: Final = (str, bool, int)
_ATTEMPTS: Final = 4  # to find the end of a value: members of it may have the same names


class UncutError(Exception):
    """The texts are not found."""


class Written:
    """Values of an exact tree, as `chatpb._mapping.text.parse` reads it; text is written anew.

    Args:
        allow_nan: Whether numbers may be NaN and infinities.
    """

    def __init__(self, allow_nan: bool) -> None:
        self.allow_nan = allow_nan

    def message(self, tree: Any) -> bytes:
        """The text of a message."""
        return dump(tree).encode() if self.allow_nan else dump_bytes(tree)

    def plain(self, value: Any) -> Any:
        """A value of a field that is not a message."""
        return value

    def label(self, value: Any) -> Any:
        """A value that becomes a label."""
        return value

    def enter(self, tree: Tree) -> None:
        """Announces that messages in an object will be asked for."""


class Cut(Written):
    """Values of a tree as orjson reads it; text is cut out of that of the object.

    Args:
        data: The text of the object.
        members: Its members.

    Raises:
        UncutError: The text cannot be cut. So do the methods, if a value is not exact.
    """

    def __init__(self, data: bytes, members: Tree) -> None:
        super().__init__(allow_nan=False)
        self._texts: dict[int, bytes] = {}
        self._members = members  # whose parts keep their IDs as long as it is there
        self._add(data, members)

    def message(self, tree: Any) -> bytes:
        found = self._texts.get(id(tree))
        if found is None:
            raise UncutError
        return found

    def plain(self, value: Any) -> Any:
        if value is None or type(value) in _EXACT or _is_of(value, str) or _is_of(value, int):
            return value
        raise UncutError

    def label(self, value: Any) -> Any:
        if value is None or (type(value) in _EXACT and (value or type(value) is not int)):
            return value  # not 0, which may be spelled -0
        raise UncutError

    def enter(self, tree: Tree) -> None:
        self._add(self.message(tree), tree)

    def _add(self, data: bytes, members: Tree) -> None:
        for name, text in cut(data, members).items():
            if isinstance(members[name], dict):
                self._texts[id(members[name])] = text


def _is_of(value: Any, kind: type) -> bool:
    """Whether a value is an object or an array of values of a type."""
    items = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [0.5]
    )
    return all(type(item) is kind for item in items)


def cut(text: bytes, members: Mapping[str, Any]) -> dict[str, bytes]:
    """The text of each member of an object.

    Args:
        text: The text of the object, which is JSON.
        members: Its members in their order, as orjson reads them.

    Raises:
        UncutError: There is no member, or a name is repeated or written with escapes, for example.
    """
    text = text.strip()
    names: list[Any] = list(members)
    first = _begin(names[0], b"{").match(text) if names else None
    if first is None:
        raise UncutError
    found: dict[str, bytes] = {}
    start = first.end()
    for name, following in pairwise([*names, None]):
        if following is None:
            found[name] = _checked(text[start:-1])
            break
        for match in islice(_begin(following, b",").finditer(text, start), _ATTEMPTS):
            with suppress(UncutError):  # the name is one in the value, too
                found[name] = _checked(text[start : match.start()])
                start = match.end()
                break
        else:
            raise UncutError
    return found


def _checked(text: bytes) -> bytes:
    """A text if it is one value, not a part of one or more than one."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        raise UncutError from None
    return text


@lru_cache(1000)
def _begin(name: str, mark: bytes) -> re.Pattern[bytes]:
    """What comes before the value of a member, from a brace or comma on."""
    try:
        quoted = re.escape(orjson.dumps(name))
    except orjson.JSONEncodeError:
        raise UncutError from None
    return re.compile(re.escape(mark) + rb"\s*" + quoted + rb"\s*:\s*")
