"""A completion to a stream of chunks that makes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatpb._mapping.convert import from_tree, to_tree
from chatpb._mapping.schema import Field, MessageType
from chatpb._mapping.text import dump
from chatpb._mapping.writer import Context
from chatpb._stream.fold import (
    APPEND,
    BY_KEY,
    CHUNK,
    COMPLETION,
    DROP,
    KIND,
    fold,
    fold_rule,
    folded_name,
    marked,
    outside_schema,
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
    usage comes in a chunk of its own. Where the pieces do not tell all of a message, such as an
    index of its own in a tool call, its last chunk has the message whole as well, as some servers
    send it. A completion that even so cannot be told, such as one whose choices share an index,
    comes as a single chunk.

    The law: ``fold(unfold(c)) == c``, for every `c` in the normal form that `from_json` gives.

    Raises:
        ConversionError: The completion cannot be read (see `to_json`).
    """
    context = Context(parse_free, allow_nan=True)
    tree = to_tree(completion, context, ignore_unknown_fields)
    normal = from_tree(tree, ChatCompletion)
    extra = set(outside_schema(normal, COMPLETION))
    for whole in (False, True):
        chunks = [from_tree(part, ChatCompletionChunk) for part in _split(tree, extra, whole)]
        if fold(chunks) == normal:
            yield from chunks
            return
    yield _single(tree)


def _single(tree: _Tree) -> ChatCompletionChunk:
    """One chunk that holds the whole completion.

    Members that fold would drop or change are put where it keeps everything: outside the schema.
    """
    kept = {
        field.name
        for field in CHUNK.fields.values()
        if field.name in tree and fold_rule(field) in (DROP, KIND)
    }
    kinds = _kinds(tree)
    kept -= kinds.keys()
    members = {name: value for name, value in tree.items() if name not in kept}
    chunk = from_tree({**members, **kinds}, ChatCompletionChunk)
    if kept:
        assert CHUNK.residue is not None
        kept.update(outside_schema(chunk, CHUNK))
        extra = {name: value for name, value in tree.items() if name in kept}
        getattr(chunk, CHUNK.residue.name).extra_json = dump(extra)
    return chunk


def _kinds(tree: _Tree) -> _Tree:
    """The members that name the kind of object, with the words of a chunk."""
    return {
        field.name: field.unset
        for field in CHUNK.fields.values()
        if fold_rule(field) == KIND
        and field.name in tree
        and tree[field.name] == COMPLETION.fields[field.name].unset
    }


def _split(tree: _Tree, extra: set[str], whole: bool) -> Iterator[_Tree]:
    """The pieces of a completion; members outside the schema come once, in the last of them."""
    lists = [f for f in CHUNK.fields.values() if fold_rule(f) == BY_KEY and f.name in tree]
    once = {k: v for k, v in tree.items() if k in extra or type(v) in (dict, list)}
    every = {k: v for k, v in tree.items() if k not in once}
    every.update(_kinds(tree))
    for field in lists:
        choices = tree[field.name]
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
        The member that holds the list, each element with its text, and the other members,
        which every piece repeats; None if there is no list or it does not spell the text.
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
        if all(type(t) is str for t in tokens) and "".join(map(str, tokens)) == text:
            others = {k: v for k, v in held.items() if k != name and v is None}
            return field.name, list(zip(elements, map(str, tokens), strict=True)), others
    return None
