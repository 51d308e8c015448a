"""Arguments of wrong types: one line, which is a `ChatpbError` and a `TypeError`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb.log import LogReader, LogWriter, header, read, recover
from support.log_files import NAME, contents, record


@pytest.mark.parametrize(
    "use", [LogWriter, LogReader, header, recover, lambda path: list(read(path))]
)
@pytest.mark.parametrize(("path", "got"), [(5, "an int"), (None, "None"), (b"log", "a bytes")])
def test_a_path(use: Callable[[Any], object], path: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"^expected a path, got {got}$") as caught:
        use(path)
    assert isinstance(caught.value, chatpb.ChatpbError)


def test_a_record(tmp_path: Path) -> None:
    given: Any
    with LogWriter(tmp_path / NAME) as writer:
        for given, got in ((5, "an int"), ("secret", "a str"), ({}, "a dict")):
            expected = f"^expected a CompletionRecord or its binary form, got {got}$"
            with pytest.raises(TypeError, match=expected) as caught:
                writer.append(given)
            assert isinstance(caught.value, chatpb.ChatpbError)
        writer.append(record(0))
    assert [record(0)] == contents(tmp_path / NAME)
