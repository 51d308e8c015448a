"""Files that are read again when they have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from chatpb_server.access.reload import Reloading, read_all_again
from support.files import link, replace

LOGGER = "chatpb_server.access.reload"


class NumberError(ValueError):
    """What `number` raises."""


def number(path: Path) -> Callable[[], int]:
    """Reads a number from a file."""

    def read() -> int:
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            raise NumberError(f"{path} has no number") from None

    return read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the number 1."""
    path = tmp_path / "number"
    path.write_text("1")
    return path


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("0")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda _: None, 1, id="no change"),
        pytest.param(append, 10, id="in place"),
        pytest.param(lambda path: replace(path, "2"), 2, id="by a rename"),
    ],
)
def test_changes(path: Path, change: Callable[[Path], None], expected: int) -> None:
    value = Reloading([path], number(path))
    assert 1 == value.get()
    change(path)
    assert expected == value.get()


def test_a_symbolic_link_on_the_way(tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a secret."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(name)
    link(tmp_path / "..data", "1")
    path = tmp_path / "number"
    path.symlink_to("..data/number")
    value = Reloading([path], number(path))
    assert 1 == value.get()
    link(tmp_path / "..data", "2")
    assert 2 == value.get()


def test_unchanged_files_are_read_once(path: Path) -> None:
    value = Reloading([path], lambda: path.read_bytes())
    assert value.get() is value.get()


def test_each_broken_state_is_one_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    value = Reloading([path], number(path))
    broken = ("WARNING", f"{path} has no number; what was read before stays in use")
    replace(path, "two")
    assert [1, 1, 1] == [value.get() for _ in range(3)]
    path.unlink()
    assert [1, 1, 1] == [value.get() for _ in range(3)]
    replace(path, "2")
    assert [2, 2, 2] == [value.get() for _ in range(3)]
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [broken, broken, ("INFO", f"read {path} again")] == said


def test_files_that_change_while_they_are_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read is not used, and not complained about; the next look reads it again."""
    caplog.set_level(logging.WARNING, "chatpb_server")  # whatever level an earlier test left
    changes = ["12"]

    def read() -> int:
        text = path.read_text()
        if changes:
            replace(path, changes.pop())
        return int(text)

    value = Reloading([path], read)
    assert 12 == value.get()
    for before, after in (("three", "4"), ("5", "6")):
        kept = value.get()
        replace(path, before)
        changes.append(after)
        assert [kept, int(after)] == [value.get(), value.get()]
    assert [] == caplog.records


def test_broken_files_at_the_start_are_an_error(path: Path) -> None:
    path.write_text("one")
    with pytest.raises(NumberError) as caught:
        Reloading([path], number(path))
    assert f"{path} has no number" == str(caught.value)


def test_unchanged_files_are_read_again_when_asked(path: Path) -> None:
    value = Reloading([path], lambda: path.read_bytes())
    before = value.get()
    read_all_again()
    assert before == value.get()
    assert before is not value.get()
