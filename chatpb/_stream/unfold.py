"""A completion to a stream of chunks that makes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatpb._mapping.arguments import check_message
from chatpb._mapping.reference import from_tree, to_tree
from chatpb._mapping.schema import Field, MessageType
from chatpb._mapping.text import dump
from chatpb._mapping.writer import Context
from chatpb._stream.fold import fold
from chatpb._stream.pieces import joined
from chatpb._stream.rules import (
    APPEND,
    BY_KEY,
    CHUNK,
    COMPLETION,
    COMPLETION_TEXT,
    KIND,
    fold_rule,
    folded_name,
    marked,
    parse_free,
)
from chatpb.v1 import options_pb2
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion

_Tree = dict[str, Any]


def unfold(
    completion: ChatCompletion, *, ignore_unknown_fields: bool = False
) -> Iterator[ChatCompletionChunk]:
    """Splits a completion into the chunks of a stream, as api.openai.com would send it.

    Each choice gives a first chunk with the role, then its text (a chunk for each token if log
    probabilities tell the tokens), its tool calls, and a last chunk with the finish reason; the
    usage comes in a chunk of its own. If the pieces cannot express a message, for example a tool
    call with an index of its own, the last chunk of the choice also has the message whole, as some
    servers send it. If even that does not make the completion, for example because two choices
    share an index, a last chunk has the JSON text of the whole completion in a member that only
    `fold` reads.

    The law: ``fold(unfold(c)) == c``, for every `c` in the normal form that `from_json` gives.

    Raises:
        ConversionError: The completion cannot be read (see `to_json`).
        TypeError: It is not a completion.
    """
    check_message(completion, ChatCompletion)
    context = Context(parse_free, allow_nan=True)
    tree = to_tree(completion, context, ignore_unknown_fields)
    normal = from_tree(tree, ChatCompletion)
    expected, every = _bytes(normal), _every(tree, _outside_schema(normal))
    for whole in (False, True):
        chunks = [from_tree(part, ChatCompletionChunk) for part in _split(tree, every, whole=whole)]
        if _bytes(fold(chunks)) == expected:
            yield from chunks
            return
    for part in _split(tree, every, whole=False):
        yield from_tree(part, ChatCompletionChunk)
    no_choices: _Tree = {f.name: [] for f in CHUNK.fields.values() if fold_rule(f) == BY_KEY}
    yield from_tree({**every, **no_choices, COMPLETION_TEXT: dump(tree)}, ChatCompletionChunk)


def _bytes(completion: ChatCompletion) -> bytes:
    """The binary form, which is equal to itself even if it has a NaN."""
    return completion.SerializeToString(deterministic=True)


def _outside_schema(completion: ChatCompletion) -> frozenset[str]:
    """The members that the typed fields do not hold."""
    assert COMPLETION.residue is not None
    extra = getattr(completion, COMPLETION.residue.name).extra_json
    return frozenset(parse_free(extra) if extra else ())


def _every(tree: _Tree, outside: frozenset[str]) -> _Tree:
    """The members that every chunk has: scalars that the schema knows."""
    every: _Tree = {}
    for field in CHUNK.fields.values():
        value = tree.get(field.name, field)
        if value is field or field.name in outside or type(value) in (dict, list):
            continue
        is_kind = fold_rule(field) == KIND and value == COMPLETION.fields[field.name].unset
        every[field.name] = field.unset if is_kind else value
    return every


def _split(tree: _Tree, every: _Tree, *, whole: bool) -> Iterator[_Tree]:
    """The pieces of a completion; members that are not in every piece come in the last one."""
    every = every.copy()
    once = {name: value for name, value in tree.items() if name not in every}
    lists = [f for f in CHUNK.fields.values() if fold_rule(f) == BY_KEY and f.name in once]
    for field in lists:
        choices = once[field.name]
        if type(choices) is list and choices and all(type(choice) is dict for choice in choices):
            assert field.message is not None
            del once[field.name]
            for choice in choices:
                for part in _split_choice(choice, field.message, whole):
                    yield {**every, field.name: [part]}
            every[field.name] = []
            if not once:
                return
    yield {**every, **once}


def _split_choice(choice: _Tree, mapped: MessageType, whole: bool) -> Iterator[_Tree]:
    """The pieces of one choice, the last with the message whole as well if `whole`."""
    delta = next((f for f in mapped.fields.values() if folded_name(f) != f.name), None)
    message = choice.get(folded_name(delta)) if delta else None
    if delta is None or delta.message is None or type(message) is not dict:
        yield choice
        return
    last = {k: v for k, v in choice.items() if whole or k != folded_name(delta)}
    every = {}
    for field in mapped.fields.values():
        if field.name in last and field is not delta:
            if field.options[options_pb2.fold_key]:
                every[field.name] = last[field.name]
            elif field.unset is None:
                every[field.name] = None
    first, texts, lists = _parts(message, delta.message)
    yield {**every, delta.name: first}
    for name, text in texts.items():
        tokens = _tokens(name, text, last, mapped)
        if tokens is None:
            yield {**every, delta.name: {name: text}}
            continue
        holder, elements, piece = tokens
        for element, token in elements:
            yield {**every, delta.name: {name: token}, holder: {**piece, name: [element]}}
        last[holder] = {**last[holder], name: []}
    for name, item in lists:
        yield {**every, delta.name: {name: [item]}}
    yield {**last, delta.name: {}}


def _parts(message: _Tree, mapped: MessageType) -> tuple[_Tree, _Tree, list[tuple[str, Any]]]:
    """What comes at once, what comes as text, and what comes element by element."""
    first: _Tree = {}
    texts: _Tree = {}
    lists: list[tuple[str, Any]] = []
    for name, value in message.items():
        field = mapped.fields.get(name)
        rule = fold_rule(field) if field else None
        if rule == APPEND and type(value) is str and value:
            texts[name] = value
        elif rule == BY_KEY and type(value) is list and value:
            assert field is not None
            lists.extend((name, item) for item in _numbered(value, field))
        else:
            first[name] = value
    return first, texts, lists


def _numbered(values: list[Any], field: Field) -> Iterator[Any]:
    """Elements with the key that tells them apart."""
    assert field.message is not None
    key = marked(field.message, options_pb2.fold_key)
    for index, value in enumerate(values):
        yield {key: index, **value} if key is not None and type(value) is dict else value


def _tokens(
    name: str, text: str, choice: _Tree, mapped: MessageType
) -> tuple[str, list[tuple[_Tree, str]], _Tree] | None:
    """The tokens of a text, where the choice has a list of them under the same name.

    Returns:
        The member that holds the list, each element with its text, and the members beside the list
        that every piece repeats; None if there is no list or it does not spell the text.
    """
    for field in mapped.fields.values():
        held = choice.get(field.name)
        spelled = field.message and field.message.fields.get(name)
        if type(held) is not dict or not spelled or not spelled.message:
            continue
        utf8 = (f.unset_utf8 for f in spelled.message.fields.values() if f.unset_utf8)
        token = next(utf8, None)
        elements = held.get(name)
        if token is None or type(elements) is not list:
            continue
        tokens = [e.get(token) if type(e) is dict else None for e in elements]
        if all(type(t) is str for t in tokens) and joined(map(str, tokens)) == text:
            others = {k: v for k, v in held.items() if k != name and v is None}
            return field.name, list(zip(elements, map(str, tokens), strict=True)), others
    return None
