"""The plan that the native implementation of shredding is compiled from."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chatpb._mapping.native import transcoder
from chatpb.table._rows.columns import (
    COLUMNS,
    FOLDED,
    ROOT,
    SOURCES,
    TOKENS,
)
from chatpb.table._rows.token_type import TokenFields
from chatpb.table._rows.tree import Column, ListColumn, Node


@functools.cache
def shredder() -> Any:
    """The native implementation of shredding; None if it is not in use."""
    if transcoder is None:
        return None
    from _chatpb import Shredder

    plan = native_plan()
    return Shredder(
        plan.builders, plan.nodes, plan.token, plan.alternative, plan.repeats, plan.folded
    )


#: A builder of an array: its kind, the builder of the list around it (-1: the record), and the
#: numbers of the words of an enum, by their places in its dictionary.
_Builder = tuple[str, int, list[int]]
#: A node: leaves, branches, lists, lists of tokens, and the number of the owner's field or 0.
_Node = tuple[
    list[tuple[int, int, bool, int]],
    list[tuple[int, int]],
    list[tuple[int, int, int]],
    list[tuple[int, int]],
    int,
]


@dataclass(frozen=True)
class NativePlan:
    """What the native implementation is compiled from: numbers only.

    Attributes:
        builders: One for each column of `COLUMNS` and for each inside them, depth first. The kind
            is one of `Kind`, or "list" for a list of structs, whose fields are the builders that
            name it as theirs.
        nodes: One for each message type at a place; the first is the record. Each has

            - leaves: the field's number, its builder, whether it has its zero while it is unset,
              and the number of the word that its column has while it is unset (0: null). A value
              that is this word is in the column and stays in the message;
            - branches, of messages: the field's number, the node of the message;
            - lists, of repeated messages: the field's number, the builder of the list, the node of
              an element;
            - lists of tokens: the field's number, the place of its name in `SOURCES`;
            - the number of the int32 field that each token inside the message gets a copy of, also
              in nested messages, or 0.
        token: The numbers of the fields of a token: text, log probability, bytes, id, alternatives.
        alternative: The same of an alternative; the last is 0.
        repeats: Whether an alternative may repeat the token.
        folded: The number of the record's field for the completion that the chunks make.
    """

    builders: list[_Builder]
    nodes: list[_Node]
    token: tuple[int, int, int, int, int]
    alternative: tuple[int, int, int, int, int]
    repeats: bool
    folded: int


def native_plan() -> NativePlan:
    """The plan of the native implementation."""
    places: dict[int, int] = {}
    builders: list[_Builder] = []
    _build(COLUMNS, -1, places, builders)
    nodes: list[Any] = []
    _compile(ROOT, places, nodes)
    assert TOKENS.inner is not None
    token, alternative = _numbers(TOKENS), _numbers(TOKENS.inner)
    return NativePlan(builders, nodes, token, alternative, TOKENS.repeats, FOLDED.number)


def _build(
    columns: Iterable[Column | ListColumn],
    around: int,
    places: dict[int, int],
    builders: list[_Builder],
) -> None:
    """Appends the builders of columns; `places` gets the place of each column by its identity."""
    for column in columns:
        place = places[id(column)] = len(builders)
        if isinstance(column, ListColumn):
            builders.append(("list", around, []))
            _build(column.columns, place, places, builders)
        else:
            words = list(column.words.words) if column.words is not None else []
            builders.append((str(column.kind), around, words))


def _compile(node: Node, places: dict[int, int], nodes: list[Any]) -> int:
    """Appends a message type, and those in it; gives its place."""
    place = len(nodes)
    nodes.append(None)
    nodes[place] = (
        [(f.number, places[id(f.column)], f.implicit is not None, f.unset) for f in node.leaves],
        [(f.number, _compile(f.node, places, nodes)) for f in node.branches],
        [(f.number, places[id(f.column)], _compile(f.node, places, nodes)) for f in node.lists],
        [(f.number, SOURCES.index(f.name)) for f in node.tokens],
        node.owner.number if node.owner is not None else 0,
    )
    return place


def _numbers(fields: TokenFields) -> tuple[int, int, int, int, int]:
    inner = fields.list.number if fields.list is not None else 0
    token, logprob = fields.token.number, fields.logprob.number
    return token, logprob, fields.data.number, fields.id.number, inner
