"""The rules by which counts of instructions may grow: benchmarks/instructions/record.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- `fast:read` takes 1,500 instructions: it reads another kind of number. `fast:write` takes more.

## [1.0.0]

- `slow:read` takes 90,000 instructions.
"""


@pytest.fixture(scope="module")
def record() -> Any:
    path = ROOT / "benchmarks/instructions/record.py"
    spec = importlib.util.spec_from_file_location("instruction_record", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_changelog_says_what_may_grow_since_the_last_release(record: Any) -> None:
    assert {"fast:read": 1_500} == record.words(CHANGELOG)
    assert {"a:b": 12_345} == record.words(f"\n## [Unreleased]\n{record.word('a:b', 12_345)}")


@pytest.mark.parametrize(
    ("count", "said", "fails"),
    [
        pytest.param(1_000, {}, False, id="the same"),
        pytest.param(1_100, {}, False, id="a tenth more"),
        pytest.param(1_101, {}, True, id="more than that"),
        pytest.param(1_101, {"other": 1_101}, True, id="the changelog says so of another"),
        pytest.param(1_500, {"one": 1_500}, False, id="the changelog says so"),
        pytest.param(1_700, {"one": 1_500}, True, id="more than it says"),
    ],
)
def test_a_count_that_grows_needs_a_word(
    record: Any, count: int, said: dict[str, int], fails: bool
) -> None:
    failures = [*record.grown({"one": count}, {"one": 1_000}, said)]

    assert fails == bool(failures)
    assert all(record.word("one", count) in each for each in failures)


def test_a_count_without_a_record_fails(record: Any) -> None:
    [failure] = record.grown({"new": 1}, {}, {})
    assert "--record" in failure


def test_an_operation_on_record_that_is_not_counted_fails(record: Any) -> None:
    [failure] = record.uncounted({"kept": 1}, {"kept": 1, "gone": 1})
    assert failure.startswith("gone is on record, but was not counted")


def test_the_record_falls_by_itself_and_rises_with_a_word(record: Any) -> None:
    counts = {"faster": 900, "a little slower": 1_050, "slower": 1_300, "new": 5}
    before = {"faster": 1_000, "a little slower": 1_000, "slower": 1_000, "gone": 1}

    assert {
        "faster": 900,
        "a little slower": 1_000,
        "slower": 1_300,
        "new": 5,
    } == record.renewed(counts, before, {"slower": 1_300})
