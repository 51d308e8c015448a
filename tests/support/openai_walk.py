"""Compares the types of the openai package with the messages of the schema.

A walk takes a pydantic model or a TypedDict and the message that mirrors it, goes through both in
parallel, and reports everything that OpenAI documents and the message cannot hold.
"""

from __future__ import annotations

import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, Union

import pydantic
import typing_extensions
from google.protobuf.descriptor import FieldDescriptor

from chatpb._mapping.schema import ARRAY, BASE64, RAW, Field, MessageType

_INTEGERS = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)
_LISTS = (list, Iterable, Sequence)
_MAPS = (dict, Mapping)


class Finding(NamedTuple):
    """Something that OpenAI documents and the schema lacks."""

    path: str
    reason: str


@dataclass
class Walk:
    """The result of a walk.

    Attributes:
        findings: What the schema lacks.
        fields: The fields of the schema that OpenAI documents, as full names.
        words: The words that OpenAI documents, by the full name of the enum.
    """

    findings: list[Finding] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    words: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _seen: set[tuple[object, str]] = field(default_factory=set)

    def model(self, documented: Any, message: MessageType, path: str) -> None:
        """Compares a pydantic model or a TypedDict with a message."""
        if (documented, message.descriptor.full_name) in self._seen:
            return
        self._seen.add((documented, message.descriptor.full_name))
        for name, annotation in members(documented):
            below = f"{path}.{name}"
            known = message.fields.get(name)
            if known is None:
                self._lack(below, f"{message.descriptor.full_name} has no such field")
            else:
                self.fields.add(known.descriptor.full_name)
                self.value(arms(annotation), known, below)

    def value(self, documented: list[Any], known: Field, path: str) -> None:
        """Compares the arms of a type with a field."""
        if known.map_value is not None:
            for arm in self._all(documented, "a map", known, path):
                self.value(arms(_element(arm)), known.map_value, path + "{}")
        elif known.repeated:
            for arm in self._all(documented, "a list", known, path):
                self.value(arms(_element(arm)), _one(known), path + "[]")
        elif known.message is not None and known.message.is_union:
            self._union(documented, known.message, path)
        else:
            self._scalar(documented, known, path)

    def _union(self, documented: list[Any], union: MessageType, path: str) -> None:
        """Compares each kind of arm with the member of a union that takes it."""
        for kind in dict.fromkeys(map(kind_of, documented)):
            some = [arm for arm in documented if kind_of(arm) == kind]
            takers = [known for known in union.fields.values() if kind in kinds_taken(known)]
            if not takers:
                self._lack(path, f"{union.descriptor.full_name} takes no {kind}")
            for known in takers[:1]:
                self.fields.add(known.descriptor.full_name)
                self.value(some, known, path)

    def _scalar(self, documented: list[Any], known: Field, path: str) -> None:
        kinds = kinds_taken(known)
        for arm in documented:
            kind = kind_of(arm)
            if kind not in kinds and not self._is_bytes(arm, known):
                wanted = " or ".join(sorted(kinds)) or "bytes"
                self._lack(path, f"{spell(arm)} where the schema has {wanted}")
            elif kind == "object" and not _is_free(arm):
                self._object(arm, known, path)
        if known.enum is not None:
            self._enum(documented, known, path)
        elif "string" in kinds and str not in documented:
            self._constant(documented, known, path)

    def _object(self, arm: Any, known: Field, path: str) -> None:
        if known.message is not None and typing.get_origin(arm) not in _MAPS:
            self.model(arm, known.message, path)
        else:
            wanted = "free JSON" if known.message is None else known.message.descriptor.full_name
            self._lack(path, f"{spell(arm)} where the schema has {wanted}")

    def _enum(self, documented: list[Any], known: Field, path: str) -> None:
        assert known.enum is not None
        assert known.descriptor.enum_type is not None
        name = known.descriptor.enum_type.full_name
        if str in documented:
            self._lack(path, f"any string where the schema has the words of {name}")
        for word in _words(documented):
            self.words[name].add(word)
            if word not in known.enum.numbers:
                self._lack(path, f"{name} has no word {word!r}")

    def _constant(self, documented: list[Any], known: Field, path: str) -> None:
        """Reports the words of a string field, unless the only one is the word in its option."""
        words = list(_words(documented))
        if words and words != [known.unset]:
            self._lack(path, f"the words {words} where the schema has a string of any text")

    def _is_bytes(self, arm: Any, known: Field) -> bool:
        return known.encoding == ARRAY and kind_of(arm) == "list" and arms(_element(arm)) == [int]

    def _all(self, documented: list[Any], wanted: str, known: Field, path: str) -> Iterator[Any]:
        kinds = kinds_taken(known)
        for arm in documented:
            if kind_of(arm) in kinds and typing.get_args(arm):
                yield arm
            else:
                self._lack(path, f"{spell(arm)} where the schema has {wanted}")

    def _lack(self, path: str, reason: str) -> None:
        self.findings.append(Finding(path, reason))


def members(documented: Any) -> Iterator[tuple[str, Any]]:
    """The JSON members of a pydantic model or a TypedDict, each with its type."""
    if isinstance(documented, type) and issubclass(documented, pydantic.BaseModel):
        for name, info in documented.model_fields.items():
            yield info.alias or name, info.annotation
    else:
        yield from typing_extensions.get_type_hints(documented, include_extras=True).items()


def arms(annotation: Any) -> list[Any]:
    """The alternatives of a type, without None and annotations that do not affect the JSON."""
    origin = typing.get_origin(annotation)
    if origin in (Annotated, Required, NotRequired):
        return arms(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [arm for part in typing.get_args(annotation) for arm in arms(part)]
    if isinstance(annotation, typing_extensions.TypeAliasType):
        return arms(annotation.__value__)
    return [] if annotation in (None, type(None)) else [annotation]


def kind_of(arm: Any) -> str:
    """The kind of JSON value of an arm."""
    origin = typing.get_origin(arm) or arm
    if origin is Literal:
        kinds = {kind_of(type(word)) for word in typing.get_args(arm)}
        return kinds.pop() if len(kinds) == 1 else "mixture"
    if origin in _LISTS:
        return "list"
    if origin in _MAPS or typing_extensions.is_typeddict(origin):
        return "object"
    if isinstance(origin, type) and issubclass(origin, pydantic.BaseModel):
        return "object"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", object: "anything"}
    return names.get(origin, "mystery")


def kinds_taken(known: Field) -> set[str]:
    """The kinds of JSON value that a field accepts."""
    if known.map_value is not None:
        return {"object"}
    if known.repeated:
        return {"list"}
    if known.message is not None:
        parts = known.message.fields.values() if known.message.is_union else ()
        return {kind for part in parts for kind in kinds_taken(part)} or {"object"}
    if known.enum is not None or known.encoding == BASE64:
        return {"string"}
    if known.encoding == RAW:
        return {"anything", "object"}
    if known.descriptor.type in _INTEGERS:
        return {"integer"}
    names = {
        FieldDescriptor.TYPE_STRING: "string",
        FieldDescriptor.TYPE_DOUBLE: "number",
        FieldDescriptor.TYPE_BOOL: "boolean",
    }
    return {names[known.descriptor.type]} if known.descriptor.type in names else set()


def spell(arm: Any) -> str:
    """An arm, in the notation of type hints."""
    return arm.__name__ if isinstance(arm, type) and not typing.get_args(arm) else str(arm)


def _element(arm: Any) -> Any:
    """The type of the elements of a list, or of the values of an object."""
    return typing.get_args(arm)[-1]


def _is_free(arm: Any) -> bool:
    """Whether an arm is an object without documented members."""
    return typing.get_origin(arm) in _MAPS and arms(_element(arm)) in ([object], [Any])


def _words(documented: list[Any]) -> Iterator[str]:
    for arm in documented:
        if typing.get_origin(arm) is Literal:
            yield from (word for word in typing.get_args(arm) if isinstance(word, str))


def _one(known: Field) -> Field:
    """The field of one element of a list."""
    return replace(known, repeated=False)
