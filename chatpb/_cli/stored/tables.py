"""Tables, and Parquet files of them, that are added to another table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from chatpb import _endings
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.reading.streams import Made, MadeRows
from chatpb._cli.stored.files import is_uri, table_at
from chatpb._known import Known
from chatpb.table import DatasetError, Part, from_batch
from chatpb.table._delta.diagnosis import LOG

_LABELS: Final = "labels"


def is_table(name: str) -> bool:
    """Whether input is a table or a Parquet file, rather than a log or JSON."""
    path = Path(name)
    return is_uri(name) or (path / LOG).is_dir() or (path.is_file() and _is_parquet(name))


def check_other(name: str, dataset: str) -> None:
    """Refuses a table as its own input.

    Args:
        name: The input.
        dataset: The table that it is added to.

    Raises:
        CliError: They are the same, or one is a copy of the other.
    """
    if _is_parquet(name) and not is_uri(name):
        return
    output = table_at(dataset)
    if output.exists() and output.id() == table_at(name).id():
        raise CliError(f"{name}: is both input and output, or a copy of it", USAGE_ERROR)


def new_records(name: str, known: Known, *, as_rows: bool) -> Iterator[Made | MadeRows]:
    """The records of a table, or of a Parquet file, except those that are known already.

    Args:
        name: The table or file.
        known: Which input was added before. What is read now is noted there.
        as_rows: Whether rows are wanted, not records.

    Raises:
        CliError: What is new cannot be distinguished.
        DatasetError: The table is damaged.
    """
    for part in _new_parts(name, known):
        share = (part.json_bytes or 0) / max(part.metadata.num_rows, 1)
        for rows in part.batches(None, None):
            if as_rows:
                given = [MadeRows(rows, round(share * rows.num_rows))]
                del rows  # they may take most of the memory
                yield given.pop()
            else:
                yield from (Made(record, round(share)) for record in from_batch(rows))


def _new_parts(name: str, known: Known) -> list[Part]:
    if not is_uri(name) and _is_parquet(name):
        if known.meet(name, whole=True) is None:
            known.take(name, Path(name).stat().st_size)
            return [Part.of_file(Path(name))]
        return []
    table = table_at(name)
    identifier, version = table.id(), table.version()
    parts = table.at(version).files()
    before = known.table(identifier)
    known.take_table(identifier, version)
    if before is None:
        return parts
    try:
        old = {part.name for part in table.at(before).files()}
    except DatasetError as error:
        raise _unclear(name, f"its version {before} is no longer there: {error}") from None
    if not old <= {part.name for part in parts}:
        raise _unclear(name, "files of it were replaced or removed since it was added")
    return [part for part in parts if part.name not in old]


def _is_parquet(name: str) -> bool:
    return name.endswith(_endings.PARQUET)


def _unclear(name: str, reason: str) -> CliError:
    return CliError(
        f"{name}: {reason}, so that its new records cannot be distinguished; write them to"
        " `chatpb export --form records --where CONDITION`, and add what that writes"
    )


def with_labels(rows: pa.RecordBatch, labels: dict[str, str]) -> pa.RecordBatch:
    """Rows with these labels too, which replace those of the same name."""
    if not labels:
        return rows
    field, own = rows.schema.field(_LABELS), rows.column(_LABELS)
    if own.null_count == len(own):
        values = pa.repeat(pa.scalar(sorted(labels.items()), field.type), len(rows))
    else:
        maps = ({each["key"]: each["value"] for each in row or ()} for row in own.to_pylist())
        values = pa.array([sorted((each | labels).items()) for each in maps], field.type)
    return rows.set_column(rows.schema.get_field_index(_LABELS), field, values)
