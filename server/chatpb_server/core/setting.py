"""How a setting is declared: once, as an annotated field of a table of the configuration.

The command line, the environment variables, the TOML file, ``--help``, ``--check-config`` and
docs/settings.md are all made from these declarations. A part of the server may declare its own
table, next to the code that uses it; `chatpb_server.running.settings` puts the tables together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

#: What the environment variable of a flag begins with.
PREFIX: Final = "CHATPB_SERVER_"

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
#: gRPC counts the bytes of a message in 31 bits.
Bytes = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: The largest message, unless the settings have another limit.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """What users read about a setting. Key, type, bounds and default are those of its field.

    Attributes:
        help: What it means, in whole sentences.
        flag: The flag that sets it. Each flag has an environment variable too. Empty: the setting
            is for the configuration file only.
        unit: What a number counts, such as ``seconds``.
        value: The placeholder for the value in ``--help``. Empty: the unit, or the type.
        default: What users read in place of a default that is not a value, but a rule.
        group: The heading of its flag in ``--help``. Empty: the title of its table.
        secret: Whether the value can contain a secret, so that it is never printed.
    """

    help: str
    flag: str = ""
    unit: str = ""
    value: str = ""
    default: str = ""
    group: str = ""
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it; empty if there is none."""
        return PREFIX + self.flag.removeprefix("--").replace("-", "_").upper() if self.flag else ""


class Table(BaseModel):
    """A table of the configuration, whose fields are settings or tables.

    Attributes:
        title: The heading of its settings in ``--help`` and in docs/settings.md.
        guide: How to choose them, in Markdown, for docs/settings.md.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
    title: ClassVar[str] = ""
    guide: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A setting and its field.

    Attributes:
        key: Its place in the configuration, such as ``("limits", "timeout")``.
        field: Its field.
        setting: What users read.
        table: The class that declares it.
    """

    key: tuple[str, ...]
    field: FieldInfo
    setting: Setting
    table: type[Table]

    @property
    def name(self) -> str:
        """The key, as it is written in TOML."""
        return ".".join(self.key)


def declarations(table: type[Table], key: tuple[str, ...] = ()) -> Iterator[Declaration]:
    """All settings of a table and of the tables in it, in the order of their declaration.

    Args:
        table: The table.
        key: Its place in the configuration.
    """
    for name, field in table.model_fields.items():
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, Table):
            yield from declarations(inner, (*key, name))
        for note in field.metadata:
            if isinstance(note, Setting):
                yield Declaration((*key, name), field, note, owner(table, name))


def owner(table: type[Table], name: str) -> type[Table]:
    """The class that declares a field, which is the table or a base of it."""
    for base in reversed(table.__mro__):
        if issubclass(base, Table) and name in base.model_fields:
            return base
    raise KeyError(name)
