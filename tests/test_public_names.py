"""The exports of each public module: their `__module__`, and that they can be pickled and copied.

Tables list each public class as an error, a value or something live. Errors and
values survive pickling and copying, so that they can leave a worker process.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pydoc
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

import pytest
from grpc import StatusCode

import chatpb
import chatpb.client
import chatpb.log
import chatpb.openai
import chatpb.redaction
import chatpb.sse
import chatpb.store
import chatpb.table
import chatpb.transport
from chatpb.table._delta.location import Location
from chatpb.v1 import Error

MODULES = (
    "chatpb",
    "chatpb.client",
    "chatpb.log",
    "chatpb.openai",
    "chatpb.redaction",
    "chatpb.spark",
    "chatpb.sse",
    "chatpb.store",
    "chatpb.table",
    "chatpb.transport",
)
PATH = Path("folder") / "file"
DAMAGE = chatpb.log.Damage(PATH, 7, 3, "the checksum differs", is_torn=False)

ERRORS: list[Exception] = [
    chatpb.ChatpbError("what is wrong"),
    chatpb.ConversionError("expected a string, got 1", "$.choices[0]", 17),
    chatpb.ConversionError("expected a string, got 1"),
    chatpb.client.ChatCompletionError(
        StatusCode.UNAVAILABLE,
        "slow down",
        Error(message="slow down", type="rate_limit"),
        retry_after=1.5,
        request_id="req_7",
        metadata={"x-raw-bin": b"\0"},
    ),
    chatpb.log.LogError(PATH, "what is wrong"),
    chatpb.log.DamagedLogError(DAMAGE),
    chatpb.log.LockedError(PATH, 7),
    chatpb.log.LockedError(PATH, None),
    chatpb.log.PendingFullError(PATH, "what is wrong"),
    chatpb.log.KeyFileError(PATH, "what is wrong"),
    chatpb.log.LogKeyError(PATH, "what is wrong", "k1"),
    chatpb.redaction.RedactionError("what is wrong"),
    chatpb.store.StoreError("sqlite:///x.db", "what is wrong"),
    chatpb.store.UnknownCursorError("chatcmpl-1"),
    chatpb.table.DatasetError(PATH, "what is wrong"),
    chatpb.table.DatasetConflictError(str(PATH), "what is wrong"),
    chatpb.table.QueryError("line 1, column 3: what is wrong"),
]
VALUES: list[Any] = [
    chatpb.ResidueMember("$.choices", "extra", {"a": [1, None]}),
    DAMAGE,
    chatpb.log.Entry(b"\1", chatpb.log.Position(PATH, 9, 2)),
    chatpb.log.Position(PATH, 9, 2),
    chatpb.table.Commit(3, None, "append", 1, 0, 10, "delta-rs"),
    chatpb.table.Deleted(2, 1, None),
    chatpb.table.Optimized(2, 1, 9, 5),
    chatpb.table.Vacuumed(2, 9, 1, 3, ("a",)),
    chatpb.log.FrameInfo(PATH, 9, 100, 2, "k1"),
    *chatpb.log.Sync,
    chatpb.sse.Event(b"{}", "delta"),
    chatpb.store.StoredCompletion("chatcmpl-1", "m", 1, {"k": "v"}, b"\1"),
    chatpb.store.Listing(after="chatcmpl-1", limit=2, metadata={"k": "v"}),
    chatpb.store.Page((), has_more=False),
    chatpb.store.Layout("sqlite:///x.db", 1, 2, 2),
    chatpb.table.Added(3, 100, 40, ("a.parquet", "b.parquet")),
    chatpb.table.Verified(3, 40, 5000, 1, ()),
    chatpb.table.Part("a.parquet", Location(str(PATH), PATH), 9, 2),
    chatpb.table.Part("a.parquet", Location("s3://b/t", None, {"k": "v"})),
]
#: They hold a file, a connection or the state of a stream.
LIVE = {
    chatpb.client.AsyncChatCompletionStream,
    chatpb.client.AsyncClient,
    chatpb.client.ChatCompletionStream,
    chatpb.client.Client,
    chatpb.log.KeyFile,
    chatpb.log.LogReader,
    chatpb.log.LogWriter,
    chatpb.redaction.PatternRedactor,
    chatpb.redaction.Redactor,
    chatpb.sse.ChunkDecoder,
    chatpb.sse.Decoder,
    chatpb.store.Store,
    chatpb.table.Dataset,
    chatpb.table.DatasetWriter,
    chatpb.transport.AsyncGrpcTransport,
    chatpb.transport.GrpcTransport,
}


def exports() -> Iterator[Any]:
    """The public classes and functions, each with its module."""
    for module in MODULES:
        try:
            names = importlib.import_module(module).__all__
        except ModuleNotFoundError as missing:
            if missing.name != "pyspark":
                raise
            continue
        for name in names:
            item = getattr(importlib.import_module(module), name)
            if isinstance(item, type | FunctionType):
                yield pytest.param(module, name, item, id=f"{module}.{name}")


EXPORTS = list(exports())
CLASSES: list[type] = [item.values[2] for item in EXPORTS if isinstance(item.values[2], type)]


def pickled(item: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(item, protocol))


ways = pytest.mark.parametrize(
    "sent",
    [
        *(
            pytest.param(lambda item, number=number: pickled(item, number), id=f"pickle {number}")
            for number in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
    ],
)


@pytest.mark.parametrize(("module", "name", "item"), EXPORTS)
def test_a_public_name_says_where_it_is_public(module: str, name: str, item: Any) -> None:
    assert (module, name) == (item.__module__, item.__qualname__)
    assert item is pickled(item)


@pytest.mark.parametrize(("module", "_name", "item"), EXPORTS)
def test_a_public_name_can_be_looked_into(module: str, _name: str, item: Any) -> None:
    assert inspect.getdoc(item)
    if item is not chatpb.ChatpbError:  # Python finds no signature of a plain exception
        inspect.signature(item)
    assert module == inspect.getmodule(item).__name__  # type: ignore[union-attr]  # it has one
    assert f"in module {module}\n" in pydoc.plain(pydoc.render_doc(item))
    typing.get_type_hints(item)


def test_the_types_of_a_value_are_known() -> None:
    hints = typing.get_type_hints(chatpb.log.Entry)
    assert {"data": bytes, "position": chatpb.log.Position} == hints
    hints = typing.get_type_hints(chatpb.table.Part)
    assert {"name": str, "size": int | None} == {name: hints[name] for name in ("name", "size")}
    assert hints == inspect.get_annotations(chatpb.table.Part, eval_str=True)
    expected = {"path": Path, "offset": int, "size": int, "reason": str, "is_torn": bool}
    assert {**expected, "return": type(None)} == typing.get_type_hints(chatpb.log.Damage.__init__)


def test_each_public_class_is_an_error_or_a_value_or_live() -> None:
    named = [*map(type, ERRORS), *map(type, VALUES), *LIVE]
    assert set() == set(CLASSES) ^ set(named)
    assert set() == LIVE & {*map(type, ERRORS), *map(type, VALUES)}


def test_each_error_is_a_chatpb_error() -> None:
    errors = [item for item in CLASSES if issubclass(item, BaseException)]
    assert [] == [item for item in errors if not issubclass(item, chatpb.ChatpbError)]
    assert set(errors) == set(map(type, ERRORS))


def said(error: BaseException) -> dict[str, Any]:
    """All that an error says."""
    return {"class": type(error), "str": str(error), "args": error.args, **vars(error)}


@ways
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_errors_can_be_sent(error: Exception, sent: Callable[[Any], Any]) -> None:
    error = copy.copy(error)
    error.add_note("while testing")
    assert said(error) == said(sent(error))


@ways
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_can_be_sent(value: Any, sent: Callable[[Any], Any]) -> None:
    actual = sent(value)
    assert (type(value), value) == (type(actual), actual)


def fail(number: int) -> NoReturn:
    """Raises an error of the table, in a worker process."""
    raise ERRORS[number]


def read_a_dataset(path: str) -> list[Any]:
    """Reads a dataset, in a worker process."""
    return chatpb.table.Dataset(path).files()


def test_errors_leave_a_worker_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for number, error in enumerate(ERRORS):
            raised = pool.submit(fail, number).exception(timeout=60)
            assert raised is not None
            assert said(error) == said(raised)
        absent = str(tmp_path / "absent")
        with pytest.raises(chatpb.table.DatasetError) as caught:
            pool.submit(read_a_dataset, absent).result(timeout=60)
        assert (absent, "no such directory") == (caught.value.path, caught.value.reason)
        assert [] == pool.submit(list, ()).result(timeout=60)  # the pool is not broken
