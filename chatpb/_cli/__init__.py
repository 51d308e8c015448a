"""The command line, ``chatpb``.

One module answers one question: `_input` how files become records, `_kinds` which message a JSON
object is read as, `_output` where results go, `_failure` how errors are told, `_collect` how files become records of a
table, `_stored` how records are read again, `_predicate` which are wanted. Each command has a
module of its own.
"""

from chatpb._cli._app import app

__all__ = ["app"]
