"""Columns of files, and fields inside them, that this version of chatpb does not know.

A newer version moves more values from the record to columns. Who leaves out such a column would
make other records of the rows than those that were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa

from chatpb.table._rows.columns import SCHEMA

_OTHERS: Final = b"chatpb.others"  # in the metadata of a file


def unknown(schema: pa.Schema) -> list[str]:
    """The paths of columns and fields that `SCHEMA` does not have, such as ``messages.mood``."""
    return list(_unknown(schema, SCHEMA, ""))


def _unknown(
    found: Iterable[pa.Field], known: pa.Schema | pa.StructType, prefix: str
) -> Iterator[str]:
    names = {field.name: field.type for field in known}
    for field in found:
        path = prefix + field.name
        if field.name not in names:
            yield path
            continue
        here, there = _element(field.type), _element(names[field.name])
        if pa.types.is_struct(here) and pa.types.is_struct(there):
            yield from _unknown(here, there, f"{path}.")


def _element(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def note_of(paths: Iterable[str]) -> dict[bytes, bytes]:
    """What the metadata of a file says of columns of other tools, which belong to no record."""
    names = sorted(paths)
    return {_OTHERS: json.dumps(names).encode()} if names else {}


def noted(metadata: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """The paths that `note_of` has noted in the metadata of a file."""
    try:
        return frozenset(map(str, json.loads((metadata or {}).get(_OTHERS, b"[]"))))
    except (ValueError, TypeError):
        return frozenset()
