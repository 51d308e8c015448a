"""Calls functions in a process of their own, if this one is a forked child.

Delta's client has threads, which a fork does not copy: it refuses to work in a forked child of a
process that has used it.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from chatpb._forks import Owner

_P = ParamSpec("_P")
_R = TypeVar("_R")
_used: list[Owner] = []  # the process that has used the client, as its parents may have
_RUN: Final = f"import sys; sys.path[:] = {{!r}}; from {__name__} import _serve; _serve()"


def in_own_process(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorates a function whose arguments, result and errors can be pickled."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not _used:
            _used.append(Owner())
        if _used[0].is_here:
            return function(*args, **kwargs)
        return _called(function.__module__, function.__name__, args, kwargs)  # type: ignore[no-any-return]

    return call


def is_usable() -> bool:
    """Whether this process may use Delta's client itself, as object stores need."""
    return not _used or _used[0].is_here


def _called(module: str, name: str, args: Any, kwargs: Any) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(sys.path)],
        input=pickle.dumps((module, name, args, kwargs)),
        stdout=subprocess.PIPE,
        check=True,
    )
    failure, result = pickle.loads(done.stdout)
    if failure is not None:
        raise failure
    return result


def _serve() -> None:
    module, name, args, kwargs = pickle.load(sys.stdin.buffer)
    out, sys.stdout = sys.stdout, sys.stderr
    outcome: tuple[Exception | None, Any] = None, None
    try:
        outcome = None, getattr(importlib.import_module(module), name)(*args, **kwargs)
    except Exception as error:  # raised where the call was made
        outcome = error, None
    out.buffer.write(pickle.dumps(outcome))
