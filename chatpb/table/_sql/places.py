"""What DuckDB says of a statement, with the place in the text that was given."""

from __future__ import annotations

import re


def error_line(
    error: Exception, statement: str = "", *, lines_before: int = 0, lines_above: int = 0
) -> str:
    """What DuckDB says of a statement, in one line with the place.

    Args:
        error: DuckDB's error.
        statement: The statement.
        lines_before: How many lines were put before it.
        lines_above: How many lines are above it in the text that it is part of.
    """
    text, _, excerpt = str(error).partition("\n\nLINE ")
    text = "; ".join(filter(None, map(str.strip, text.split("\n"))))
    text = re.sub(r"^[A-Z]\w+(?: [A-Z]\w+)* Error: ", "", text)
    marked = re.match(r"(\d+): (.*)\n( *)\^", excerpt)
    if marked is None:
        return text
    number = int(marked[1]) - lines_before
    lines = statement.split("\n")
    if not 0 < number <= len(lines):
        return "the end comes too early" if "syntax error" in text else text
    column = len(marked[3]) - len(f"LINE {marked[1]}: ")
    if marked[2].startswith("..."):  # DuckDB leaves out the start of a long line
        part = marked[2][3:].removesuffix("...")
        column += max(lines[number - 1].find(part), 0) - 3
    return f"line {number + lines_above}, column {max(column, 0) + 1}: {text}"
