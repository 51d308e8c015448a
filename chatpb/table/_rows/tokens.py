"""Tokens as rows of the column of tokens: the reference, in pure Python."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message_factory import GetMessageClass

from chatpb.table._rows.columns import TOKENS
from chatpb.table._rows.token_type import RANK, REST, TokenFields, column_of

Token = dict[str, Any]
_MOST_RANK: Final = 2**15 - 1
_LEAST: Final = 2.0**-126
_MOST: Final = (2 - 2.0**-23) * 2.0**127


def shred_token(fields: TokenFields, message: Any) -> Token:
    """A token as a row; its message is emptied."""
    row: Token = {
        column_of(fields.token): getattr(message, fields.token.name),
        column_of(fields.logprob): getattr(message, fields.logprob.name),
    }
    for field in (fields.data, fields.id):
        has_value = message.HasField(field.name)
        row[column_of(field)] = getattr(message, field.name) if has_value else None
    for field in (fields.token, fields.data, fields.id):
        message.ClearField(field.name)
    if not _is_spelled(row[column_of(fields.logprob)]):
        row[column_of(fields.logprob)] = None
    else:
        message.ClearField(fields.logprob.name)
    inner: list[Token] = []
    if fields.list is not None and fields.inner is not None:
        inner = [shred_token(fields.inner, each) for each in getattr(message, fields.list.name)]
        message.ClearField(fields.list.name)
    row[REST] = message.SerializeToString(deterministic=True) or None
    if fields.list is not None:
        own = _bits(row)
        row[RANK] = None
        if fields.repeats:
            ranks = (rank for rank, each in enumerate(inner) if _bits(each) == own)
            row[RANK] = next(ranks, None)
        if row[RANK] is not None and row[RANK] <= _MOST_RANK:
            del inner[row[RANK]]
        else:
            row[RANK] = None
        row[column_of(fields.list)] = inner or None
    return row


def _bits(row: Token) -> list[Any]:
    """What tokens are compared by: -0.0 is not 0.0."""
    return [
        struct.pack("<d", value) if isinstance(value, float) else value for value in row.values()
    ]


def assemble_token(fields: TokenFields, row: Token, message: Any) -> None:
    """Fills the message of a token."""
    setattr(message, fields.token.name, row[column_of(fields.token)])
    if row[column_of(fields.logprob)] is not None:
        setattr(message, fields.logprob.name, row[column_of(fields.logprob)])
    for field in (fields.data, fields.id):
        if row[column_of(field)] is not None:
            setattr(message, field.name, row[column_of(field)])
    if row[REST]:
        message.MergeFromString(row[REST])
    if fields.list is not None and fields.inner is not None:
        inner = list(row[column_of(fields.list)] or ())
        if row[RANK] is not None:
            inner.insert(row[RANK], row)
        for each in inner:
            assemble_token(fields.inner, each, getattr(message, fields.list.name).add())


def _numbers(positions: Sequence[Token]) -> Iterator[Token]:
    """The tokens of a row, then their alternatives: the order of the log probabilities."""
    yield from positions
    if TOKENS.list is not None:
        for position in positions:
            yield from position[column_of(TOKENS.list)] or ()


def _in_order(positions: Sequence[Token]) -> Iterator[tuple[TokenFields, Token]]:
    """Each token of a row, and after it its alternatives: the order in which ids follow."""
    for position in positions:
        yield TOKENS, position
        if TOKENS.list is not None and TOKENS.inner is not None:
            for alternative in position[column_of(TOKENS.list)] or ():
                yield TOKENS.inner, alternative


def _known_id(fields: TokenFields, row: Token, ids: dict[Any, int]) -> tuple[Any, int | None]:
    """What the id of a token follows from, and the last id of the tokens that have the same."""
    key = row[column_of(fields.token)], row[column_of(fields.data)]
    return key, ids.get(key)


def leave_out_ids(positions: Sequence[Token]) -> None:
    """Makes null of the ids of a row that follow; or moves all of them to the rest."""
    ids: dict[Any, int] = {}
    follow: list[Token] = []
    for fields, row in _in_order(positions):
        key, known = _known_id(fields, row, ids)
        said = row[column_of(fields.id)]
        if said is not None:
            ids[key] = said
            if said == known:
                follow.append(row)
        elif known is not None:  # null would mean the known one
            return _keep_ids(positions)
    for row in follow:
        row[column_of(TOKENS.id)] = None
    return None


def _keep_ids(positions: Sequence[Token]) -> None:
    """Moves the ids of a row to the rest of their tokens."""
    for fields, row in _in_order(positions):
        said = row[column_of(fields.id)]
        if said is not None:
            rest = GetMessageClass(fields.message).FromString(row[REST] or b"")
            setattr(rest, fields.id.name, said)
            row[REST] = rest.SerializeToString(deterministic=True)
            row[column_of(fields.id)] = None


def put_in_ids(positions: Sequence[Token]) -> None:
    """Gives the tokens of a row the ids that follow."""
    ids: dict[Any, int] = {}
    for fields, row in _in_order(positions):
        key, known = _known_id(fields, row, ids)
        if row[column_of(fields.id)] is None:
            row[column_of(fields.id)] = known
        else:
            ids[key] = row[column_of(fields.id)]


def _is_spelled(value: float) -> bool:
    """Whether a number is zero, or of a size that float32 has with all its digits."""
    return value == 0 or _LEAST <= abs(value) <= _MOST


def spell(positions: Sequence[Token]) -> tuple[bool | None, list[int] | None]:
    """Makes float32 of the log probabilities of a row.

    Returns:
        Whether the shortest decimals of the float32 are meant, rather than their exact values; None
        if there are none. And what must be added to the bits of the numbers that they say, if any.
    """
    name = column_of(TOKENS.logprob)
    rows = [row for row in _numbers(positions) if row[name] is not None]
    if not positions:
        return None, None
    values = np.array([row[name] for row in rows], np.float64)
    singles = values.astype(np.float32)
    of_decimals = _corrections(values, _decimals(singles))
    of_exact = _corrections(values, singles.astype(np.float64))
    is_decimal = bool(np.count_nonzero(of_decimals) <= np.count_nonzero(of_exact))
    corrections = of_decimals if is_decimal else of_exact
    for row, single in zip(rows, singles, strict=True):
        row[name] = single
    return is_decimal, corrections.tolist() if corrections.any() else None


def unspell(
    positions: Sequence[Token], is_decimal: bool | None, corrections: list[int] | None
) -> None:
    """Makes the log probabilities of a row what they were."""
    name = column_of(TOKENS.logprob)
    rows = [row for row in _numbers(positions) if row[name] is not None]
    singles = np.array([row[name] for row in rows], np.float32)
    numbers = _decimals(singles) if is_decimal else singles.astype(np.float64)
    if corrections is not None:
        numbers = (numbers.view(np.int64) + np.array(corrections, np.int64)).view(np.float64)
    for row, number in zip(rows, numbers.tolist(), strict=True):
        row[name] = number


def _corrections(
    values: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    return values.view(np.int64) - numbers.view(np.int64)


def _decimals(singles: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The doubles that the shortest decimals of float32 numbers name."""
    decimals = pa.array(singles, pa.float32()).cast(pa.string()).cast(pa.float64())
    numbers: npt.NDArray[np.float64] = decimals.to_numpy(zero_copy_only=False)
    return numbers
