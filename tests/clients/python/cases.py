"""What the programs of the Python clients share: the cases to run, and what becomes of each."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

#: The time limit of the case "timeout", in seconds; that of the other cases is LONG.
SHORT, LONG = 0.5, 60.0


class Point(BaseModel):
    """What the model is to answer in the case "structured"."""

    x: int
    y: int


def model(case: dict[str, Any]) -> str:
    """The model of a case, by which the upstream knows what to answer.

    It has the form of a fine-tuned model, since some clients refuse models that they do not know.
    """
    return f"ft:gpt-4o:{case['name']}"


def timeout(case: dict[str, Any]) -> float:
    """The time limit of a case."""
    return SHORT if case["name"] == "timeout" else LONG


def plain(value: Any) -> Any:
    """A value of a client as JSON."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="python", warnings=False))
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


#: What differs from call to call in the texts of errors: addresses of servers, times and numbers of
#: objects.
_VARYING = re.compile(r"127\.0\.0\.1:\d+|time taken=[\d.]+|\b0x[0-9a-f]+\b|\b[0-9a-f]{12}\b")


def failure(error: BaseException) -> dict[str, Any]:
    """An error of a client, with the errors that it comes from."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    cause = error.__cause__ or error.__context__
    # The cause of a timeout is how the HTTP library was interrupted.
    cause = None if isinstance(error, TimeoutError) else cause
    return {
        "class": type(error).__name__,
        "text": _VARYING.sub("...", str(error)),
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "body": plain(getattr(error, "body", None)),
        "retry-after": headers.get("retry-after"),
        "retry-after-ms": headers.get("retry-after-ms"),
        "request-id": headers.get("x-request-id"),
        "cause": None if cause is None else failure(cause),
    }


def run(client: Callable[[str], Any]) -> None:
    """Runs cases against base URLs, and prints what becomes of them as JSON.

    The arguments are a file of cases, the names of those to run, and the base URLs.

    Args:
        client: Makes the client of a base URL, which has a method for each way to call.
    """
    file, names, *urls = sys.argv[1:]
    cases = {case["name"]: case for case in json.loads(Path(file).read_text("utf-8"))}

    async def outcome(it: Any, case: dict[str, Any]) -> Any:
        try:
            value = getattr(it, case["do"])(case)
            return {"value": plain(await value if inspect.isawaitable(value) else value)}
        except Exception as error:
            return {"failed": failure(error)}

    async def all_outcomes() -> list[Any]:
        found = []
        for url in urls:
            it = client(url)
            found.append({name: await outcome(it, cases[name]) for name in names.split(",")})
        return found

    print(json.dumps(asyncio.run(all_outcomes())))
