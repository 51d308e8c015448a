"""What errors become for others: OpenAI's ``param``, and one line of text."""

from __future__ import annotations

import errno

import pytest

from chatpb._errors import os_error_text, param_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("$", None, id="the document"),
        pytest.param("$.model", "model", id="a member"),
        pytest.param("$.messages[0].content", "messages[0].content", id="below a member"),
        pytest.param("$['a b'].c", "['a b'].c", id="a quoted member"),
    ],
)
def test_from_a_path_to_param(path: str, expected: str | None) -> None:
    assert expected == param_of(path)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            FileNotFoundError(errno.ENOENT, "No such file", "a"), "no such file", id="file"
        ),
        pytest.param(OSError("Two\n  lines"), "two lines", id="without a number"),
        pytest.param(TimeoutError(), "timeouterror", id="without a text"),
    ],
)
def test_the_reason_of_an_error_of_the_system(error: OSError, expected: str) -> None:
    assert expected == os_error_text(error)
