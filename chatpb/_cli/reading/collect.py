"""From files to the records of a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import chatpb
from chatpb import _endings
from chatpb._cli.failure import CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.reading.batches import Batches
from chatpb._cli.reading.compressed import Advance, is_log
from chatpb._cli.reading.exchange import UnknownShapeError, exchange_in, is_request
from chatpb._cli.reading.input import STDIN, Reading, explained, open_source, walk
from chatpb._cli.reading.kinds import Kind, loaded
from chatpb._cli.reading.reader import Reader, UnknownError
from chatpb._cli.reading.sniff import ENDINGS, READABLE, Format
from chatpb._cli.reading.source import Record, Source
from chatpb._cli.reading.streams import Made, MadeRows
from chatpb._errors import ConversionError
from chatpb._known import Known, log_id
from chatpb._record import record_of
from chatpb.v1 import ChatCompletionRequest

_ANSWERS: Final = (_endings.ERROR, _endings.JSON, *ENDINGS)
_ENDINGS: Final = (_endings.LOG, *READABLE)


@dataclass
class Collector:
    """Makes records of files, except of what is known already.

    Attributes:
        known: Which input is in the table already. What is read now is added to it.
        reading: How JSON is read.
        skip_damage: Whether to go on after input that cannot be read.
        skip_unknown: Whether to go on after JSON of an unknown shape.
        advance: Called with the number of bytes read, as they are read.
        note: Called with a text that the user should see.
        keys: The file of keys of logs, if there is one.
        skipped: How many times something could not be read.
        unknown: How many JSON values had an unknown shape.
        can_stop: Whether the reading of records may end before the last one: that one and those
            after it are read the next time.
    """

    known: Known
    reading: Reading
    skip_damage: bool
    skip_unknown: bool
    advance: Advance
    note: Callable[[str], None]
    keys: LogKeys | None = None
    skipped: int = 0
    unknown: int = 0
    can_stop: bool = False
    _files: set[tuple[int, int]] = field(default_factory=set)
    _joined: set[str] = field(default_factory=set)
    _batches: Batches = field(default_factory=Batches)
    _known_files: list[str] = field(default_factory=list)

    def records(self, names: Sequence[str]) -> Iterator[Made | MadeRows]:
        """The records of files.

        Raises:
            CliError: Something cannot be read.
            LogError: A log is damaged.
        """
        requests = []
        for path in names:
            if path == STDIN:
                with open_source(path, self.reading) as source:
                    yield from self._of_source(source)
            elif _endings.bare(path).endswith(_endings.REQUEST) and not is_log(path):
                requests.append(path)
            else:
                yield from self._file(path)
        for path in requests:
            if os.path.abspath(path) not in self._joined:
                yield from self._file(path)
        if self._batches.lacks_requests():
            for path in self._known_files:
                self._known_requests(path)
        yield from self._batches.records(self.failed)

    def _file(self, path: str) -> Iterator[Made | MadeRows]:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in self._files:
            return
        self._files.add((found.st_dev, found.st_ino))
        if self.reading.form is None and is_log(path):
            if found.st_size:
                yield from self._log(path)
            return
        try:
            with open_source(path, self.reading) as source:
                form = source.format
        except CliError as failure:
            self.failed(failure)
            return
        is_whole = form is not Format.JSONL or source.is_compressed
        skipped = self.known.meet(path, whole=is_whole)
        lines, end = skipped or (0, 0)
        self.advance(end)
        if skipped is not None and form is Format.JSONL:
            self._known_files.append(path)
        if skipped is not None and end == found.st_size:
            return
        reading = replace(self.reading, form=form)
        with open_source(path, reading, self.advance, skipped=(lines, end)) as source:
            reader = Reader(self, source, end)
            if skipped is None:
                yield from self._with_request(path, reader.records())
            else:
                yield from reader.records()
        end = found.st_size if is_whole else reader.end
        if skipped is not None:
            self.known.take_more(path, end)
        elif end:  # an empty file has nothing to recognise it by
            self.known.take(path, end)

    def _of_source(self, source: Source) -> Iterator[Made | MadeRows]:
        return Reader(self, source).records()

    def _with_request(
        self, path: str, records: Iterator[Made | MadeRows]
    ) -> Iterator[Made | MadeRows]:
        """The records of an answer; a single one with the request from the file next to it."""
        beside = _request_beside(path)
        if beside is not None:
            first, second = next(records, None), next(records, None)
            if first is not None and second is None:
                first = self._joined_with(first, beside)
            records = chain(filter(None, (first, second)), records)
        yield from records

    def _joined_with(self, made: Made | MadeRows, path: str) -> Made | MadeRows:
        """The record of an answer with the request from a file, if there is only that record."""
        alone = made.alone() if isinstance(made, MadeRows) else made
        request = None if alone is None else self._request(path)
        if alone is None or request is None:
            return made
        size = None if alone.json_bytes is None else alone.json_bytes + request[1]
        return Made(record_of([(ChatCompletionRequest, request[0])]) + alone.data, size)

    def _request(self, path: str) -> tuple[bytes, int] | None:
        with open_source(path, replace(self.reading, form=Format.JSON)) as source:
            for record in source.records():
                try:
                    data = self.binary(record, ChatCompletionRequest)
                except CliError as failure:
                    self.failed(failure)
                    return None
                self._joined.add(os.path.abspath(path))
                if self.known.meet(path, whole=True) is None:
                    self.known.take(path, os.path.getsize(path))
                return data, len(record.data)
        return None

    def _known_requests(self, path: str) -> None:
        """Reads the requests of a batch that are in the table already, for their responses."""
        reading = replace(self.reading, form=Format.JSONL)
        with (
            open_source(path, reading) as source,
            suppress(CliError, ConversionError, UnknownShapeError),  # they were read before
        ):
            for record in source.records():
                value = loaded(record.data)
                if not isinstance(value, dict) or not is_request(value):
                    return
                self.exchange(record, value, is_known=True)

    def exchange(
        self, record: Record, members: dict[str, Any], *, is_known: bool = False
    ) -> Made | None:
        """The record of an object that holds a request or a response, or both.

        Args:
            record: The object.
            members: Its members, as `kinds.loaded` reads them.
            is_known: Whether it is in the table already, and is needed for its response only.

        Returns:
            The record; None for a line of a batch, which waits for others.

        Raises:
            ConversionError: It cannot be read.
            UnknownShapeError: It is not what it should be.
        """
        found = exchange_in(record.data, members, allow_nan=self.reading.allow_nan)
        made = Made(found.record, len(record.data))
        if found.custom_id is None:
            return made
        self._batches.add(
            found.custom_id,
            made,
            record.source.name,
            record.place,
            is_request=found.is_request,
            is_known=is_known,
        )
        return None

    def _log(self, path: str) -> Iterator[Made]:
        from chatpb.log import LogReader, Position, header

        file_id = log_id(path, header(path).file_id)
        known = self.known.log(file_id)
        start = None if known is None else Position(Path(path), *known)
        at = 0

        def damaged(damage: object) -> None:
            self.skipped += not getattr(damage, "is_torn", False)
            self.note(str(damage))

        with LogReader(
            path,
            start=start,
            skip_damage=self.skip_damage,
            on_damage=damaged,
            keys=None if self.keys is None else self.keys.file,
        ) as reader:
            for data, position in reader:
                if position.frame_offset > at:
                    self.advance(position.frame_offset - at)
                    at = position.frame_offset
                self.can_stop = True  # what is not taken below is read again
                given = [data]
                del data  # there may be no memory for it twice
                yield Made(given.pop(), None)
                self.can_stop = False
                following = position.next
                self.known.take_log(file_id, following.frame_offset, following.index)
        self.advance(os.path.getsize(path) - at)

    def binary(self, record: Record, kind: Kind) -> bytes:
        """A record of a file in binary form.

        Raises:
            CliError: The record cannot be read.
        """
        try:
            if not record.source.is_binary:
                return chatpb.json_to_binary(record.data, kind, allow_nan=self.reading.allow_nan)
            chatpb.binary_to_json(record.data, kind, allow_nan=True, ignore_unknown_fields=True)
        except ConversionError as error:
            raise explained(record, error) from None
        return record.data

    def failed(self, failure: CliError) -> None:
        """Goes on after a failure, if `skip_damage` is set.

        Raises:
            CliError: It is not set.
        """
        if isinstance(failure, UnknownError) and self.skip_unknown:
            self.unknown += 1
            return
        if not self.skip_damage:
            raise failure
        self.skipped += 1
        self.note(f"left out: {failure.text}")


def files(names: Sequence[str]) -> list[str]:
    """The named files, and in named directories the files that can be read.

    Raises:
        CliError: There is no such file.
    """
    return list(walk(names, _ENDINGS))


def _request_beside(path: str) -> str | None:
    """The file with the request of an answer, if there is one."""
    name = _endings.bare(path)
    for ending in _ANSWERS:
        if name.endswith(ending):
            request = name.removesuffix(ending) + _endings.REQUEST
            besides = _endings.compressible((request,))
            return next((each for each in besides if os.path.isfile(each)), None)
    return None
