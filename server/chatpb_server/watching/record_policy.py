"""How much of each exchange is recorded, by its caller and its model."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from chatpb_server.core.call import Call
from chatpb_server.core.keeping import RECORD_HEADER, Keep, least
from chatpb_server.core.setting import Setting, Table

Kept = Literal["all", "redacted", "metadata", "none"]
#: What was kept of an exchange, in metrics.
KEPT: Final[tuple[Kept, ...]] = ("all", "redacted", "metadata", "none")


class RecordRule(Table):
    """How much is recorded of the calls of some callers, for some models."""

    caller: Annotated[str, Field(min_length=1)] = "*"
    model: Annotated[str, Field(min_length=1)] = "*"
    keep: Keep

    def takes_caller(self, caller: str) -> bool:
        """Whether the rule is about a caller."""
        return fnmatchcase(caller, self.caller)

    def takes_model(self, model: str) -> bool:
        """Whether the rule is about a model."""
        return fnmatchcase(model, self.model)


class RecordPolicy(Table):
    """How much is recorded."""

    title: ClassVar[str] = "Recording"

    keep: Annotated[
        Keep,
        Setting(
            "What is recorded of an exchange: all; metadata (sizes, tokens, times, status, caller"
            " and model, but no texts); or none. Callers can ask for less with the header"
            f" {RECORD_HEADER}.",
            flag="--record-keep",
        ),
    ] = "all"
    rules: Annotated[
        tuple[RecordRule, ...],
        Setting(
            "Exceptions from `keep`: tables with patterns for `caller` and `model`, which can be"
            ' left out, and a `keep` of their own. The first that matches counts. "*" stands for'
            " any text."
        ),
    ] = ()

    def keep_of(self, call: Call) -> Keep:
        """How much of a call is recorded.

        As long as its model is not known, a rule for some models that keeps less counts too.
        """
        keep = self.keep
        maybe: list[Keep] = []
        for rule in self.rules:
            if rule.takes_caller(call.caller):
                if rule.takes_model(call.model):
                    keep = rule.keep
                    break
                if not call.model:
                    maybe.append(rule.keep)
        return least(keep, call.wish, *maybe)
