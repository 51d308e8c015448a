"""Texts that may be JSON: the strings in them are redacted, and they stay JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

#: How deep JSON in strings of JSON is taken apart.
_DEPTH: Final = 4
#: A number with fewer digits identifies nobody.
_DIGITS: Final = 7
#: Longer numbers are tried only as they are written, not without their exponent.
_LONGEST: Final = 40

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}\[\],:]')
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
# What has no text to redact: the data of images, audio and files.
_DATA_URL: Final = re.compile(
    r"\bdata:(?P<kind>[\w.+-]{1,80}/[\w.+-]{1,80})?(?:;[\w.+-]{1,80}(?:=[\w.+-]{1,80})?){0,8},"
    r"[^\s\"'<>()\[\]{}]*",
    re.IGNORECASE,
)
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{512,}={0,2}")

Path = tuple[str | int, ...]


class Text:
    """A text as what stays of it and what is redacted.

    Args:
        text: The text.

    Attributes:
        parts: Literals, and what is redacted, in their order.
    """

    def __init__(self, text: str, depth: int = _DEPTH) -> None:
        self._text = text
        self.parts: list[str | Part] = []
        if not depth or text.lstrip()[:1] not in ("{", "[") or not _is_json(text):
            if "\\u" in text:  # JSON that was cut, where escapes hide what is there
                text = _ESCAPED.sub(_unescaped, text)
            self.parts.append(Flat(without_data(text)))
            return
        at = 0
        for match, path, is_name in _tokens(text):
            token = match[0]
            if token[0] == '"':
                part: Part = String(token, path, is_name, depth - 1)
            elif (part := Number(token, path)).is_long or part.is_listed:
                pass
            else:
                continue
            self.parts += (text[at : match.start()], part)
            at = match.end()
        self.parts.append(text[at:])

    def texts(self) -> list[str]:
        """What is to be redacted."""
        return [text for part in self.parts if not isinstance(part, str) for text in part.texts()]

    def redacted(self, results: Mapping[str, str]) -> str:
        """The text with what came out."""
        return "".join(
            part if isinstance(part, str) else part.redacted(results) for part in self.parts
        )


class Part:
    """A piece of a text that is redacted."""

    def texts(self) -> list[str]:
        """What is to be redacted."""
        raise NotImplementedError

    def redacted(self, results: Mapping[str, str]) -> str:
        """What is put in its place."""
        raise NotImplementedError


class Flat(Part):
    """Plain text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def texts(self) -> list[str]:
        """The text."""
        return [self.text]

    def redacted(self, results: Mapping[str, str]) -> str:
        """What came out."""
        return results[self.text]


class Number(Flat):
    """A number in JSON; a string takes its place.

    Attributes:
        path: Where it is.
        is_listed: Whether it is an integer in a list.
        is_long: Whether it may tell something alone.
        override: The number that takes its place, if that is known.
    """

    def __init__(self, token: str, path: Path) -> None:
        super().__init__(_plain(token))
        self.path = path
        self.is_listed = bool(path) and isinstance(path[-1], int) and token.isdigit()
        self.is_long = sum(map(str.isdigit, self.text)) >= _DIGITS
        self.override: str | None = None
        self._token = token

    def texts(self) -> list[str]:
        """The number, if it may tell something."""
        return [self.text] if self.is_long else []

    def redacted(self, results: Mapping[str, str]) -> str:
        """The number, or a string."""
        if self.override is not None:
            return self.override
        result = results[self.text] if self.is_long else self.text
        return self._token if result == self.text else _quoted(result)


class String(Part):
    """A string in JSON.

    Attributes:
        value: The string.
        path: Where it is.
        is_name: Whether it is the name of a member.
    """

    def __init__(self, token: str, path: Path, is_name: bool, depth: int) -> None:
        self.value: str = json.loads(token, strict=False)
        self.path = path
        self.is_name = is_name
        self._token = token
        self.inner = Text(self.value, depth)
        self.override: str | None = None

    def texts(self) -> list[str]:
        """What is to be redacted in it."""
        return self.inner.texts()

    def redacted(self, results: Mapping[str, str]) -> str:
        """The token of the string."""
        result = self.inner.redacted(results) if self.override is None else self.override
        return self._token if result == self.value else _quoted(result)


def without_data(text: str) -> str:
    """A text without the data of images and files, which nobody can redact."""
    if "data:" in text or "DATA:" in text:
        text = _DATA_URL.sub(lambda match: f"data:{match['kind'] or ''},[data]", text)
    return _BASE64.sub("[data]", text) if len(text) >= 512 else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=str, parse_float=str, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _tokens(text: str) -> Iterator[tuple[re.Match[str], Path, bool]]:
    """Yields the strings and numbers of JSON, their paths, and whether they are names."""
    path: list[str | int] = []
    is_name = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            path.append("" if token == "{" else 0)
            is_name = token == "{"
        elif token in "}]":
            path.pop()
            is_name = False
        elif token == ",":
            if isinstance(last := path[-1], int):
                path[-1] = last + 1
            is_name = isinstance(path[-1], str)
        elif token == ":":
            is_name = False
        else:
            if is_name:
                path[-1] = json.loads(token, strict=False)
            yield match, tuple(path), is_name


def _quoted(text: str) -> str:
    is_whole = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") == text
    return json.dumps(text, ensure_ascii=not is_whole)


def _unescaped(match: re.Match[str]) -> str:
    letter = chr(int(match[1], 16))
    return letter if letter.isprintable() and letter not in '"\\' else match[0]


def _plain(token: str) -> str:
    """A number without exponent, and without a fraction of zeros."""
    if token.isdigit() or len(token) > _LONGEST:
        return token
    try:
        value = Decimal(token)
    except InvalidOperation:
        return token
    if value != value.to_integral_value() or value.adjusted() > _LONGEST:
        return token
    return format(value.to_integral_value(), "f")
