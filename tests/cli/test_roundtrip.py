"""The command `roundtrip`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatpb
from chatpb._cli.difference import differences
from chatpb._mapping.text import parse
from support.command_line import run


@pytest.mark.parametrize(
    ("expected", "got", "told"),
    [
        pytest.param("1", "1.0", [], id="integer-and-fraction"),
        pytest.param("1e2", "100", [], id="exponent"),
        pytest.param("0.1", "0.10000000000000001", [], id="same-double"),
        pytest.param("0.1", "0.2", ["$: expected 0.1, got 0.2"], id="fraction"),
        pytest.param("-0", "0", [], id="minus-zero"),
        pytest.param("9007199254740993", "9007199254740992.0", 1, id="beyond-double"),
        pytest.param("18446744073709551616", "18446744073709551617", 1, id="big-integers"),
        pytest.param("1e400", "1e401", 1, id="beyond-double-range"),
        pytest.param("1e400", "1" + "0" * 400, [], id="big-exponent"),
        pytest.param("1e99999999999999999999", "2e99999999999999999999", 1, id="absurd-exponent"),
        pytest.param("9" * 5000, "9" * 5000, [], id="very-long-integer"),
        pytest.param("9" * 5000, "9" * 4999 + "8", 1, id="very-long-integers"),
        pytest.param("NaN", "NaN", [], id="nan"),
        pytest.param("NaN", "Infinity", ["$: expected NaN, got Infinity"], id="infinity"),
        pytest.param("true", "1", ["$: expected true, got 1"], id="boolean-and-number"),
        pytest.param("0", "false", ["$: expected 0, got false"], id="number-and-boolean"),
        pytest.param('"1"', "1", ['$: expected "1", got 1'], id="string-and-number"),
        pytest.param('"1.5"', "1.5", ['$: expected "1.5", got 1.5'], id="string-and-fraction"),
        pytest.param("null", "{}", ["$: expected null, got {}"], id="null-and-object"),
        pytest.param("[]", "{}", ["$: expected [], got {}"], id="array-and-object"),
        pytest.param('{"a":1,"b":2}', '{"b":2,"a":1}', [], id="order-of-members"),
        pytest.param("[1,2]", "[2,1]", 2, id="order-of-items"),
        pytest.param(
            '{"a":null}', "{}", ["$.a: expected null, got no member"], id="null-and-absent"
        ),
        pytest.param(
            '{"a":[{"b c":[1]}]}',
            '{"a":[{"b c":[1,null]}]}',
            ["$.a[0]['b c'][1]: expected no member, got null"],
            id="path",
        ),
        pytest.param(
            '"' + "x" * 100 + '"',
            '""',
            ['$: expected "' + "x" * 78 + '… (102 characters), got ""'],
            id="long",
        ),
    ],
)
def test_differences(expected: str, got: str, told: list[str] | int) -> None:
    left, right = parse(expected, allow_nan=True), parse(got, allow_nan=True)
    found = [str(difference) for difference in differences(left, right)]
    assert told == (len(found) if isinstance(told, int) else found)
    back = list(differences(right, left))
    assert len(found) == len(back)


def test_table(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.request.json").write_text('{ "model": "m", "messages": [] }')
    (tmp_path / "sub" / "b.jsonl").write_text('{"choices":[{"delta":{}}]}\n{"error":"x"}\n')
    (tmp_path / "c.sse").write_text('data: {"choices":[], "big":18446744073709551617}\n\n')
    (tmp_path / "README.md").write_text("not read")
    result = run("roundtrip", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["kind", "objects", "equal", "JSON", "bytes", "protobuf", "bytes", "ratio"]
    assert [row[:4] for row in rows[1:4]] == [
        ["chunk", "2", "2", "67"],
        ["error", "1", "1", "13"],
        ["request", "1", "1", "27"],
    ]
    assert rows[4][:4] == ["total", "4", "4", "107"]
    assert [len(rows)] == [5]


def test_residue(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"object":"chat.completion","id":"","created":0,"model":"","system_fingerprint":null,'
        '"choices":[{"index":0,"logprobs":null,"finish_reason":null,"x":1},'
        '{"index":1,"logprobs":null,"finish_reason":null,"x":2}]}\n'
    )
    result = run("roundtrip", "--residue", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2].split() == ["count", "state", "path"]
    assert result.stdout.splitlines()[-1].split() == ["2", "extra", "$.choices[].x"]
    assert result.stdout.splitlines()[1].split()[:3] == ["completion", "1", "1"]
    line = result.stdout.splitlines()[1].split()
    assert ["1", "1"] == line[1:3]
    assert ["0", "1"] == line[-3:-1]
    message = chatpb.from_json((tmp_path / "a.jsonl").read_bytes())
    sizes = [choice.residue.ByteSize() + 2 for choice in message.choices]
    assert f"{sum(sizes) / message.ByteSize():.1%}" == line[-1]


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines, cut, last = tmp_path / "a.jsonl", tmp_path / "b.json", tmp_path / "c.json"
    lines.write_text('{"choices":[]}\nx\n[1]\n{"choices":[]}\n')
    cut.write_text('{"choices":')
    last.write_text('{"choices":[]}')
    result = run("roundtrip", tmp_path)
    assert result.exit_code == 1
    told = result.stdout.splitlines()
    assert [
        f"{lines}:2: $ (byte 0): expected a value, got 'x'",
        f"{lines}:3: $ (byte 0): expected an object, got an array",
        f"{cut}: $.choices (byte 11): expected a value, got the end of the text",
    ] == told[:3]
    assert told[4].split()[:3] == ["chunk", "2", "2"]
    assert told[-1] == "3 could not be read"


def test_difference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that errs, for want of a real difference."""
    monkeypatch.setattr(chatpb, "binary_to_json", lambda *_, **__: b'{"choices":null}')
    path = tmp_path / "a.jsonl"
    path.write_text('{"choices":[],"id":1}\n')
    result = run("roundtrip", path)
    assert result.exit_code == 1
    assert [
        f"{path}:1 $.choices: expected [], got null",
        f"{path}:1 $.id: expected 1, got no member",
    ] == result.stdout.splitlines()[:2]
    assert result.stdout.splitlines()[3].split()[:3] == ["chunk", "1", "0"]


def test_difference_of_long_texts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts differ at their ends; the sizes that are counted are theirs."""
    long = "ä" * 1_100_000
    monkeypatch.setattr(chatpb, "binary_to_json", lambda *_, **__: f'{{"id":"{long}c"}}'.encode())
    path = tmp_path / "a.json"
    path.write_text(f'{{ "id": "{long}b"}}')
    result = run("roundtrip", path)
    assert result.exit_code == 1
    told, _, row, *_ = result.stdout.splitlines()
    shown = r'"ä{8}… \(1100001 characters, [0-9a-f]{32}\)"'
    assert re.fullmatch(rf"{re.escape(str(path))} \$\.id: expected {shown}, got {shown}", told)
    assert 2_200_010 == int(row.split()[3].replace(",", ""))


def test_missing_file_is_a_mistake_of_usage() -> None:
    result = run("roundtrip", "none")
    assert (
        result.exit_code,
        result.stderr,
    ) == (2, "chatpb: error: none: no such file or directory\n")


def test_corpus_comes_back_equal(corpus: Path) -> None:
    result = run("roundtrip", corpus)
    rows = list(_rows(result.stdout))
    assert (result.exit_code, [row for row in rows if row[1] != row[2]]) == (0, [])
    assert int(rows[-1][1].replace(",", "")) > 0


def _rows(table: str) -> Iterator[list[str]]:
    for line in table.splitlines()[1:]:
        yield line.split()
