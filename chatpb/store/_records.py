"""The statements on the records of all callers, and on what they are compressed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from chatpb.store._rows import INSERT
from chatpb.store._tables import COMPLETION, DICTIONARY, LAYOUT


class NumberedBody(NamedTuple):
    """The body of a completion, and its number."""

    number: int
    dictionary: int | None
    body: bytes


_BODY: Final = tuple(COMPLETION.c[name] for name in NumberedBody._fields)


def dictionaries(connection: Connection, numbers: Sequence[int]) -> Sequence[tuple[int, bytes]]:
    """Dictionaries, with their numbers."""
    query = select(DICTIONARY.c.number, DICTIONARY.c.content)
    found = connection.execute(query.where(DICTIONARY.c.number.in_(numbers)))
    return [(int(number), bytes(content)) for number, content in found]


def newest_dictionary(connection: Connection) -> int | None:
    """The number of the newest dictionary."""
    number = connection.scalars(select(func.max(DICTIONARY.c.number))).one()
    return None if number is None else int(number)


def add_dictionary(connection: Connection, number: int, content: bytes) -> None:
    """Adds a dictionary, unless another process has added one with this number."""
    insert = INSERT[connection.dialect.name](DICTIONARY)
    connection.execute(
        insert.values(number=number, content=content).on_conflict_do_nothing(
            index_elements=["number"]
        )
    )


def last_number(connection: Connection) -> int:
    """The highest number of a completion."""
    return int(connection.scalars(select(func.max(COMPLETION.c.number))).one() or 0)


def newest(connection: Connection, most: int, most_bytes: int) -> Sequence[NumberedBody]:
    """The newest bodies that are not long."""
    query = select(*_BODY).where(func.length(COMPLETION.c.body) <= most_bytes)
    found = connection.execute(query.order_by(COMPLETION.c.number.desc()).limit(most))
    return [NumberedBody(*row) for row in found]


def bodies(connection: Connection, after: int, last: int, most: int) -> Sequence[NumberedBody]:
    """The bodies of all callers after a number, up to a last one."""
    between = COMPLETION.c.number.between(after + 1, last)
    found = connection.execute(
        select(*_BODY).where(between).order_by(COMPLETION.c.number).limit(most)
    )
    return [NumberedBody(*row) for row in found]


def database_id(connection: Connection) -> str:
    """The identifier of the database."""
    return str(connection.scalars(select(LAYOUT.c.id)).one())
