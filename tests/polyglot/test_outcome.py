"""The limits that conformance runners may print are pinned by name and reason."""

from __future__ import annotations

import pytest

from polyglot.outcome import KINDS, Outcome, read_lines, table, wrong_limits
from polyglot.run import LANGUAGES, Language, expected

REASON = "prost drops fields that the schema does not know"
LISTED = {"serialize": {"unknown_bytes": REASON}}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(f"serialize\tunknown_bytes\tlimit: {REASON}", [], id="listed"),
        pytest.param(
            f"parse\tfirst\tlimit: any\nserialize\tunknown_bytes\tlimit: {REASON}",
            ["parse\tfirst\ta limit that is not listed: any"],
            id="not listed",
        ),
        pytest.param(
            "serialize\tunknown_bytes\tok",
            [f"serialize\tunknown_bytes\tlisted, but no longer a limit: {REASON}"],
            id="no longer printed",
        ),
        pytest.param(
            "serialize\tunknown_bytes\tlimit: any",
            [
                "serialize\tunknown_bytes\ta limit for another reason:"
                f" 'any', but {REASON!r} is listed"
            ],
            id="another reason",
        ),
    ],
)
def test_limits(output: str, expected: list[str]) -> None:
    assert expected == wrong_limits(read_lines(output, {}).limits, LISTED)


def test_a_kind_that_does_not_exist() -> None:
    assert ["sing\tlisted, but not a kind"] == wrong_limits({}, {"sing": {"a": REASON}})


def test_every_case_has_one_result() -> None:
    outcome = read_lines("parse\ta\tok\nparse\ta\tok\nparse\tb\tFAIL: x", {"parse": {"a", "c"}})
    expected = [
        "not a result, or a second one of the same case: parse\ta\tok",
        "parse\tb\tFAIL: x",
        "parse\tno result for c",
    ]
    assert Outcome(passed=outcome.passed, failures=expected) == outcome
    assert {"parse": 1} == outcome.passed


def test_the_cases_of_each_kind() -> None:
    kinds = ("textformat", "json_view", "json", "fold", "unfold", "compact", "sse")
    cases = expected(Language("All", (), (), kinds))
    assert set(KINDS) - {"corpus"} == cases.keys()
    assert all(cases.values())
    assert cases["textformat"] < cases["json"]
    assert {"invalid/empty", "completion_plain"} < cases["json"]
    assert [{"fold_plain"}, {"unfold_plain"}, {"compact_plain"}, {"sse_plain"}] == [
        {name for name in cases[kind] if name.endswith("_plain")}
        for kind in ("fold", "unfold", "compact", "sse")
    ]
    assert all(set(language.kinds) <= set(kinds) for language in LANGUAGES.values())


def test_a_kind_that_a_language_does_not_have() -> None:
    outcome = read_lines("fold\ta\tok\nsse\tb\tlimit: no", {})
    header, _, row, *_ = table({"X": outcome}).splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert ("1", "-", "0 + 1 [1]") == (cells["fold"], cells["compact"], cells["sse"])
