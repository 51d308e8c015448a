"""The comparison of languages finds differences, and makes them small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from polyglot.fuzz import compare, reference, results, smaller
from polyglot.fuzz_inputs import Input, inputs
from support.golden_files import vectors
from support.stream_vectors import messages_of, stream_vectors

#: A runner that has an answer for nothing, except for chunks with an "x".
_RUNNER = """
import sys
for line in open(sys.argv[2]):
    print("ok" if line.startswith("fold") and b"x".hex() in line.split("\\t")[-1] else "none")
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str | Path]:
    path = tmp_path / "runner.py"
    path.write_text(_RUNNER)
    return [sys.executable, path]


def test_a_seed_gives_the_same_inputs() -> None:
    lines = [each.line for each in inputs(1000, 5)]
    assert lines == [each.line for each in inputs(1000, 5)]
    assert lines != [each.line for each in inputs(1000, 6)]
    names = {"read", "write", "fold", "unfold", "compact", "restore", "sse"}
    assert names == {line.partition("\t")[0] for line in lines}


def test_the_reference_gives_what_vectors_have() -> None:
    for vector in vectors()[::10]:
        name = vector.message_type.DESCRIPTOR.full_name
        assert f"ok\t{vector.binary.hex()}" == reference(Input("read", (name, vector.json)))
        assert f"ok\t{vector.binary.hex()}" == reference(Input("write", (name, vector.binary)))
    for stream in stream_vectors("compact")[::5]:
        responses = messages_of(stream.file(".binpbs").read_bytes())
        chunks = messages_of(stream.file(".chunks.binpbs").read_bytes())
        result = "ok" if stream.entry["reason"] is None else "refused"
        expected = "\t".join((result, *(chunk.hex() for chunk in chunks)))
        assert expected == reference(Input("restore", tuple(responses)))


def test_a_difference_is_made_small(command: list[str | Path]) -> None:
    given = Input("fold", (b'{"id":"a"}', b'{"choices":[],"id":"xyz"}'))
    assert ["ok"] == results(command, [given])
    assert Input("fold", (b"x",)) == smaller(command, given)


def test_differences_are_reported(command: list[str | Path]) -> None:
    reports = compare({"none": command}, 300, 1)
    assert reports[0].startswith("none: fold ")
    assert reports[-1].endswith(" differences")


def test_a_runner_that_fails_is_an_error() -> None:
    with pytest.raises(AssertionError, match="exit code 1, 0 results at fold"):
        results([sys.executable, "-c", "raise SystemExit(1)"], [Input("fold", ())])
