"""Which element of an array a later element continues, and in what order the elements are."""

from __future__ import annotations

from typing import Any

from chatpb._mapping.schema import MessageType
from chatpb._stream.rules import UnknownRules, is_empty, is_same, marked, name_paths
from chatpb.v1 import options_pb2

_Tree = dict[str, Any]


class _Element:
    """One element of a folded array.

    Attributes:
        joined: What it is so far: an object that others are joined into, or a value of its own.
        place: Its key, but not less than those of the elements that began before it in its array.
        array: The number of the array that it was last found in.
        is_keyed: Whether it has a key of its own.
    """

    __slots__ = ("array", "is_keyed", "joined", "place")

    def __init__(self, joined: Any, place: int, array: int, *, is_keyed: bool) -> None:
        self.joined = joined
        self.place = place
        self.array = array
        self.is_keyed = is_keyed


class Elements:
    """The elements that the arrays of a stream make.

    In the end they are sorted by their keys. An element without a key stays behind all that came
    before it, and those that one array begins stay in its order.
    """

    def __init__(self) -> None:
        self._all: list[_Element] = []
        self._by_key: dict[int, _Element] = {}
        self._array = 0
        self._last_place = 0  # of those that began in this array
        self._highest_place = 0

    def begin_array(self) -> None:
        """Begins the next array of the stream."""
        self._array += 1
        self._last_place = 0

    def add(self, joined: Any, key: int | None = None) -> _Element:
        """Adds an element that continues none."""
        place = max(self._last_place, self._highest_place if key is None else key)
        element = _Element(joined, place, self._array, is_keyed=key is not None)
        self._last_place = place
        self._highest_place = max(place, self._highest_place)
        if key is not None:
            self._by_key[key] = element
        self._all.append(element)
        return element

    def in_order(self) -> list[Any]:
        """What all elements are, in their order."""
        return [element.joined for element in sorted(self._all, key=lambda e: e.place)]


class KeyedElements(Elements):
    """Elements of a message type with a key, such as choices and tool calls."""

    def __init__(self, mapped: MessageType) -> None:
        super().__init__()
        self.mapped = mapped
        self._key = marked(mapped, options_pb2.fold_key)
        self._identity = marked(mapped, options_pb2.fold_identity)
        self._names = name_paths(mapped)
        self._by_identity: dict[str, _Element] = {}
        self._latest: _Element | None = None

    def place(self, value: _Tree, position: int, count: int) -> _Tree:
        """The object to join an element into.

        Args:
            value: The element.
            position: Its position in its array.
            count: The number of elements of its array.
        """
        key = value.get(self._key) if self._key is not None else None
        key = key if type(key) is int else None
        if self._identity is None:
            key = position if key is None else key
            known = self._by_key.get(key)
            if known is not None and known.array == self._array:
                known = None  # no chunk has one choice twice
            return self._touch(known, key)
        identity = value.get(self._identity)
        identity = identity if type(identity) is str and identity else None
        known = self._find(value, key, identity, position if count > 1 else None)
        joined = self._touch(known, key)
        assert self._latest is not None
        if known is None and key is None:
            self._by_key.setdefault(len(self._all) - 1, self._latest)
        if identity is not None:
            self._by_identity[identity] = self._latest
        return joined

    def _find(
        self, value: _Tree, key: int | None, identity: str | None, position: int | None
    ) -> _Element | None:
        """The element that another continues, if it has a key or an identity; None: it is new."""
        if key is not None:
            known = self._by_key.get(key)
            if known is None or identity is None or not self._is_named(value):
                return known
            old = known.joined.get(self._identity)
            return None if old and old != identity else known
        if identity is not None:
            return self._by_identity.get(identity)
        if self._is_named(value):
            return None
        return self._latest if position is None else self._by_key.get(position)

    def _is_named(self, value: _Tree) -> bool:
        for outer, inner in self._names:
            holder = value.get(outer)
            if type(holder) is dict:
                name = holder.get(inner)
                if type(name) is str and name:
                    return True
        return False

    def _touch(self, known: _Element | None, key: int | None) -> _Tree:
        if known is None:
            known = self.add({}, key)
        known.array = self._array
        self._latest = known
        joined: _Tree = known.joined
        return joined


class UnknownElements(Elements):
    """Elements of an array that the schema does not know, such as parts of a content."""

    def __init__(self, rules: UnknownRules) -> None:
        super().__init__()
        self.rules = rules

    def place(self, value: _Tree, position: int) -> _Tree:
        """The object to join an element into; see `KeyedElements.place`."""
        key = value.get(self.rules.key)
        if type(key) is int:
            known = self._by_key.get(key)
            if known is not None and not (
                known.array != self._array and self._is_same_kind(known.joined, value)
            ):
                known = None
        else:
            key = None
            known = self._all[-1] if self._all and not position else None
            if known is not None and not self._continues(known, value):
                known = None
        if known is None:
            known = self.add({}, key)
        known.array = self._array
        joined: _Tree = known.joined
        return joined

    def _is_same_kind(self, old: _Tree, new: _Tree) -> bool:
        kinds = old.get(self.rules.kind), new.get(self.rules.kind)
        return None in kinds or kinds[0] == kinds[1]

    def _continues(self, known: _Element, new: _Tree) -> bool:
        """Whether an element only adds pieces to the one before it."""
        old, kind, pieces = known.joined, self.rules.kind, self.rules.pieces
        if type(old) is not dict or known.is_keyed or type(new.get(kind)) is not str:
            return False
        if new[kind] != old.get(kind) or not any(name in old or name in new for name in pieces):
            return False
        return all(
            name in pieces
            or is_empty(value)
            or is_empty(old.get(name))
            or is_same(value, old[name])
            for name, value in new.items()
        )
