"""What the controller and the process of the misbehaving upstream share."""

from __future__ import annotations

import base64
from typing import Any, Final

from support.http_upstream.answer import Mark, Repeat, Step

LINE_LIMIT: Final = 1 << 30  # maximum bytes of a command or an event
#: Members of an answer that a command may have in addition to its steps.
ANSWER_NAMES: Final = ("writes", "seed", "interval", "keep_alive", "is_early")


def encoded(step: Step) -> Any:
    """A step as JSON, for a command."""
    if isinstance(step, Mark):
        return step
    if isinstance(step, Repeat):
        return [base64.b64encode(step.data).decode(), step.times]
    return [base64.b64encode(step).decode(), 1]


def decoded(step: Any) -> Step:
    """The step that `encoded` wrote."""
    if isinstance(step, str):
        return Mark(step)
    data = base64.b64decode(step[0])
    return data if step[1] == 1 else Repeat(data, step[1])
