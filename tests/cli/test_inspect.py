"""The command `inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chatpb
from chatpb._wire import delimited
from chatpb.log import LogWriter
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletionRequest
from support.build import PING
from support.command_line import run
from support.table_files import compacted, completion, lines


def _token(text: str, logprob: float, *top: tuple[str, float]) -> dict[str, object]:
    def entry(text: str, logprob: float) -> dict[str, object]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return entry(text, logprob) | {"top_logprobs": [entry(*other) for other in top]}


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1752327963,
    "model": "gpt-4.1",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi\x1b[2J \x9b1m",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": {
                "content": [
                    _token("Hi", -0.5, ("Hi", -0.5), ("Hey", -1.0), ("Yo", -2.0)),
                    _token("\n", -9999.0),
                    {"token": "\ufffd", "logprob": 0, "bytes": [240, 159], "top_logprobs": []},
                ],
                "refusal": None,
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1200, "completion_tokens": 3, "total_tokens": 1203},
    "system_fingerprint": None,
    "colour": "red",
}


def _inspect(*args: object, value: object = COMPLETION) -> str:
    result = run("inspect", *args, stdin=json.dumps(value))
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_header() -> None:
    size = len(chatpb.to_json(chatpb.from_dict(COMPLETION)))
    small = chatpb.from_dict(COMPLETION).ByteSize()
    assert [
        "kind    chatpb.v1.ChatCompletion",
        "from    <stdin>",
        "id      chatcmpl-1",
        "model   gpt-4.1",
        "created 2025-07-12 13:46:03 UTC (1752327963)",
        "usage   1,200 prompt_tokens, 3 completion_tokens, 1,203 total_tokens",
        f"size    {size:,} bytes of JSON, {small:,} in Protobuf ({small / size:.1%})",
    ] == _inspect().splitlines()[:7]


def test_members_and_residue() -> None:
    shown = _inspect()
    assert '\n  "model": "gpt-4.1",\n' in shown
    assert '"content": [… 3 tokens],' in shown
    assert '\nresidue (1)\n  extra   $.colour "red"\n' in shown


def test_text_does_not_steer_the_terminal() -> None:
    assert '"content": "Hi\\u001b[2J \\u009b1m"' in _inspect()


def test_token_table() -> None:
    shown = _inspect("--top", 1)
    table = [
        line.split() for line in shown[shown.index("$.choices[0].logprobs.content") :].split("\n")
    ]
    rows = [row for row in table if row and row[0].isdigit()]
    assert rows == [
        ["0", '"Hi"', "-0.5000", "60.65%", '"Hey"', "36.79%"],
        ["1", '"\\n"', "-9999.0000", "0.00%"],
        ["2", '"\ufffd"', "b'\\xf0\\x9f'", "0.0000", "100.00%"],
    ]


def test_token_table_is_bounded() -> None:
    shown = _inspect("--tokens", 1, "--top", 0)
    assert "2 more tokens; see --tokens" in shown
    assert "alternatives" not in shown
    assert '"\\n"' not in shown.partition("logprobs.content")[2]


def test_long_values_are_cut_short() -> None:
    message = {"role": "user", "content": "x" * 1500}
    shown = _inspect(value={"messages": [message] + [{"role": "user"}] * 60})
    assert 'x… 500 more characters"' in shown
    assert "    … 11 more\n" in shown


def test_binary(tmp_path: Path) -> None:
    request = ChatCompletionRequest(model="gpt-5")
    (tmp_path / "a").write_bytes(delimited(request.SerializeToString()) * 12)
    result = run("inspect", "--type", "request", "-d", tmp_path / "a")
    assert result.exit_code == 0
    assert result.stdout.count("kind    chatpb.v1.ChatCompletionRequest\n") == 10
    assert f"from    {tmp_path / 'a'}:byte 0\nmodel   gpt-5\n" in result.stdout
    assert result.stdout.endswith("\n2 more messages; see --messages\n")


@pytest.mark.parametrize("created", [-(2**62), 2**62, 0])
def test_strange_dates(created: int) -> None:
    assert ("created" in _inspect(value={"object": "chat.completion", "created": created})) is True


def test_wrong_type_is_told() -> None:
    result = run("inspect", stdin=b"\x05\x0a\x03abc")
    reason = "not the binary form of a chatpb.v1.ChatCompletion"
    hint = "pass --type or --delimited if it is something else"
    assert (1, f"chatpb: error: <stdin>: {reason}; {hint}\n") == (result.exit_code, result.stderr)


def test_a_table_and_a_log(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"request": PING, "response": completion(1)}))
    compacted(tmp_path / "a.jsonl", tmp_path / "table")
    (record,) = Dataset(tmp_path / "table").records()
    with LogWriter(tmp_path / "a.chatpb.zst") as writer:
        writer.append(record)
    for path in (tmp_path / "table", tmp_path / "a.chatpb.zst"):
        shown = run("inspect", "--messages", "1", path).stdout
        assert ": record 1, request\n" in shown
        assert shown.endswith("\n1 more messages; see --messages\n")
        assert "Answer 1" in run("inspect", path).stdout
    result = run("inspect", tmp_path)
    assert "Answer 1" in result.stdout
    (tmp_path / "empty").mkdir()
    assert 2 == run("inspect", tmp_path / "empty").exit_code
