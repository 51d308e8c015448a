"""The settings of stored completions, and the words for what happened to one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from chatpb_server.core.setting import Setting, Table

Outcome = Literal["stored", "failed", "timeout", "paused", "too_large", "no_room", "unfit"]

#: What happened to a completion that was to be stored, in metrics.
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "stored",
    "failed",
    "timeout",
    "paused",
    "too_large",
    "no_room",
    "unfit",
)
_FOREVER: Final = "forever"
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _url(text: str) -> str:
    kind, is_url, place = text.partition("://")
    if not is_url or kind not in ("sqlite", "postgresql", "postgres"):
        raise ValueError("expected sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    path = place.removeprefix("/").partition("?")[0]
    if kind == "sqlite" and (not place.startswith("/") or path in ("", ":memory:")):
        raise ValueError("expected the path of a file after sqlite:///")
    return text


def anchored(url: str, folder: Path) -> str:
    """A URL of a store whose path, if it is that of a file and relative, is below a folder."""
    kind, _, place = url.partition("///")
    path, mark, options = place.partition("?")
    if kind != "sqlite:" or path in ("", ":memory:"):
        return url
    return f"{kind}///{folder / path}{mark}{options}"


def _age(text: str) -> str:
    if text != _FOREVER and _AGE.fullmatch(text) is None:
        raise ValueError(f"expected a number and one of s, m, h, d, such as 30d; or {_FOREVER}")
    return text


class StoreRules(Table):
    """Which completions are stored, and what bounds that."""

    title: ClassVar[str] = "Stored completions"

    all: Annotated[
        bool,
        Setting(
            "Store all completions, and not only those whose request has `store: true`. A request"
            " with `store: false`, or whose caller wishes not to be recorded, is left out.",
            flag="--store-all",
        ),
    ] = False
    timeout: Annotated[
        float,
        Field(gt=0, le=60),
        Setting(
            "How long the end of an answer can wait until its completion is stored. After that,"
            " the answer says that it is not.",
            flag="--store-timeout",
            unit="seconds",
        ),
    ] = 2
    max_bytes: Annotated[
        int,
        Field(ge=1, le=128 * 1024 * 1024),
        Setting(
            "The largest completion that is stored, together with its request, in binary form.",
            flag="--store-max-bytes",
            unit="bytes",
        ),
    ] = 16 * 1024 * 1024


class _StorePlace(Table):
    title: ClassVar[str] = StoreRules.title

    url: Annotated[
        Annotated[str, AfterValidator(_url)] | None,
        Setting(
            "The database of stored completions: sqlite:///PATH, with a fourth slash if the path"
            " is absolute, or postgresql://USER@HOST/DATABASE. A new one is set up. A"
            " password can be in PGPASSWORD or ~/.pgpass instead. Needs the extra store.",
            flag="--store",
            value="URL",
            secret=True,
        ),
        Field(repr=False),
    ] = None
    keep: Annotated[
        Annotated[str, AfterValidator(_age)],
        Setting(
            "How long completions are stored: a number and one of s, m, h, d, such as 30d; or"
            f" {_FOREVER}.",
            flag="--store-keep",
            value="AGE",
        ),
    ] = "30d"


class StoreTable(StoreRules, _StorePlace):
    """Whether and how completions are stored."""

    @property
    def kept_for(self) -> timedelta | None:
        """How long completions are stored; None for ever."""
        found = _AGE.fullmatch(self.keep)
        return None if found is None else timedelta(**{_UNITS[found[2]]: int(found[1])})

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.url is None and self.model_fields_set - {"url"}:
            raise ValueError("nothing is stored without a database: url (--store)")
        return self
