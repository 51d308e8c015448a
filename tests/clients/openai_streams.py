"""Streams for tests of OpenAI's SDK whose own ones are not in its source package.

A test contains, as a snapshot, the completion that its stream becomes. The stream is made from it.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

#: What the model was cut off at, in the test that has no snapshot.
CUT_OFF: Final = {"index": 0, "finish_reason": "length", "message": {"content": '{"'}}
_TEXT: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


def stream_of(test: Callable[..., Any]) -> bytes:
    """The event stream for a test."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(test)))
    snapshots = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "snapshot" and node.args
    ]
    texts = [str(node.value) for node in snapshots if isinstance(node, ast.Constant)]
    found = [_read(text) for text in texts if "ParsedChoice(" in text]
    completion = found[-1] if found else [CUT_OFF]
    if isinstance(completion, list):
        completion = {"choices": completion}
    kinds = [ast.literal_eval(node) for node in snapshots if isinstance(node, ast.List)]
    deltas = kinds[0].count("content.delta") if kinds else 0
    pieces = deltas // len(completion["choices"]) - 1 if deltas else 2
    about = {
        "id": completion.get("id", "chatcmpl-1"),
        "object": "chat.completion.chunk",
        "created": completion.get("created", 1),
        "model": completion.get("model", "gpt-4o-2024-08-06"),
        "system_fingerprint": completion.get("system_fingerprint", "fp_1"),
    }
    steps = [list(_steps(choice, pieces)) for choice in completion["choices"]]
    chunks = [{**about, "choices": [step]} for choice in steps for step in choice[:-1]]
    chunks += [{**about, "choices": [choice[-1]]} for choice in steps]
    chunks.append({**about, "choices": [], "usage": completion.get("usage")})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n"]).encode()


def _read(text: str) -> Any:
    """The value that was printed; long texts were wrapped."""
    whole = _TEXT.sub(lambda match: match[0].replace("\n", ""), text)
    return _value(ast.parse(whole, mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return {word.arg: _value(word.value) for word in node.keywords}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)


def _indented(text: str) -> str:
    """JSON in lines with their white space, some of which was lost where they were wrapped."""
    lines, depth = [], 1
    for line in text.split("\n"):
        words = line.strip()
        depth -= words.startswith(("}", "]"))
        lines.append("  " * depth + words if words else "")
        depth += words.endswith(("{", "["))
    return "\n".join(lines)


def _steps(choice: dict[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    """The choice in steps; the last one has the reason for its end."""

    def step(delta: dict[str, Any], logprobs: Any = None, reason: str | None = None) -> Any:
        about = {"index": choice["index"], "logprobs": logprobs, "finish_reason": reason}
        return {**about, "delta": delta}

    message, logprobs = choice["message"], choice.get("logprobs") or {}
    content = message.get("content")
    if content and content.startswith("\n"):
        content = message["content"] = _indented(content)
    yield step({"role": "assistant", "content": None if content is None else ""})
    for kind in ("content", "refusal"):
        tokens, text = logprobs.get(kind), message.get(kind) or ""
        if tokens:
            for token in tokens:
                both = {"content": None, "refusal": None, kind: [token]}
                yield step({kind: token["token"]}, both)
        elif text:
            size = len(text) // pieces
            starts = [place * size for place in range(pieces)]
            for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
                yield step({kind: text[start:end]})
    for call in message.get("tool_calls") or ():
        function = {"name": call["function"]["name"], "arguments": ""}
        begin = {"index": call["index"], "id": call["id"], "type": "function"}
        yield step({"tool_calls": [{**begin, "function": function}]})
        rest = {"arguments": call["function"]["arguments"]}
        yield step({"tool_calls": [{"index": call["index"], "function": rest}]})
    yield step({}, reason=choice["finish_reason"])
