"""The manifests for Kubernetes: what Kustomize builds of them is valid, and starts a relay."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from trustme import CA

from chatpb_server.access.tokens import new_token
from chatpb_server.core.limits import Limits
from support.certificates import HOST, chain
from support.limits import TIMEOUT
from support.relay_process import finish, start

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPONENTS: Final = {
    "http": DEPLOY / "components" / "http",
    "mesh": DEPLOY / "components" / "mesh",
    "autoscale": DEPLOY / "components" / "autoscale",
    "records": DEPLOY / "components" / "records",
    "monitoring": DEPLOY / "monitoring",
}
CHOICES: Final = ((), *((name,) for name in COMPONENTS), tuple(COMPONENTS))
FOLDER: Final = "/etc/chatpb-server"
MEGABYTE: Final = 1000 * 1000
GIBIBYTE: Final = 2**30
#: The program, which `make test-deploy` installs and names.
KUSTOMIZE: Final = os.environ.get("CHATPB_KUSTOMIZE")

needs_kustomize = pytest.mark.skipif(not KUSTOMIZE, reason="make test-deploy runs it")


def build(folder: Path) -> list[Any]:
    """What Kustomize builds of a folder."""
    command = (str(KUSTOMIZE), "build", folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (0, "") == (done.returncode, done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def overlay(folder: Path, *components: str) -> list[Any]:
    """What is built with some of the components."""
    place = folder / "overlay"
    place.mkdir()
    value = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(DEPLOY, place.resolve())],
        "components": [os.path.relpath(COMPONENTS[name], place.resolve()) for name in components],
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(value))
    return build(place)


def by_kind(objects: list[Any]) -> dict[str, Any]:
    """The objects by their kinds, or by kind and name where there are several."""
    return {one["kind"]: one for one in objects} | {
        f"{one['kind']}/{one['metadata']['name']}": one for one in objects
    }


def container(objects: list[Any]) -> Any:
    [found] = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def mount(volume: Any, found: dict[str, Any], mounted: Path) -> Path:
    """The folder with the settings, as the pod has it."""
    leaf = CA().issue_cert(HOST)
    files = {
        "chatpb-relay": {
            "openai.key": b"key",
            "tokens.txt": new_token("alice")[1].encode(),
        },
        "chatpb-relay-tls": {"tls.crt": chain(leaf), "tls.key": leaf.private_key_pem.bytes()},
    }
    mounted.mkdir()
    for source in volume["projected"]["sources"]:
        [(kind, reference)] = source.items()
        name = reference["name"]
        if kind == "configMap":
            config = found[f"ConfigMap/{name}"]["data"]
            files[name] = {file: text.encode() for file, text in config.items()}
        for file, data in files[name].items():
            (mounted / file).write_bytes(data)
    return mounted


@needs_kustomize
@pytest.mark.parametrize("components", CHOICES, ids=lambda names: "+".join(names) or "base")
async def test_what_is_built_starts_a_relay(components: tuple[str, ...], tmp_path: Path) -> None:
    objects = overlay(tmp_path, *components)
    found = by_kind(objects)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [box] = pod["containers"]
    mounted = mount(pod["volumes"][0], found, tmp_path / "mounted")
    arguments = [
        one.replace(FOLDER, str(mounted)).replace("/var/lib", str(tmp_path)) for one in box["args"]
    ]
    code, output, errors = await finish(await start(*arguments, "--check-config"))
    assert (0, "") == (code, errors)
    overview, _, _ = output.partition("\n\n")
    listened = {int(port) for port in re.findall(r"0\.0\.0\.0:(\d+)", overview)}
    ports = {port["name"]: port["containerPort"] for port in box["ports"]}
    assert listened == set(ports.values())
    assert ("with TLS" in overview) == ("mesh" not in components)
    for service in (one for one in objects if one["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["targetPort"]]
    allowed = {
        port["port"] for rule in found["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]
    }
    assert ports.keys() == allowed
    probes = [box[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    asked = {next(key for key in probe if key in ("exec", "httpGet", "grpc")) for probe in probes}
    kind = "grpc" if "mesh" in components else "httpGet" if "http" in components else "exec"
    assert {kind} == asked
    mounts = {mount["name"] for mount in box["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@needs_kustomize
@pytest.mark.parametrize("components", [(), tuple(COMPONENTS)], ids=["base", "all"])
def test_kubernetes_takes_what_is_built(components: tuple[str, ...], tmp_path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="make test-deploy installs it")
    for one in overlay(tmp_path, *components):
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):
            validate.validate(one, "1.37", strict=True)


@needs_kustomize
def test_the_example() -> None:
    found = by_kind(build(ROOT / "examples" / "kubernetes"))
    kinds = {"HorizontalPodAutoscaler", "PersistentVolumeClaim", "PodMonitor", "PrometheusRule"}
    assert kinds < found.keys()
    assert {"chatpb"} == {one["metadata"]["namespace"] for one in found.values()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    image = f"registry.example/chatpb-server:{project['version']}"
    assert image == container([found["Deployment"]])["image"]
    assert "replicas" not in found["Deployment"]["spec"]
    dashboard = found["ConfigMap/chatpb-relay-dashboard"]
    assert {"grafana_dashboard": "1"} == dashboard["metadata"]["labels"]
    text = (DEPLOY / "monitoring" / "grafana-dashboard.json").read_text()
    assert {"chatpb-relay.json": text} == dashboard["data"]


def test_the_rules_for_the_operator_are_those_for_prometheus() -> None:
    rule, plain = (
        yaml.safe_load((DEPLOY / "monitoring" / name).read_text())
        for name in ("prometheus-rule.yaml", "alerts.yaml")
    )
    assert plain == rule["spec"]


def test_the_configuration_in_a_mesh_is_the_same_without_tls() -> None:
    usual = tomllib.loads((DEPLOY / "chatpb-server.toml").read_text())
    mesh = tomllib.loads((DEPLOY / "components" / "mesh" / "chatpb-server.toml").read_text())
    for name in ("tls", "metrics", "workers"):  # what the manifest sets, or is so anyway
        usual.pop(name, None)
    assert usual == mesh


def test_the_memory_is_enough_by_the_rule_of_the_settings() -> None:
    objects = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    text = container(objects)["resources"]["limits"]["memory"]
    assert text.endswith("Gi")
    config = tomllib.loads((DEPLOY / "chatpb-server.toml").read_text())
    limits = Limits(**config["limits"])
    pod = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]
    [shared] = [v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v]
    assert "64Mi" == shared
    needed = (
        70 * MEGABYTE
        + 1.2 * limits.held_bytes
        + limits.max_message_bytes
        + limits.max_running * MEGABYTE
        + 64 * 2**20
    )
    assert needed <= int(text.removesuffix("Gi")) * GIBIBYTE
