"""The dashboard and the alert rules: what they ask for is what a relay reports."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import promql_parser
import pytest
import yaml
from grpc import StatusCode, aio
from prometheus_client.parser import text_string_to_metric_families

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.call import Call
from chatpb_server.core.gate import MemoryLimitError, OverloadError
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.vitals import GAUGES, Vitals
from support.build import PING, create_request, stream_request
from support.calls import OWN_CONNECTION, UNARY
from support.limits import TIMEOUT, within
from support.relay_process import end, listening, start

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
DASHBOARD: Final[Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
RULES: Final[Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
#: Prometheus adds them to what it reads.
TARGET: Final = {"job", "instance"}

CONFIG: Final = """\
listen = "127.0.0.1:0"
http.listen = "127.0.0.1:0"
metrics.listen = "127.0.0.1:0"
record.directory = "records"
store = { url = "sqlite:///%s/completions.db", all = true }
log.level = "error"
upstreams.dead = { url = "http://127.0.0.1:1/v1", models = ["*"] }
upstreams.live = { url = "builtin", models = ["*"], weight = 0 }
"""


async def got(url: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as page:
            return str(page.read().decode())

    return await asyncio.to_thread(get)


async def exposed(directory: Path) -> str:
    """What a relay reports after calls over both edges, with retries and records."""
    file = directory / "relay.toml"
    file.write_text(CONFIG % directory)
    process = await start("--config", file)
    try:
        address = await listening(process)
        assert process.stdout is not None
        lines = [(await within(process.stdout.readline())).decode() for _ in range(2)]
        places = dict(line.strip().split(" on ") for line in lines)
        async with aio.insecure_channel(address, OWN_CONNECTION) as channel:
            stub: Any = ChatCompletionServiceStub(channel)
            await stub.CreateChatCompletion(create_request(), timeout=TIMEOUT)
            async for _ in stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT):
                pass
        async with aiohttp.ClientSession() as session:
            url = f"{places['http']}/chat/completions"
            async with session.post(url, json=PING) as answer:
                assert 200 == answer.status
        metrics = f"http://{places['metrics']}/metrics"
        async with asyncio.timeout(TIMEOUT):
            while 'records_total{outcome="written"} 3.0' not in (text := await got(metrics)):
                await asyncio.sleep(0.1)
        return text
    finally:
        await end(process)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """The labels of the metrics of a real relay, by their names."""
    text = asyncio.run(exposed(tmp_path_factory.mktemp("relay")))
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels[sample.name] |= sample.labels.keys()
    return labels


def panels() -> list[Any]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def variables() -> dict[str, Any]:
    return {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def queries() -> Iterator[str]:
    """All queries in PromQL, of the panels, the variables and the rules."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")
    for variable in variables().values():
        if variable["type"] == "query":
            [(series, label)] = re.findall(r"^label_values\((.*), (\w+)\)$", variable["definition"])
            yield f"sum by ({label}) ({series})"
    for group in RULES:
        for rule in group["rules"]:
            yield rule["expr"]


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """The metrics of a query, each with the labels that the whole query needs of it."""
    found: list[tuple[str, set[str]]] = []

    def visit(expression: promql_parser.Expr, named: frozenset[str]) -> None:
        match expression:
            case promql_parser.VectorSelector():
                assert expression.name is not None
                own = {matcher.name for matcher in expression.matchers.matchers}
                found.append((expression.name, own | named))
            case promql_parser.MatrixSelector():
                visit(expression.vector_selector, named)
            case promql_parser.AggregateExpr():
                modifier = expression.modifier
                labels = frozenset() if modifier is None else frozenset(modifier.labels)
                visit(expression.expr, named | labels)
            case promql_parser.BinaryExpr():
                matching = getattr(expression.modifier, "matching", None)
                both = named | frozenset(getattr(matching, "labels", ()))
                for side in (expression.lhs, expression.rhs):
                    visit(side, both)
            case promql_parser.Call():
                for argument in expression.args:
                    visit(argument, named)
            case promql_parser.ParenExpr():
                visit(expression.expr, named)
            case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
                pass
            case _:
                raise NotImplementedError(type(expression))

    visit(promql_parser.parse(query), frozenset())
    assert found, query
    return found


def test_what_a_query_needs() -> None:
    """The check itself can fail."""
    query = 'sum by (x) (rate(a{b="c"}[5m])) / on (y) (count(d) > 1)'
    assert [("a", {"b", "x", "y"}), ("d", {"y"})] == selectors(query)


def test_queries_name_what_there_is(reported: Mapping[str, set[str]]) -> None:
    needed = [(query, *need) for query in queries() for need in selectors(query)]
    assert len(needed) > 60
    assert [] == [
        (query, name, labels)
        for query, name, labels in needed
        if name not in reported or labels - reported[name] - TARGET
    ]


def test_every_metric_is_on_the_dashboard(reported: Mapping[str, set[str]]) -> None:
    text = json.dumps(DASHBOARD)
    names = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in reported}
    ours = {name for name in names if name.startswith("chatpb_relay_")}
    assert len(ours) > 15
    assert [] == sorted(name for name in ours if name not in text)


def test_every_metric_is_in_the_documentation(reported: Mapping[str, set[str]]) -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.*?) \|", page)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    actual: dict[str, set[str]] = defaultdict(set)
    for name, labels in reported.items():
        if name.startswith("chatpb_relay_") and not name.endswith("_created"):
            actual[re.sub(r"_(bucket|count|sum)$", "", name)] |= labels - {"le"}
    assert actual == {name: found for name, found in documented.items() if name in actual}
    assert actual.keys() == {name for name in documented if name.startswith("chatpb_relay_")}


def test_the_dashboard_can_be_imported() -> None:
    """Into any Grafana: it names no data source, and Grafana gives it a number."""
    assert DASHBOARD["id"] is None
    assert ["datasource", "job", "instance", "upstream", "model"] == list(variables())
    expected = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert [expected] * (1 + len(panel["targets"])) == [
            panel["datasource"],
            *(target["datasource"] for target in panel["targets"]),
        ]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(titles) == len(set(titles))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        xs = range(place["x"], place["x"] + place["w"])
        ys = range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in xs for y in ys}
        assert xs.stop <= 24
        assert set() == taken & cells
        taken |= cells


def test_every_rule_has_a_test_and_a_text() -> None:
    tests = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    tested = {
        one["alertname"]
        for test in tests
        for one in test.get("alert_rule_test", ())
        if one["exp_alerts"]
    }
    rules = [rule for group in RULES for rule in group["rules"]]
    assert tested == {rule["alert"] for rule in rules}
    for rule in rules:
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_calls_without_room_are_counted_by_what_is_lacking() -> None:
    observer = MetricsObserver()
    for error in (OverloadError(), MemoryLimitError(), MemoryLimitError(), ValueError()):
        observer.ended(Call(UNARY), StatusCode.RESOURCE_EXHAUSTED, error)
    get = observer.registry.get_sample_value
    assert [1, 2] == [
        get("chatpb_relay_refused_total", {"lacks": lacks}) for lacks in ("queue", "memory")
    ]


async def test_vitals() -> None:
    registry = MetricsObserver().registry
    vitals = Vitals(registry)
    vitals.set_limits({"max_running": 3})
    watching = asyncio.create_task(vitals.watch(lambda: dict.fromkeys(GAUGES, 7)))
    try:
        async with asyncio.timeout(TIMEOUT):
            while not registry.get_sample_value("chatpb_relay_event_loop_lag_seconds_count"):
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
    for name in GAUGES:
        assert 7 == registry.get_sample_value(f"chatpb_relay_{name}")
    assert 3 == registry.get_sample_value("chatpb_relay_limit", {"limit": "max_running"})
