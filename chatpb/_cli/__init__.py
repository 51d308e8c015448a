"""The command line, ``chatpb``.

One module answers one question: `_input` how files become messages, `_kinds` which message a JSON
object is read as, `_output` where results go, `_failure` how errors are told; of tables and logs,
`_collect` how files become records, `_stored` how records are read again, and `_predicate` which
are wanted. Each command has a module of its own, or shares it with its like.
"""

from chatpb._cli._app import app

__all__ = ["app"]
