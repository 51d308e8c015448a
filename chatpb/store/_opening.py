"""Opens stores by their URLs. Imports SQLAlchemy, see `chatpb.store._open`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from chatpb._extras import raise_hint
from chatpb.store import _migrations
from chatpb.store._database import Database
from chatpb.store._errors import StoreError
from chatpb.store._sql import SqlStore
from chatpb.store._sqlite import SqliteDatabase
from chatpb.store._store import Store
from chatpb.store._values import Layout

_LONG: Final = 60.0  # seconds


class Opening:
    """The functions of `chatpb.store` of the same names."""

    @staticmethod
    async def open_store(url: str, timeout: float) -> Store:
        database = database_at(url, timeout)
        try:
            found = await database.read(_migrations.version)
            if found == 0:
                await database.write(lambda each: _migrations.migrate(each, database.name))
            else:
                _migrations.require(found, database.name)
            store = SqlStore(database, timeout)
            await store.prepare()
        except BaseException:
            await database.close()
            raise
        return store

    @staticmethod
    async def migrate(url: str) -> Layout:
        def work(connection: Connection) -> Layout:
            return _migrations.migrate(connection, database.name)

        database = database_at(url, None)
        try:
            return await database.write(work)
        finally:
            await database.close()

    @staticmethod
    async def check(url: str) -> Layout:
        database = database_at(url, None, must_exist=True)
        try:
            found = await database.read(_migrations.version)
            return Layout(database.name, found, found, _migrations.NEWEST)
        finally:
            await database.close()


def database_at(url: str, timeout: float | None, *, must_exist: bool = False) -> Database:
    """The database that a URL names.

    Args:
        url: The URL.
        timeout: The time limit of each operation. Default: none, or long.
        must_exist: Whether to refuse a file that is not there, rather than to create it.

    Raises:
        ModuleNotFoundError: The driver is not installed.
        StoreError: The URL is of another kind of database.
    """
    parsed = _parsed(url)
    if parsed.drivername == "sqlite":
        return SqliteDatabase(parsed, _LONG if timeout is None else timeout, must_exist=must_exist)
    if parsed.drivername in ("postgresql", "postgres"):
        try:
            from chatpb.store._postgres import PostgresDatabase
        except ModuleNotFoundError as missing:
            raise_hint("chatpb.store", missing)
        return PostgresDatabase(parsed, timeout)
    raise StoreError(
        parsed.render_as_string(hide_password=True),
        "a store is sqlite:///PATH or postgresql://HOST/DATABASE",
    )


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # without the text, which may hold a password
        raise StoreError(
            "store", "not a URL; a store is sqlite:///PATH or postgresql://HOST/DATABASE"
        ) from None
