"""The lines of OpenAI's batch files: requests and responses, joined by the name of the request.

A batch has a file of requests and, when it is over, a file of responses and one of errors, whose
lines are in any order. The names of requests are unique in a batch only. So a response belongs to
the request of its name in a file of the same directory or, if there is none, in another file that
is read at the same time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from typing import Final

from chatpb._cli.failure import CliError
from chatpb._cli.reading.streams import Made
from chatpb.v1 import CompletionRecord

_SCHEMA: Final = """
create table line (
    number integer primary key, name text, file text, folder text, place text, is_request integer,
    is_known integer, is_taken integer default 0, json_bytes integer, data blob);
create index by_name on line (name) where is_request;
"""
_ADD: Final = """
insert into line (name, file, folder, place, is_request, is_known, json_bytes, data)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""
_RESPONSES: Final = """
select name, folder, place, json_bytes, data from line where not is_request order by number
"""
_REQUESTS: Final = """
select number, file, folder, json_bytes, data from line where is_request and name = ?
order by number
"""
_REST: Final = """
select json_bytes, data from line where is_request and not is_known and not is_taken
order by number
"""
_UNANSWERED: Final = """
select 1 from line as response where not is_request and not exists (
    select 1 from line where is_request and name = response.name)
limit 1
"""


class Batches:
    """Lines of batches, which wait in a temporary file until all input has been read."""

    def __init__(self) -> None:
        self._is_empty = True

    def add(
        self, name: str, made: Made, file: str, place: str, *, is_request: bool, is_known: bool
    ) -> None:
        """Adds a line.

        Args:
            name: The name of the request.
            made: The record of the line alone.
            file: The name of the file.
            place: The file and the line, for error messages.
            is_request: Whether it is a request, rather than a response.
            is_known: Whether the request is in the table already, and is needed for responses only.
        """
        self._is_empty = False
        folder = os.path.dirname(os.path.abspath(file))
        row = (name, file, folder, place, is_request, is_known, made.json_bytes, made.data)
        self._lines.execute(_ADD, row)

    def lacks_requests(self) -> bool:
        """Whether there is a response without its request."""
        return not self._is_empty and self._lines.execute(_UNANSWERED).fetchone() is not None

    def records(self, failed: Callable[[CliError], None]) -> Iterator[Made]:
        """The records: responses, with their requests if these are there; then all other requests.

        Args:
            failed: Called if it is not clear to which request a response belongs, which is then
                a record without a request.
        """
        if self._is_empty:
            return
        with closing(self._lines):
            for name, folder, place, json_bytes, data in self._lines.execute(_RESPONSES):
                try:
                    request = self._request(name, folder, place)
                except CliError as failure:
                    failed(failure)
                    request = None
                if request is not None:
                    json_bytes += request.json_bytes or 0
                    data = _joined(request.data, data)
                yield Made(data, json_bytes)
            for json_bytes, data in self._lines.execute(_REST):
                yield Made(data, json_bytes)

    @cached_property
    def _lines(self) -> sqlite3.Connection:
        # Of this name, a database is in memory until it is large, then in a file without a name.
        connection = sqlite3.connect("", isolation_level=None)
        connection.executescript(f"pragma journal_mode = off; pragma synchronous = off; {_SCHEMA}")
        return connection

    def _request(self, name: str, folder: str, place: str) -> Made | None:
        found = self._lines.execute(_REQUESTS, (name,)).fetchall()
        near = [each for each in found if each[2] == folder] or found
        if not near:
            return None
        _, file, _, json_bytes, data = near[0]
        for _, other, _, _, different in near[1:]:
            if different != data:
                raise CliError(
                    f"{place}: {name!r} is the name of a request in {file} and of another one in"
                    f" {other}; put the files of each batch into a directory of its own"
                )
        marks = ",".join(str(each[0]) for each in near)
        self._lines.execute(f"update line set is_taken = 1 where number in ({marks})")
        return Made(data, json_bytes)


def _joined(request: bytes, response: bytes) -> bytes:
    record = CompletionRecord.FromString(request)
    record.MergeFromString(response)
    return record.SerializeToString(deterministic=True)
