"""The statements of the store. Each function is called in a transaction of its connection.

Values are parameters throughout: no text of a caller becomes SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from chatpb.store._tables import COMPLETION, DELETED, PAIR
from chatpb.store._values import Listing

INSERT: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DIGEST_BYTES: Final = 16
_COUNTED: Final = 1000  # rows of a pair; one with more is a common one
#: How long the place of a deleted completion is known, in microseconds.
_DELETED_US: Final = 24 * 3600 * 1_000_000


class Row(NamedTuple):
    """A completion as the database has it."""

    id: str
    model: str
    created: int
    metadata: str | None
    dictionary: int | None
    body: bytes


_ROW: Final = tuple(COMPLETION.c[name] for name in Row._fields)
_OWN: Final = (COMPLETION.c.caller == bindparam("of_caller"), COMPLETION.c.id == bindparam("of_id"))
_GET: Final = select(*_ROW).where(*_OWN)
_FIND: Final = select(COMPLETION.c.number, COMPLETION.c.metadata).where(*_OWN).with_for_update()
_DELETE: Final = delete(COMPLETION).where(COMPLETION.c.number == bindparam("of_number"))
_INSERTS: Final = {
    name: insert(COMPLETION)
    .on_conflict_do_nothing(index_elements=["caller", "id"])
    .returning(COMPLETION.c.number, COMPLETION.c.caller, COMPLETION.c.id)
    for name, insert in INSERT.items()
}
#: The texts of two statements for SQLite's own driver: SQLAlchemy takes longer to execute one than
#: SQLite does.
_SQLITE: Final = sqlite.dialect(paramstyle="named")
_SQLITE_INSERT: Final = str(
    _INSERTS["sqlite"].compile(
        dialect=_SQLITE,
        column_keys=[column.name for column in COMPLETION.c if not column.primary_key],
    )
)
_SQLITE_INSERT_PAIR: Final = str(PAIR.insert().compile(dialect=_SQLITE))
_PLACE: Final = union_all(
    select(COMPLETION.c.number, literal(0).label("rank")).where(*_OWN),
    select(DELETED.c.number, literal(1).label("rank")).where(
        DELETED.c.caller == bindparam("of_caller"), DELETED.c.id == bindparam("of_id")
    ),
).order_by("rank")


def put(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Stores completions; one that is there already is replaced, and keeps its number.

    Args:
        connection: The connection.
        rows: The rows, as the values of the columns. No two have the same caller and id.
    """
    waiting = {(row["caller"], row["id"]): row for row in rows}
    while waiting:
        some = [waiting[key] for key in sorted(waiting)]  # in one order: there are no deadlocks
        pairs = []
        for number, caller, identifier in _insert(connection, some):
            row = waiting.pop((caller, identifier))
            pairs += _pairs(caller, number, row["metadata"])
        if pairs:
            _insert_pairs(connection, pairs)
        for key in sorted(waiting):
            if _replace(connection, *key, waiting[key]):
                del waiting[key]


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> Sequence[Any]:
    """Inserts those of rows that are not there. Returns the number, caller and id of each."""
    name = connection.dialect.name
    if name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        return [found for row in rows for found in driver.execute(_SQLITE_INSERT, row).fetchall()]
    # One row alone is a simpler statement.
    return connection.execute(_INSERTS[name], rows if len(rows) > 1 else rows[0]).all()


def _insert_pairs(connection: Connection, pairs: Sequence[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        driver.executemany(_SQLITE_INSERT_PAIR, pairs)
    else:
        connection.execute(PAIR.insert(), pairs)


def _replace(connection: Connection, caller: str, identifier: str, row: Mapping[str, Any]) -> bool:
    """Changes columns of a completion; whether there is one."""
    own = {"of_caller": caller, "of_id": identifier}
    found = connection.execute(_FIND, own).one_or_none()
    if found is None:
        return False
    number, old = found
    change = update(COMPLETION).where(COMPLETION.c.number == number)
    connection.execute(change.values(**row))
    if old != row["metadata"]:
        _delete_pairs(connection, _pairs(caller, number, old))
        if pairs := _pairs(caller, number, row["metadata"]):
            _insert_pairs(connection, pairs)
    return True


def get(connection: Connection, caller: str, identifier: str) -> Row | None:
    """A completion."""
    found = connection.execute(_GET, {"of_caller": caller, "of_id": identifier}).one_or_none()
    return None if found is None else Row(*found)


def place(connection: Connection, caller: str, identifier: str) -> int | None:
    """The number of a completion, even if it was deleted less than a day ago."""
    found = connection.execute(_PLACE, {"of_caller": caller, "of_id": identifier}).first()
    return None if found is None else int(found[0])


def page(
    connection: Connection, caller: str, listing: Listing, after: int | None, last: int | None
) -> Sequence[Row]:
    """A page of completions, and one more if there is one.

    Args:
        connection: The connection.
        caller: Whose completions.
        listing: Which of them.
        after: The number after which it begins.
        last: The last number. Default: there is none.
    """
    query = select(*_ROW).where(COMPLETION.c.caller == caller)
    number = COMPLETION.c.number
    for index, digest in enumerate(_rarest_first(connection, caller, listing.metadata)):
        pair = PAIR.alias(f"pair_{index}")
        query = query.join(pair, pair.c.number == COMPLETION.c.number).where(
            pair.c.caller == caller, pair.c.digest == digest
        )
        if index == 0:
            number = pair.c.number  # whose index is in this order
    if listing.model is not None:
        query = query.where(COMPLETION.c.model == listing.model)
    if after is not None:
        query = query.where(number < after if listing.is_descending else number > after)
    if last is not None:
        query = query.where(number <= last)
    order = number.desc() if listing.is_descending else number
    found = connection.execute(query.order_by(order).limit(listing.limit + 1))
    return [Row(*row) for row in found]


def _rarest_first(
    connection: Connection, caller: str, metadata: Mapping[str, str]
) -> Sequence[bytes]:
    """The digests of pairs: the one by which rows are found, and those that they must have too."""
    digests = _digests(metadata)
    if len(digests) < 2:
        return digests
    counts = {}
    for digest in digests:
        some = select(PAIR.c.number).where(PAIR.c.caller == caller, PAIR.c.digest == digest)
        count = select(func.count()).select_from(some.limit(_COUNTED).subquery())
        counts[digest] = int(connection.scalars(count).one())
    return sorted(digests, key=lambda digest: counts[digest])


def set_metadata(
    connection: Connection, caller: str, identifier: str, metadata: str | None
) -> Row | None:
    """Replaces the metadata of a completion, and returns it."""
    if not _replace(connection, caller, identifier, {"metadata": metadata}):
        return None
    return get(connection, caller, identifier)


def remove(connection: Connection, caller: str, identifier: str, now_us: int) -> bool:
    """Deletes a completion; whether there was one."""
    found = connection.execute(_FIND, {"of_caller": caller, "of_id": identifier}).one_or_none()
    if found is None:
        return False
    _remove(connection, [(found.number, caller, identifier, found.metadata)], now_us)
    return True


def remove_old(connection: Connection, before_us: int, most: int, now_us: int) -> int:
    """Deletes the oldest completions of all callers that were stored before a time."""
    old = (
        select(*COMPLETION.c["number", "caller", "id", "metadata"])
        .where(COMPLETION.c.stored_at < before_us)
        .order_by(COMPLETION.c.stored_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(old).all()
    _remove(connection, [tuple(row) for row in found], now_us)
    return len(found)


def _remove(connection: Connection, rows: Sequence[tuple[Any, ...]], now_us: int) -> None:
    """Deletes rows by number, caller, id and metadata, and notes where they were."""
    connection.execute(delete(DELETED).where(DELETED.c.deleted_at < now_us - _DELETED_US))
    if not rows:
        return
    insert = INSERT[connection.dialect.name](DELETED)
    names = ("number", "deleted_at")
    note = insert.on_conflict_do_update(
        index_elements=["caller", "id"], set_={name: insert.excluded[name] for name in names}
    )
    connection.execute(_DELETE, [{"of_number": row[0]} for row in rows])
    for number, caller, _, metadata in rows:
        _delete_pairs(connection, _pairs(caller, number, metadata))
    connection.execute(
        note,
        [
            {"caller": caller, "id": identifier, "number": number, "deleted_at": now_us}
            for number, caller, identifier, _ in rows
        ],
    )


def _delete_pairs(connection: Connection, pairs: Sequence[Mapping[str, Any]]) -> None:
    if pairs:
        keys = [(pair["caller"], pair["digest"], pair["number"]) for pair in pairs]
        connection.execute(
            delete(PAIR).where(tuple_(PAIR.c.caller, PAIR.c.digest, PAIR.c.number).in_(keys))
        )


def _pairs(caller: str, number: int, metadata: str | None) -> list[dict[str, Any]]:
    """The rows of the pairs of metadata."""
    if metadata is None:
        return []
    return [
        {"caller": caller, "digest": digest, "number": number}
        for digest in _digests(orjson.loads(metadata))
    ]


def _digests(metadata: Mapping[str, str]) -> list[bytes]:
    """The digests of pairs: the length of the key keeps it apart from the value."""
    digests = []
    for key, value in metadata.items():
        name = key.encode()
        data = len(name).to_bytes(8, "big") + name + value.encode()
        digests.append(hashlib.sha256(data).digest()[:_DIGEST_BYTES])
    return digests
