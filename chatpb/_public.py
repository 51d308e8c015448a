"""Public classes and functions name their public module, not the private one that defines them.

So tracebacks, pickles, ``repr`` and ``help()`` show ``chatpb.log.LogWriter``, and a pickle can be
read after the private module has moved.

A package may import what it exports when it is first used (PEP 562), so that a program loads only
what it needs.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `import chatpb` does without the module `typing`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def publish(package: str, *names: str) -> None:
    """Sets ``__module__`` of what a package exports from modules below it.

    To be called at the end of the package's ``__init__``.

    Args:
        package: The name of the package.
        names: The exports; without any, all that its ``__all__`` lists.
    """
    namespace = vars(sys.modules[package])
    for name in names or namespace["__all__"]:
        item = namespace[name]
        if not isinstance(item, type | type(publish)):
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
    annotations = item.__annotations__  # of this class, not of its bases
    if annotations:
        import typing

        hints = typing.get_type_hints(item, include_extras=True)
        item.__annotations__ = {name: hints[name] for name in annotations}


def imported_later(
    package: str, modules: Mapping[str, str], *, published: bool = True
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the ``__getattr__`` and the ``__dir__`` of a package.

    They import a module below the package when one of its names is first used. Threads may use
    names at the same time. Type checkers cannot see this, so the package also imports the names
    under ``if TYPE_CHECKING``.

    Args:
        package: The name of the package.
        modules: The names that each module exports, with spaces between them.
        published: Whether the exports get the package as their ``__module__``.
    """
    places = {
        name: module for module, names in modules.items() for name in (module, *names.split())
    }
    namespace = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        module = import_module(f"{package}.{places[name]}")
        if name in modules:
            return module
        exports = modules[places[name]].split()
        for each in exports:
            namespace[each] = getattr(module, each)  # found without this function from now on
        if published:
            publish(package, *exports)
        return namespace[name]

    def names() -> list[str]:
        return sorted({*namespace, *namespace["__all__"]})

    return get, names
