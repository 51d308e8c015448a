"""The commands, one file for each.

A module ``to_json`` here is the command ``chatpb to-json``. It defines it as ``command``, and is
imported only when that command is used. What needs pyarrow or grpc is imported in the function, so
that the other commands and ``--help`` do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Each command, with the beginning of its help text: the list of commands imports none of them.
SUMMARIES: Final[Mapping[str, str]] = {
    "call": "Send a request to a relay and print the answer.",
    "cat": "Print what is in tables and logs, as lines of JSON.",
    "compact": "Add logs and recorded JSON to a table.",
    "delete": "Delete the records of a table that match a condition.",
    "export": "Write tables and logs in a form that other programs read.",
    "fold": "Put the chunks of a stream together.",
    "grep": "Print the records for which a condition is true, as `cat` prints them.",
    "history": "List the versions of a table, the newest first.",
    "inspect": "Show a message, its residue and its tokens.",
    "ls": "List the files of tables and logs.",
    "optimize": "Put the records of a table's small files into large ones.",
    "rekey": "Encrypt logs that are encrypted with the last key of the file of keys.",
    "restore": "Make a table what it was at an earlier version.",
    "roundtrip": "Check that JSON comes back equal from Protobuf.",
    "serve": "Start a relay: chatpb-server, with the same flags.",
    "sql": "Query a table with SQL, as DuckDB understands it.",
    "stat": "Show which columns of a table take how many bytes.",
    "to-binary": "Write messages in Protobuf's binary form.",
    "to-json": "Write messages as OpenAI's JSON, one on each line.",
    "vacuum": "Remove the files that only old versions of a table need.",
    "verify": "Check whether all files of a table are there and whole.",
}
