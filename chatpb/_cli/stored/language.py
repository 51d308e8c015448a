"""The language of predicates, as in ``chatpb grep``.

    predicate   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" predicate ")" | comparison
    comparison  = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) value
                | column [ "not" ] "in" "(" value { "," value } ")"
                | column "is" [ "not" ] "null"

A column is a column of the table, or a key of a map column, such as ``labels.team``. A value is a
word, or quoted. ``~`` takes a regular expression (RE2) that may match anywhere in the text. For a
list, a comparison holds if it holds for one element; ``!=`` and ``not in`` hold if no element is
equal; an empty list is null. Null matches no comparison, as in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from chatpb._cli.stored.predicate import (
    COMPARISONS,
    Joined,
    Not,
    Predicate,
    comparison,
    wrong,
)

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|==|[=<>~(),])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
    r"""|(?P<word>[^\s()<>=!~,'"]+)|(?P<bad>\S))"""
)
_SWAPPED: Final = {"==": "="}


def parse(text: str) -> Predicate:
    """Reads a predicate.

    Raises:
        CliError: The text is not a predicate, or a column does not exist.
    """
    parser = _Parser(text)
    found = parser.predicate()
    parser.end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, bool]] = []  # each with whether it is quoted
        for match in _TOKEN.finditer(text):
            if match["bad"] is not None:
                raise wrong(f"{match['bad']!r} at character {match.start('bad') + 1}")
            quoted = match["double"] if match["double"] is not None else match["single"]
            token = quoted if quoted is not None else match["op"] or match["word"]
            self._tokens.append((token, quoted is not None))
        self._at = 0

    def predicate(self) -> Predicate:
        return self._joined("or", lambda: self._joined("and", self._negation))

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise wrong(f"expected and, or, or the end, got {self._tokens[self._at][0]!r}")

    def _joined(self, word: str, part: Callable[[], Predicate]) -> Predicate:
        parts = [part()]
        while self._is(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(parts, is_or=word == "or")

    def _negation(self) -> Predicate:
        if self._is("not"):
            return Not(self._negation())
        if self._is("("):
            found = self.predicate()
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> Predicate:
        column = self._next("a column")
        if self._is("is"):
            negated = self._is("not")
            self._expect("null")
            found: Predicate = comparison(column, "null", [])
            return Not(found) if negated else found
        negated = self._is("not")
        if negated or self._peeks("in"):
            self._expect("in")
            found = comparison(column, "in", list(self._list()))
            return Not(found) if negated else found
        op = self._next("a comparison, such as =")
        op = _SWAPPED.get(op, op)
        if op != "!=" and op != "~" and op not in COMPARISONS:
            raise wrong(f"expected a comparison, such as =, after {column}, got {op!r}")
        value = self._next("a value")
        if op == "!=":
            return Not(comparison(column, "=", [value]))
        return comparison(column, op, [value])

    def _list(self) -> Iterator[str]:
        self._expect("(")
        yield self._next("a value")
        while self._is(","):
            yield self._next("a value")
        self._expect(")")

    def _peeks(self, word: str) -> bool:
        if self._at == len(self._tokens):
            return False
        token, quoted = self._tokens[self._at]
        return not quoted and token.lower() == word

    def _is(self, word: str) -> bool:
        found = self._peeks(word)
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._is(word):
            got = self._tokens[self._at][0] if self._at < len(self._tokens) else "the end"
            raise wrong(f"expected {word}, got {got}")

    def _next(self, what: str) -> str:
        if self._at == len(self._tokens):
            raise wrong(f"expected {what}, got the end")
        token, quoted = self._tokens[self._at]
        if what == "a value" and not quoted and re.fullmatch(r"[=<>~(),!]+", token):
            raise wrong(f"expected {what}, got {token!r}")
        self._at += 1
        return token
