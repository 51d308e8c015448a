"""Public classes and functions name their public module, not the private one that defines them.

So tracebacks, pickles, ``repr`` and ``help()`` show ``chatpb.log.LogWriter``, and a pickle can be
read after the private module has moved.
"""

from __future__ import annotations

import inspect
import sys
import typing
from types import FunctionType


def publish(package: str) -> None:
    """Sets ``__module__`` of what a package exports from modules below it.

    To be called at the end of the package's ``__init__``.

    Args:
        package: The name of the package. Its ``__all__`` lists the exports.
    """
    namespace = vars(sys.modules[package])
    for name in namespace["__all__"]:
        item = namespace[name]
        if not isinstance(item, type | FunctionType):
            continue
        if not item.__module__.startswith(package + "."):
            continue
        if isinstance(item, type):
            _evaluate_annotations(item)
        item.__module__ = package


def _evaluate_annotations(item: type) -> None:
    """Replaces the strings in the annotations of a class by what they mean.

    `typing.get_type_hints` would look up their names in the public module, which does not have all
    of them. (A function keeps the namespace that its annotations are looked up in.)
    """
    annotations = inspect.get_annotations(item)
    if annotations:
        hints = typing.get_type_hints(item, include_extras=True)
        item.__annotations__ = {name: hints[name] for name in annotations}
