"""Conversions, tables and logs on Spark, for what is too much for one machine.

Needs the extra ``chatpb[spark]``, on the executors too, and Java; nothing else of chatpb imports
this package. ``python -m chatpb.spark`` compacts logs or JSON lines to a table; see ``--help`` and
docs/spark.md.

A *record* here is a `chatpb.v1.CompletionRecord` in binary form, in a column that is called
``data`` unless said otherwise.
"""

from chatpb._extras import raise_hint
from chatpb._public import publish

try:
    from chatpb.spark._compact import compact
    from chatpb.spark._convert import (
        descriptor_set,
        from_json,
        from_protobuf,
        to_json,
        to_protobuf,
    )
    from chatpb.spark._source import read_json_lines, read_logs
    from chatpb.spark._table import from_table, read_table, table_schema, to_table, write_table
except ModuleNotFoundError as missing:
    raise_hint("chatpb.spark", missing)

__all__ = [
    "compact",
    "descriptor_set",
    "from_json",
    "from_protobuf",
    "from_table",
    "read_json_lines",
    "read_logs",
    "read_table",
    "table_schema",
    "to_json",
    "to_protobuf",
    "to_table",
    "write_table",
]

publish("chatpb.spark")
