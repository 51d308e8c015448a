"""The hint which extra of chatpb to install when a package is missing."""

from __future__ import annotations

from typing import NoReturn


def install_command(extra: str) -> str:
    """The command that installs an extra, or several with commas between them."""
    return f"pip install 'chatpb[{extra}]'"


def package_of(error: ModuleNotFoundError) -> str:
    """The top-level package that is missing."""
    return (error.name or "").partition(".")[0]


def raise_hint(module: str, error: ModuleNotFoundError, extra: str = "") -> NoReturn:
    """Ends the import of a module that needs an extra.

    Args:
        module: The module, such as ``chatpb.log``, or what it is for.
        error: Why it cannot be imported.
        extra: The extra. Default: that of the same name as the module.

    Raises:
        ModuleNotFoundError: With the hint, unless a module of chatpb itself is missing.
    """
    package = package_of(error)
    if package in ("", "chatpb"):
        raise error
    hint = install_command(extra or module.rpartition(".")[2])
    raise ModuleNotFoundError(f"{module} needs {package}: {hint}", name=package) from error
