"""Random records that fill the columns of a table, built from the plan of its columns."""

from __future__ import annotations

import math
import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb.table._rows.columns import ROOT
from chatpb.table._rows.tree import Node
from chatpb.v1 import CompletionRecord, Residue

_TEXTS: Final = ("", "a", "Hello", "é\u0000🙂", '{"a":1}', "x" * 40)
_NUMBERS: Final = (0.0, -0.0, -0.1, -1.5, -0.10000000149011612, math.inf, math.nan, 5e-324, 1 / 3)
_INTEGERS: Final = (0, 1, -1, 7, 2**31 - 1, -(2**31))


def random_record(rng: random.Random) -> CompletionRecord:
    """A record with any of its columns, at any depth."""
    record = CompletionRecord()
    _fill(rng, ROOT, record, rng.choice((0.1, 0.5, 0.9)))
    if rng.random() < 0.5:
        del record.chunks[:]
    return record


def _add_tokens(rng: random.Random, message: Any) -> None:
    """Adds tokens to a list of them; ids and alternatives repeat."""
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        token = message.add()
        _fill_token(rng, token)
        for _ in range(rng.choice((0, 0, 1, 3))):
            alternative = token.top_logprobs.add()
            _fill_token(rng, alternative)
            if rng.random() < 0.3:
                alternative.token, alternative.logprob = token.token, token.logprob
                if token.HasField("id"):
                    alternative.id = token.id


def _fill_token(rng: random.Random, token: Any) -> None:
    token.token, token.logprob = rng.choice("ab"), rng.choice(_NUMBERS)
    if rng.random() < 0.6:
        token.id = ord(token.token) + (rng.random() < 0.1)
    if rng.random() < 0.2:
        token.bytes = rng.choice((b"", b"a", b"\xff"))
    if rng.random() < 0.1:
        token.residue.extra_json = '{"x":1}'


def _fill(rng: random.Random, node: Node, message: Any, share: float) -> None:
    fields = node.descriptor.fields_by_name
    for leaf in node.leaves:
        if rng.random() < share:
            _set(rng, message, fields[leaf.name])
    for tokens in node.tokens:
        if rng.random() < share:
            _add_tokens(rng, getattr(message, tokens.name))
    for branch in node.branches:
        if rng.random() < share:
            below = getattr(message, branch.name)
            below.SetInParent()
            _fill(rng, branch.node, below, share)
    for elements in node.lists:
        for _ in range(rng.choice((0, 1, 1, 2, 3)) if rng.random() < share else 0):
            _fill(rng, elements.node, getattr(message, elements.name).add(), share)
    residue = fields.get("residue")
    if residue is not None and rng.random() < 0.1:
        message.residue.CopyFrom(Residue(extra_json='{"more":[1.50]}'))


def _set(rng: random.Random, message: Message, field: FieldDescriptor) -> None:
    if field.message_type is not None:
        getattr(message, field.name).update({rng.choice(_TEXTS): rng.choice(_TEXTS)})
    elif field.is_repeated:
        getattr(message, field.name).extend(_value(rng, field) for _ in range(rng.choice((1, 3))))
    else:
        setattr(message, field.name, _value(rng, field))


def _value(rng: random.Random, field: FieldDescriptor) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return rng.choice(_TEXTS)
        case FieldDescriptor.TYPE_DOUBLE:
            return rng.choice(_NUMBERS)
        case FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            return rng.choice((*field.enum_type.values_by_number, 99))
        case FieldDescriptor.TYPE_INT64:
            return rng.choice((*_INTEGERS, 2**63 - 1, -(2**63)))
    return rng.choice(_INTEGERS)
