"""The kinds of upstreams, which register themselves.

A kind is a subclass of `UpstreamTable` with the decorator `register`, in any module of this
package. It declares which URLs it takes, which settings it has, and how it is built.
"""

from __future__ import annotations

import json
import pkgutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from chatpb_server import upstreams
from chatpb_server.core.setting import Setting, Table
from chatpb_server.core.upstream import Upstream

#: What answers if no upstream is configured.
DEFAULT_URL: Final = "builtin"


class UpstreamSettingsError(ValueError):
    """Settings with which an upstream cannot be built, with a text for the user."""


def _known(url: str) -> str:
    if find_kind(url) is None:
        *first, last = (kind.expected for kind in kinds())
        raise ValueError(f"expected {', '.join(first)}, or {last}")
    return url


class UpstreamTable(Table):
    """One upstream: a table ``[upstreams.NAME]``.

    Attributes:
        kind: What error messages call an upstream of this kind.
        form: What its URLs look like.
        expected: The form, as a part of a sentence.
        about: What answers, in one line.
        owners: The upstreams that have the settings which the class declares.
    """

    title: ClassVar[str] = "Upstream"
    kind: ClassVar[str]
    form: ClassVar[str]
    expected: ClassVar[str]
    about: ClassVar[str]
    owners: ClassVar[str] = "all upstreams"

    url: Annotated[
        str,
        AfterValidator(_known),
        Setting(
            "What answers the requests. The flag replaces all upstreams of the configuration file.",
            flag="--upstream",
            value="UPSTREAM",
            default=DEFAULT_URL,
            secret=True,
        ),
        Field(repr=False),
    ]
    models: Annotated[
        tuple[str, ...],
        Setting(
            "The models that it answers. `*` stands for any text. Empty: it is the fallback alone."
        ),
    ] = ("*",)
    weight: Annotated[
        float,
        Field(ge=0),
        Setting(
            "Its share of the calls, relative to the other upstreams of the same model. 0: it only"
            " gets calls that the others failed to answer.",
            unit="shares",
        ),
    ] = 1

    @property
    def takes_authorization(self) -> bool:
        """Whether it gets the callers' own authorization."""
        return False

    @classmethod
    @abstractmethod
    def takes(cls, url: str) -> bool:
        """Whether a URL has the form of this kind."""

    @classmethod
    def anchored(cls, url: str, folder: Path) -> str:  # noqa: ARG003 (for kinds with a path)
        """A URL from a configuration file in a folder; a path in it is relative to the folder."""
        return url

    @classmethod
    def complete(cls, table: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Adds what the environment has for an upstream that is given by flags or variables.

        Args:
            table: The values that are given. They are not checked yet.
            environ: The environment.

        Raises:
            UpstreamSettingsError: Something is missing.
        """

    @abstractmethod
    def build(self, max_bytes: int) -> Upstream:
        """Makes the upstream. Files and variables are read, the network is not used.

        Args:
            max_bytes: The largest message, in either direction.

        Raises:
            UpstreamSettingsError: A file or a variable cannot be used.
        """

    def __str__(self) -> str:
        """Describes it in one line, without secrets."""
        return self.url


_Kind = TypeVar("_Kind", bound=type[UpstreamTable])

_registered: Final[list[type[UpstreamTable]]] = []


def register(kind: _Kind) -> _Kind:
    """Adds a kind of upstreams."""
    _registered.append(kind)
    return kind


@cache
def kinds() -> tuple[type[UpstreamTable], ...]:
    """All kinds, those with the fewest base classes first."""
    for module in pkgutil.walk_packages(upstreams.__path__, f"{upstreams.__name__}."):
        import_module(module.name)
    return tuple(sorted(_registered, key=lambda kind: (len(kind.__mro__), kind.__module__)))


def find_kind(url: str) -> type[UpstreamTable] | None:
    """The kind that takes a URL; None if there is none."""
    return next((kind for kind in kinds() if kind.takes(url)), None)


def _bases() -> Iterator[type[UpstreamTable]]:
    """All kinds and the classes that they extend, in the order in which they declare settings."""
    for kind in kinds():
        yield from (base for base in reversed(kind.__mro__) if issubclass(base, UpstreamTable))


def _read(table: object) -> object:
    """Reads a table as its kind does."""
    if not isinstance(table, dict):
        return table
    url = table.get("url")
    kind = find_kind(url) if isinstance(url, str) else None
    if kind is None:  # the mistake is in the URL
        return UpstreamTable.model_validate({"url": url} if "url" in table else {})
    for name in sorted(table.keys() - kind.model_fields.keys()):
        for base in _bases():
            if name in base.model_fields:
                raise ValueError(f"{name} is for {base.owners}, and this is {kind.kind}")
    return kind.model_validate_json(json.dumps(table, default=str))


#: The table of an upstream of any kind.
AnyUpstream = Annotated[SerializeAsAny[UpstreamTable], BeforeValidator(_read)]
