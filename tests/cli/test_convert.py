"""The commands `to-binary` and `to-json`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.message import Message

import chatpb
from chatpb._wire import delimited
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from support.command_line import run

JSON = b'{"id":"a","object":"chat.completion","created":7,"model":"m","choices":[],"x":1.50}'
CHUNKS = [b'{"id":"%d","choices":[{"index":0,"delta":{"content":"h"}}]}' % i for i in range(3)]
SSE = b"".join(b"data: " + chunk + b"\r\n\r\n" for chunk in CHUNKS) + b"data: [DONE]\r\n\r\n"


def _binary(text: bytes, kind: type[Message] = ChatCompletionChunk) -> bytes:
    return chatpb.json_to_binary(text, kind)


def test_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n\n" + JSON)
    assert run("to-binary", tmp_path / "a.json", "-o", tmp_path / "a.binpb").exit_code == 0
    assert _binary(JSON, ChatCompletion) == (tmp_path / "a.binpb").read_bytes()
    result = run("to-json", tmp_path / "a.binpb")
    assert (0, json.loads(JSON)) == (result.exit_code, json.loads(result.stdout))
    assert result.stdout[-10:] == '"x":1.50}\n'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.sse", SSE, id="sse"),
        pytest.param("a.jsonl", b"\n".join(CHUNKS), id="jsonl"),
        pytest.param("a.json", b"\n".join(CHUNKS) + b"\n", id="jsonl-by-content"),
        pytest.param("a.jsonl", b"\xef\xbb\xbf" + b"\r\n\r\n".join(CHUNKS), id="jsonl-crlf-bom"),
    ],
)
def test_many_messages(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    binary = b"".join(delimited(_binary(chunk)) for chunk in CHUNKS)
    assert binary == run("to-binary", tmp_path / name).stdout_bytes
    assert binary == run("to-binary", stdin=data).stdout_bytes
    back = run("to-json", "-d", "--type", "chunk", stdin=binary)
    assert list(map(json.loads, CHUNKS)) == list(map(json.loads, back.stdout.splitlines()))
    direct = run("to-json", tmp_path / name)
    assert (back.stdout, 0) == (direct.stdout, direct.exit_code)


def test_several_files(tmp_path: Path) -> None:
    """Make a stream, whatever each holds."""
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(JSON)
    expected = delimited(_binary(JSON, ChatCompletion)) * 2
    assert expected == run("to-binary", tmp_path / "a.json", tmp_path / "b.json").stdout_bytes
    result = run("to-binary", "--bare", tmp_path / "a.json", tmp_path / "b.json")
    assert (
        result.exit_code,
        result.stderr,
    ) == (2, "chatpb: error: several messages need --delimited\n")


def test_type_is_that_of_the_first_unless_told() -> None:
    request = b'{"model":"m","messages":[]}'
    mixed = CHUNKS[0] + b"\n" + request + b"\n" + request
    result = run("to-binary", stdin=mixed)
    assert result.exit_code == 0
    note = "<stdin>:2: looks like a request, kept whole as a chunk"
    assert f"chatpb: note: {note}\n" == result.stderr
    binary = [delimited(_binary(text)) for text in (CHUNKS[0], request, request)]
    assert b"".join(binary) == result.stdout_bytes
    told = run("to-binary", "--type", "ChatCompletionRequest", "--bare", stdin=CHUNKS[0])
    assert (_binary(CHUNKS[0], ChatCompletionRequest), "") == (told.stdout_bytes, told.stderr)


def test_binary_to_delimited_and_back() -> None:
    binary = _binary(JSON, ChatCompletion)
    stream = run("to-binary", "--delimited", stdin=binary).stdout_bytes
    assert delimited(binary) == stream
    assert binary == run("to-binary", "--format", "delimited", "--bare", stdin=stream).stdout_bytes


def test_nan_needs_an_option() -> None:
    refused = run("to-json", stdin=b'{"a":-Infinity}')
    reason = "<stdin>: $.a (byte 5): -Infinity is not JSON; pass --allow-nan to keep it"
    assert (1, f"chatpb: error: {reason}\n") == (refused.exit_code, refused.stderr)
    assert '{"a":-Infinity}' in run("to-json", "--allow-nan", stdin=b'{"a":-Infinity}').stdout


def test_unknown_fields_need_an_option() -> None:
    binary = b"\x0a\x01a\xf8\x3f\x01"  # field 1023
    refused = run("to-json", stdin=binary)
    assert refused.exit_code == 1
    assert "field 1023" in refused.stderr
    assert "--ignore-unknown-fields" in refused.stderr
    assert '"a"' in run("to-json", "--ignore-unknown-fields", stdin=binary).stdout


@pytest.mark.parametrize(
    ("args", "stdin", "code", "error"),
    [
        pytest.param(
            ["to-json", "none.json"], b"", 2, "none.json: no such file or directory", id="missing"
        ),
        pytest.param(["to-json", "."], b"", 2, ".: is a directory", id="directory"),
        pytest.param(
            ["to-json"],
            b'{"a":{"b":}}',
            1,
            "<stdin>: $.a.b (byte 10): expected a value, got '}}'",
            id="syntax",
        ),
        pytest.param(
            ["to-binary", "--type", "chunks"],
            b"",
            2,
            "no type of message 'chunks' mirrors a JSON object; did you mean chunk?",
            id="type",
        ),
        pytest.param(
            ["to-binary", "--max-size", "-1"],
            b"",
            2,
            "Invalid value for '--max-size': -1 is not a number of MiB up to 2047"
            " (see chatpb to-binary --help)",
            id="max-size",
        ),
        pytest.param(
            ["to-json"],
            delimited(b"\x0a\x01a"),
            1,
            "<stdin>: $: not the binary form of a chatpb.v1.ChatCompletion; if it is a stream of"
            " length-delimited messages, pass --format delimited",
            id="delimited-as-bare",
        ),
        pytest.param(["to-jsn"], b"", 2, None, id="command"),
    ],
)
def test_mistakes_are_told_in_one_line(
    args: list[str], stdin: bytes, code: int, error: str | None
) -> None:
    result = run(*args, stdin=stdin)
    assert (code, "") == (result.exit_code, result.stdout)
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("chatpb: error: ")
    if error is not None:
        assert f"chatpb: error: {error}\n" == result.stderr


def test_input_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(JSON)
    result = run("to-json", path, "-o", path)
    assert (2, f"chatpb: error: {path}: is both input and output\n") == (
        result.exit_code,
        result.stderr,
    )
    assert path.read_bytes() == JSON


def test_cut_stream_keeps_what_stands_before(tmp_path: Path) -> None:
    whole = b"".join(delimited(_binary(chunk)) for chunk in CHUNKS)
    path = tmp_path / "cut"
    path.write_bytes(whole[:-4])
    result = run("to-json", "-d", "--type", "chunk", path)
    assert result.exit_code == 1
    assert list(map(json.loads, CHUNKS[:2])) == list(map(json.loads, result.stdout.splitlines()))
    size = len(_binary(CHUNKS[2]))
    place = f"{path}: $ (byte {2 * (size + 1)})"
    reason = f"the stream ends within a message: {size - 4} of {size} bytes"
    assert f"chatpb: error: {place}: {reason}\n" == result.stderr


def test_bad_line_keeps_what_stands_before() -> None:
    result = run("to-json", stdin=CHUNKS[0] + b"\n" + CHUNKS[1] + b"\n[3]\n" + CHUNKS[2])
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 2)
    assert (
        result.stderr == "chatpb: error: <stdin>:3: $ (byte 0): expected an object, got an array\n"
    )


@pytest.mark.parametrize("command", ["to-json", "to-binary", "inspect", "roundtrip"])
def test_format_may_be_told(command: str) -> None:
    """Here of what looks like one JSON value over two lines."""
    result = run(command, "--format", "jsonl", "-", stdin=b"{\n}")
    assert result.exit_code == 1
    assert "<stdin>:1: $ (byte 1)" in result.output


def test_formats_exclude_each_other() -> None:
    result = run("to-json", "-d", "--format", "sse")
    reason = "--delimited and --format sse exclude each other (see chatpb to-json --help)"
    assert (result.exit_code, result.stderr) == (2, f"chatpb: error: {reason}\n")


def test_output_is_left_alone_if_there_is_no_input(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    assert run("to-json", tmp_path / "none", "-o", path).exit_code == 2
    assert path.read_bytes() == b"x"
