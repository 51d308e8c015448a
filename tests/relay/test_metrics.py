"""Metrics: what calls leave in a registry, alone and shared between processes."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import PIPE, Popen

import pytest
from grpc import StatusCode
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from chatpb_server.access.address import Address, AddressError
from chatpb_server.core.call import Call, Observer
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.metrics_server import MetricsServer, serve_metrics, shared_metrics
from chatpb_server.watching.observers import Observers, SilentObserver
from support.calls import STREAM, UNARY

PREFIX = "chatpb_relay_"


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(PREFIX + name, labels)


def streamed(observer: Observer, call: Call, messages: int = 3) -> None:
    """A call that sends so many messages of two chunks, the first after 2 seconds."""
    observer.began(call)
    call.upstream = "vllm"
    observer.attempted(call, "503", 0.5)
    observer.attempted(call, "connect", 0.1)
    observer.attempted(call, "200", 1.5)
    for number in range(messages):
        observer.sent(call, 2, 0.04 if number else 2.0)
    call.chunks = 2 * messages
    call.tokens_in, call.tokens_out = 10, 5
    observer.ended(call, StatusCode.OK, None)


def refused(observer: Observer, call: Call, code: StatusCode = StatusCode.NOT_FOUND) -> None:
    observer.began(call)
    observer.ended(call, code, ValueError("secret"))


def test_a_stream() -> None:
    observer = MetricsObserver()
    registry = observer.registry
    streamed(observer, Call(STREAM, caller="alice", model="m"))
    method, model = "StreamChatCompletion", "m"
    assert 1 == value(registry, "calls_total", method=method, code="OK", caller="alice")
    assert 0 == value(registry, "calls_in_flight", method=method)
    assert 1 == value(registry, "call_duration_seconds_count", method=method, model=model)
    first = {"method": method, "model": model}
    assert 2 == value(registry, "time_to_first_chunk_seconds_sum", **first)
    assert 0 == value(registry, "time_to_first_chunk_seconds_bucket", **first, le="1.0")
    assert 1 == value(registry, "time_to_first_chunk_seconds_bucket", **first, le="2.5")
    assert 2 == value(registry, "time_between_chunks_seconds_count", model=model)
    assert 0 == value(registry, "time_between_chunks_seconds_bucket", model=model, le="0.03")
    assert 2 == value(registry, "time_between_chunks_seconds_bucket", model=model, le="0.05")
    assert 6 == value(registry, "chunks_total", model=model)
    tokens = {"model": model, "caller": "alice"}
    assert 10 == value(registry, "tokens_total", **tokens, type="input")
    assert 5 == value(registry, "tokens_total", **tokens, type="output")
    for outcome in ("503", "connect", "200"):
        labels = {"upstream": "vllm", "outcome": outcome}
        assert 1 == value(registry, "upstream_attempts_total", **labels)
    assert 2 == value(registry, "upstream_retries_total", upstream="vllm")
    assert 2 == value(registry, "upstream_first_byte_seconds_sum", upstream="vllm")


def test_calls_that_run_and_wait() -> None:
    observer = MetricsObserver()
    registry = observer.registry
    calls = [Call(UNARY), Call(UNARY), Call(STREAM)]
    assert 0 == value(registry, "calls_in_flight", method="CreateChatCompletion")
    for call in calls:
        observer.began(call)
    observer.queued(calls[2], 1)
    assert 2 == value(registry, "calls_in_flight", method="CreateChatCompletion")
    assert 1 == value(registry, "calls_in_flight", method="StreamChatCompletion")
    assert 1 == value(registry, "calls_queued")
    observer.queued(calls[2], 0)
    for call in calls:
        observer.ended(call, StatusCode.CANCELLED, None)
    assert 0 == value(registry, "calls_in_flight", method="CreateChatCompletion")
    assert 0 == value(registry, "calls_queued")


def test_a_call_that_was_not_let_in_is_counted_and_never_in_flight() -> None:
    observer = MetricsObserver()
    call = Call(UNARY, caller="eve")
    observer.ended(call, StatusCode.UNAUTHENTICATED, None)
    labels = {"method": "CreateChatCompletion", "code": "UNAUTHENTICATED", "caller": "other"}
    assert 1 == value(observer.registry, "calls_total", **labels)
    assert 0 == value(observer.registry, "calls_in_flight", method="CreateChatCompletion")


def models(registry: CollectorRegistry) -> set[str]:
    return {
        sample.labels["model"]
        for metric in registry.collect()
        for sample in metric.samples
        if "model" in sample.labels
    }


def test_models_that_were_never_answered_have_no_label() -> None:
    observer = MetricsObserver(most_models=2)
    for number in range(1000):
        refused(observer, Call(UNARY, model=f"invented-{number}"))
    assert {"other"} == models(observer.registry)
    for name in ("a", "b", "c", "x" * 129, "a"):
        streamed(observer, Call(STREAM, model=name))
    assert {"a", "b", "other"} == models(observer.registry)
    assert 6 * 2 == value(observer.registry, "chunks_total", model="a")
    assert 6 * 2 == value(observer.registry, "chunks_total", model="other")


def test_calls_for_stored_completions_have_names() -> None:
    observer = MetricsObserver()
    for name in ("/openai.v1/chat.completions.stored", "/s/GetStoredChatCompletion", "/s/Get"):
        refused(observer, Call(name))
    counted = {"code": "NOT_FOUND", "caller": ""}
    for method in ("chat.completions.stored", "GetStoredChatCompletion", "other"):
        assert 1 == value(observer.registry, "calls_total", method=method, **counted)


def test_a_model_that_cannot_be_a_label() -> None:
    """One lone surrogate would break every scrape from then on."""
    observer = MetricsObserver()
    streamed(observer, Call(STREAM, model="\ud800"))
    with served(observer.registry) as server:
        assert labels(model="other") in {found for name, found in scraped(server)}


def test_known_models() -> None:
    observer = MetricsObserver(["a"])
    refused(observer, Call(UNARY, model="a"))
    streamed(observer, Call(STREAM, model="b"))
    assert {"a", "other"} == models(observer.registry)


def test_callers_and_methods_are_bounded() -> None:
    observer = MetricsObserver(most_callers=1)
    for name in ("a", "b", "c"):
        refused(observer, Call(f"/invented/{name}", caller=name))
    labels = {"method": "other", "code": "NOT_FOUND"}
    assert 1 == value(observer.registry, "calls_total", **labels, caller="a")
    assert 2 == value(observer.registry, "calls_total", **labels, caller="other")


@pytest.mark.parametrize("tokens", [None, 0, -1, 1 << 63, 10**400])
def test_counts_of_tokens_that_cannot_be(tokens: int | None) -> None:
    observer = MetricsObserver()
    call = Call(UNARY, model="m", tokens_in=tokens)
    observer.began(call)
    observer.ended(call, StatusCode.OK, None)
    labels = {"model": "other", "caller": "", "type": "input"}
    assert value(observer.registry, "tokens_total", **labels) is None
    labels = {"method": "CreateChatCompletion", "code": "OK", "caller": ""}
    assert 1 == value(observer.registry, "calls_total", **labels)


@contextmanager
def served(registry: CollectorRegistry) -> Iterator[MetricsServer]:
    server = serve_metrics(Address("127.0.0.1", 0), registry)
    try:
        yield server
    finally:
        server.close()


def scraped(server: MetricsServer) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples that a scrape gets."""
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**names: str) -> frozenset[tuple[str, str]]:
    return frozenset(names.items())


def test_a_scrape() -> None:
    observer = MetricsObserver()
    streamed(observer, Call(STREAM, caller='a"\n\\b', model="m"))
    with served(observer.registry) as server:
        samples = scraped(server)
        address = server.address
    expected = labels(method="StreamChatCompletion", code="OK", caller='a"\n\\b')
    assert 1 == samples["calls_total", expected]
    assert samples["process_resident_memory_bytes", labels()] > 0
    with socket.create_server((address.host, address.port)):  # it is free again
        pass


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(AddressError) as caught:
            serve_metrics(address, CollectorRegistry())
    assert f"cannot serve metrics on {address}: address already in use" == str(caught.value)


# A worker: a call that is over, one that runs; then it waits for the end of its input.
WORKER = """
import sys
from chatpb_server.core.call import Call
from chatpb_server.watching.metrics import MetricsObserver
from relay.test_metrics import STREAM, streamed
observer = MetricsObserver()
streamed(observer, Call(STREAM, caller="alice", model="m"))
running = Call(STREAM)
observer.began(running)
observer.queued(running, 1)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def worker() -> Iterator[Popen[str]]:
    paths = os.pathsep.join(filter(None, sys.path))
    process = Popen(
        [sys.executable, "-c", WORKER],
        stdin=PIPE,
        stdout=PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with process:
        try:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("named", [False, True])
def test_processes_add_up(
    named: bool, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    if named:
        folder = tmp_path_factory.mktemp("metrics") / "new"
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"left by a run before")
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    calls = ("calls_total", labels(method="StreamChatCompletion", code="OK", caller="alice"))
    in_flight = ("calls_in_flight", labels(method="StreamChatCompletion"))
    between = ("time_between_chunks_seconds_count", labels(model="m"))
    with (
        shared_metrics() as shared,
        served(shared.registry) as server,
        worker() as first,
        worker(),
    ):
        samples = scraped(server)
        assert 2 == samples[calls]
        assert 2 == samples[in_flight]
        assert 2 == samples["calls_queued", labels()]
        assert 4 == samples[between]
        first.send_signal(signal.SIGKILL)
        first.wait()
        shared.forget(first.pid)
        samples = scraped(server)
        assert 2 == samples[calls]
        assert 1 == samples[in_flight]
        assert 1 == samples["calls_queued", labels()]
        with worker():
            samples = scraped(server)
            assert 3 == samples[calls]
            assert 2 == samples[in_flight]
            assert 6 == samples[between]
    assert named == shared.directory.exists()
    assert named == ("PROMETHEUS_MULTIPROC_DIR" in os.environ)


class Broken(SilentObserver):
    """An observer that fails."""

    def began(self, call: Call) -> None:
        """Fails."""
        raise KeyError(call.id)

    def upstream_headers(self, call: Call) -> Mapping[str, str]:
        """Fails."""
        raise KeyError(call.id)


class Headers(SilentObserver):
    """An observer that has headers.

    Attributes:
        seen: The names of the events, in their order.
    """

    def __init__(self, **headers: str) -> None:
        self.seen: list[str] = []
        self._headers = headers

    def began(self, call: Call) -> None:  # noqa: ARG002
        """Keeps that it was told."""
        self.seen.append("began")

    def upstream_headers(self, call: Call) -> Mapping[str, str]:  # noqa: ARG002
        """The headers."""
        return self._headers


def test_a_broken_observer_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Headers(a="1", b="1"), Headers(b="2")
    observers = Observers([first, Broken(), last])
    for _ in range(3):
        streamed(observers, Call(STREAM))
        assert {"a": "1", "b": "2"} == observers.upstream_headers(Call(STREAM))
    assert ["began"] * 3 == first.seen == last.seen
    expected = [
        f"Broken.{event} failed; further failures are not logged"
        for event in ("began", "upstream_headers")
    ]
    assert expected == [record.getMessage() for record in caplog.records]
    assert {logging.ERROR} == {record.levelno for record in caplog.records}


def test_no_observers() -> None:
    assert {} == Observers().upstream_headers(Call(STREAM))
