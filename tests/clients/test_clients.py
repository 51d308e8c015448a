"""Clients of others, unmodified, in front of the relay: what they give, and what they send.

Each client runs the same cases, those of `cases.json`, against the upstream itself, against the
HTTP edge of a relay, and against an edge whose upstream is another relay. A program for each client
prints what it gives in each case; `make test-clients` and the like make the programs and set
CHATPB_CLIENTS to the language.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from support.build import PING
from support.http_edge import base_url, posting
from support.http_upstream import (
    HANG,
    Answer,
    HttpUpstream,
    Request,
    event,
    json_answer,
    sse_answer,
)
from support.limits import LONG_TIMEOUT, within

HERE: Final = Path(__file__).parent
CASES: Final = {case["name"]: case for case in json.loads((HERE / "cases.json").read_text())}
#: Where make puts the programs that are built.
PROGRAMS: Final = HERE.parents[1] / "build" / "clients"
WAYS: Final = ("direct", "edge", "edge and core")
#: The environment of the programs: they connect to this machine only, and send reports to nobody.
ENVIRON: Final = {
    **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}
#: Headers of requests that stay behind at the edge: they are about its own connection, or about the
#: caller's program, and the upstream gets those of the relay.
BEHIND: Final = {
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "host",
    "sec-fetch-mode",
    "transfer-encoding",
    "user-agent",
}


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and how to run its program.

    Attributes:
        command: The program; the file of cases, names of cases and base URLs are added.
        without: The cases that it has no way to do, by a word of their names, and why.
        fails: Cases in which it raises an error, though the upstream answers.
    """

    command: tuple[str, ...]
    without: dict[str, str] = field(default_factory=dict)
    fails: tuple[str, ...] = ()

    def cases(self) -> list[str]:
        """The names of the cases that it runs."""
        names = [name for name in CASES if name not in self.without]
        kinds = {kind for kind in self.without if kind.endswith(":")}
        return [name for name in names if f"{CASES[name]['do']}:" not in kinds]


def python(name: str, **how: Any) -> Client:
    """A client of the Python environment."""
    environment = os.environ.get("CHATPB_CLIENTS_PYTHON", "python")
    return Client((environment, str(HERE / "python" / f"{name}_client.py")), **how)


TOOL: Final = {"tool:": "it makes no object of a tool call's arguments"}
CLIENTS: Final[dict[str, dict[str, Client]]] = {
    "python": {
        "openai 2": python("openai", without=TOOL),
        "openai 3": Client(
            (sys.executable, str(HERE / "python" / "openai_client.py")), without=TOOL
        ),
        "langchain": python("langchain", without=TOOL),
        "llama_index": python(
            "llama_index", without={"structured:": "it asks for a tool call instead"}
        ),
        "instructor": python(
            "instructor",
            without={
                "stream:": "without a model of the answer it is OpenAI's client",
                "cancel:": "the same",
            },
        ),
        "pydantic_ai": python("pydantic_ai", without=TOOL),
        "agents": python("agents", without=TOOL, fails=("refusal",)),
        "litellm": python("litellm", without=TOOL),
        "dspy": python(
            "dspy",
            without={
                **TOOL,
                "choices": "it refuses answers with several",
                "stream:": "it streams the fields of programs, not answers",
                "cancel:": "the same",
            },
        ),
    },
    "go": {
        name: Client((str(PROGRAMS / "go"), name), without=TOOL)
        for name in ("openai-go", "go-openai")
    },
    "node": {
        name: Client(("node", str(HERE / "node" / f"{name}.mjs")), without=TOOL)
        for name in ("openai", "vercel")
    },
    "java": {
        "openai-java": Client(
            ("java", "-cp", os.environ.get("CHATPB_CLIENTS_JAVA", ""), "Main"), without=TOOL
        ),
    },
}
LANGUAGE: Final = os.environ.get("CHATPB_CLIENTS", "")


def answer(case: dict[str, Any]) -> Answer:
    """What the upstream answers in a case."""
    said = case["answer"]
    headers = {"x-request-id": "req_1", **said.get("headers", {})}
    how = {"headers": headers, "status": said.get("status", 200)}
    if said.get("hang") == "head":
        return json_answer({}, before=[HANG])
    if "events" not in said:
        return json_answer(compact(said["json"]), **how)
    hangs = said.get("hang") == "end"
    done = said.get("done", True) and not hangs
    events = [event(compact(value)) for value in said["events"]]
    return sse_answer(*events, *([HANG] if hangs else []), done=done, **how)


def compact(value: Any) -> bytes:
    """JSON without white space, which a relay does not keep if another one is behind it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def outcomes(client: Client, urls: list[str]) -> list[dict[str, Any]]:
    """What a client gives in each case, for each base URL."""
    arguments = (str(HERE / "cases.json"), ",".join(client.cases()), *urls)
    process = await asyncio.create_subprocess_exec(
        *client.command, *arguments, stdout=PIPE, stderr=PIPE, limit=2**26, env=ENVIRON
    )
    output, errors = await within(process.communicate(), LONG_TIMEOUT)
    assert 0 == process.returncode, errors.decode()
    found: list[dict[str, Any]] = json.loads(output.decode().strip().split("\n")[-1])
    return found


def sent(requests: list[Request]) -> dict[str, list[Request]]:
    """The requests of each case."""
    found: dict[str, list[Request]] = {}
    for request in requests:
        found.setdefault(request.json["model"].rpartition(":")[2], []).append(request)
    return found


def compare_requests(direct: Request, relayed: Request) -> None:
    """Checks that a request is the same at the upstream, except what is documented."""
    assert (direct.method, direct.path) == (relayed.method, relayed.path)
    assert direct.json == relayed.json
    lost = {
        name
        for name, value in direct.headers.items()
        if relayed.headers.get(name) != value
        and name not in BEHIND
        and not name.startswith("x-stainless-")
    }
    assert set() == lost


@pytest.mark.parametrize("name", CLIENTS.get(LANGUAGE, {}))
async def test_client(name: str) -> None:
    client = CLIENTS[LANGUAGE][name]
    async with (
        HttpUpstream() as upstream,
        base_url(upstream.url, 1) as edge,
        base_url(upstream.url, 2) as edge_and_core,
    ):
        for case in client.cases():
            model = f"ft:gpt-4o:{case}"
            await upstream.answer(answer(CASES[case]), model=model, always=True)
        found = await outcomes(client, [upstream.url, edge, edge_and_core])
        hanging = {"timeout", "cancel"} & set(client.cases())
        for _ in range(len(WAYS) * len(hanging)):
            await upstream.next("closed")
        requests = sent(upstream.requests)
    different = [
        f"{way}: {case}: {relayed[case]} instead of {found[0][case]}"
        for way, relayed in zip(WAYS[1:], found[1:], strict=True)
        for case in relayed
        if relayed[case] != found[0][case]
    ]
    assert not different, "\n\n".join(different)
    for case in client.cases():
        expected = fails(case) or case in client.fails
        assert ("failed" in found[0][case]) is expected, (case, found[0][case])
        third, rest = divmod(len(requests[case]), len(WAYS))
        assert 0 == rest, (case, len(requests[case]))
        for place, request in enumerate(requests[case][third:]):
            compare_requests(requests[case][place % third], request)


def fails(case: str) -> bool:
    """Whether a case is about a failure."""
    return "error" in case or case == "timeout"


URL: Final = "http://127.0.0.1:8080/v1"
DOCS: Final = (HERE.parents[1] / "docs" / "clients.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The examples of a language in the documentation."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(LANGUAGE not in {"python", "node"}, reason="needs the clients")
async def test_examples_run(tmp_path: Path) -> None:
    said = {**CASES["structured"]["answer"]["json"], "model": "gpt-4o"}
    interpreter, suffix, found = {
        "python": (CLIENTS["python"]["openai 2"].command[0], "py", blocks("python")),
        "node": ("node", "mjs", blocks("js")),
    }[LANGUAGE]
    folder = HERE / "node" if LANGUAGE == "node" else tmp_path  # Node looks for packages there
    async with HttpUpstream() as upstream, base_url(upstream.url, 1) as url:
        await upstream.answer(json_answer(said), always=True)
        for place, block in enumerate(found):
            file = folder / f"example_{place}.{suffix}"
            file.write_text(block.replace(URL, url), "utf-8")
            try:
                process = await asyncio.create_subprocess_exec(
                    interpreter, file, stdout=PIPE, env=ENVIRON
                )
                output, _ = await within(process.communicate(), LONG_TIMEOUT)
            finally:
                file.unlink()
            assert 0 == process.returncode, block
            assert re.search(rb"x\W+1\W+y\W+2", output), (block, output)


@pytest.mark.parametrize(
    ("language", "program"), [("go", "go/main.go"), ("java", "java/src/main/java/Main.java")]
)
def test_examples_are_what_the_programs_do(language: str, program: str) -> None:
    source = re.sub(r"\s+", "", (HERE / program).read_text("utf-8"))
    for block in blocks(language):
        text = re.sub(r"\s+", "", block.replace(f'"{URL}"', "url"))
        for part in re.split(r"(?<=[,(])|(?=\.build)|(?=\))", text):
            assert part in source, block


@pytest.mark.parametrize("hops", [1, 2], ids=WAYS[1:])
async def test_documented_differences(hops: int) -> None:
    assert all(f"`{name}`" in DOCS for name in BEHIND)
    body = b'{"error": {"message": "no", "type": "t", "param": null, "code": null}}'
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        await upstream.answer(json_answer(body, status=400), always=True)
        headers = dict.fromkeys(BEHIND - {"content-length", "transfer-encoding"}, "x")
        headers |= {"x-stainless-lang": "x", "connection": "keep-alive", "authorization": "x y"}
        async with posting(url, PING, headers=headers) as response:
            text = await response.read()
        assert response.headers["x-request-id"]
    assert (hops == 1, json.loads(body)) == (text == body, json.loads(text))
    (request,) = upstream.requests
    kept = {name for name, value in headers.items() if request.headers.get(name) == value}
    assert kept <= {"connection"}
