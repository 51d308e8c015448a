"""What is shipped in `deploy`, as far as it can be tried without a service manager or a cluster."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from trustme import CA

from support.certificates import HOST, chain
from support.limits import TIMEOUT
from support.log_files import keys_file
from support.relay_process import end, finish, listening, start

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONFIG = DEPLOY / "chatpb-server.toml"
UNIT = DEPLOY / "chatpb-server.service"
FOLDER = "/etc/chatpb-server"
SCRIPT = "chatpb-server"
GRACE = tomllib.loads(CONFIG.read_text())["grace"]
PROBES = ("startup", "readiness", "liveness")
#: How many seconds, beside the grace, a relay may need to end.
MARGIN = 15


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the configuration names, and itself."""
    leaf = CA().issue_cert(HOST)
    (tmp_path / "tls.crt").write_bytes(chain(leaf))
    (tmp_path / "tls.key").write_bytes(leaf.private_key_pem.bytes())
    (tmp_path / "openai.key").write_text("key\n")
    script = Path(sys.executable).with_name(SCRIPT)
    made = subprocess.run((script, "token", "alice"), capture_output=True, text=True, check=True)
    (tmp_path / "tokens.txt").write_text(made.stdout)
    keys_file(tmp_path / "record-keys.txt", "k1")
    (tmp_path / CONFIG.name).write_bytes(CONFIG.read_bytes())
    return tmp_path


async def checked(*arguments: object) -> str:
    """What the command says of settings that have no mistake."""
    code, output, errors = await finish(await start(*arguments, "--check-config"))
    assert (0, "") == (code, errors)
    return output


def unit() -> dict[str, list[str]]:
    """The values of each name in the unit."""
    values = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            values[name].append(value)
    return values


def manifests() -> dict[str, Any]:
    """The objects for Kubernetes, by their kinds."""
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {manifest["kind"]: manifest for manifest in found}


def pod() -> Any:
    return manifests()["Deployment"]["spec"]["template"]["spec"]


def seconds_before_stop(pod: Any) -> int:
    """How long Kubernetes waits before it sends SIGTERM."""
    [container] = pod["containers"]
    sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert "sleep" == sleep
    return int(seconds)


async def test_the_configuration_has_no_mistake(folder: Path) -> None:
    actual = await checked("--config", folder / CONFIG.name)
    openai = f"https://api.openai.com/v1 with a key from {folder}/openai.key; models gpt-* o*"
    assert f"listen           0.0.0.0:50051, with TLS, tokens from {folder}/tokens.txt" in actual
    assert f"upstream openai  {openai}; weight 1\n" in actual


async def test_nor_has_what_is_commented_out(folder: Path) -> None:
    text = CONFIG.read_text()
    before, _, after = text.partition("# [upstreams.azure]")
    azure, _, rest = after.partition("\n\n")
    text = before + "[upstreams.azure]" + azure.replace("\n# ", "\n") + "\n\n" + rest
    before, _, after = text.partition("# [record]")
    record, _, rest = after.partition("\n\n")
    record = record.replace("\n# ", "\n").replace("/var/lib/chatpb-server", str(folder))
    text = before + "[record]" + record + "\n\n" + rest
    (folder / CONFIG.name).write_text(text)
    (folder / "azure.key").write_text("key\n")
    actual = await checked("--config", folder / CONFIG.name)
    url = "https://example.openai.azure.com/openai/deployments/gpt"
    key = f"with a key from {folder}/azure.key"
    assert f"upstream azure   {url} {key}; models gpt-*; weight 0.5\n" in actual
    full = "when 67108864 bytes are queued, records are dropped"
    log = f"{folder}/records, encrypted with the last key of {folder}/record-keys.txt"
    assert f"record           {log}, sync: interval; {full}; cluster=a\n" in actual


async def test_the_unit_starts_a_relay(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its credentials are all that the configuration needs."""
    credentials = tmp_path_factory.mktemp("credentials")
    for value in unit()["LoadCredential"]:
        name, _, source = value.partition(":")
        assert f"{FOLDER}/{name}" == source
        shutil.copy(folder / name, credentials)
    [command] = unit()["ExecStart"]
    program, *arguments = shlex.split(command)
    assert SCRIPT == Path(program).name
    await checked(*(a.replace("${CREDENTIALS_DIRECTORY}", str(credentials)) for a in arguments))


def test_the_unit_can_be_reloaded() -> None:
    assert ["/bin/kill -HUP $MAINPID"] == unit()["ExecReload"]


def test_the_unit_lets_calls_finish() -> None:
    assert ["SIGTERM"] == unit()["KillSignal"]
    [seconds] = unit()["TimeoutStopSec"]
    assert int(seconds) >= GRACE + MARGIN


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    script = str(Path(sys.executable).with_name(SCRIPT))
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={script}", UNIT.read_text()))
    command = ("systemd-analyze", "verify", "--man=no", path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (0, []) == (done.returncode, complaints)


async def test_the_pods_start_a_relay(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their volume has all that the configuration needs."""
    files = {
        "configMap": {"chatpb-relay": [CONFIG.name]},
        "secret": {
            "chatpb-relay": ["openai.key", "tokens.txt"],
            "chatpb-relay-tls": ["tls.crt", "tls.key"],
        },
    }
    mounted = tmp_path_factory.mktemp("mounted")
    [container] = pod()["containers"]
    settings, _ = pod()["volumes"]
    for source in settings["projected"]["sources"]:
        [(kind, reference)] = source.items()
        for name in files[kind][reference["name"]]:
            shutil.copy(folder / name, mounted)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert FOLDER == mounts[settings["name"]]
    actual = await checked(*(a.replace(FOLDER, str(mounted)) for a in container["args"]))
    overview, _, _ = actual.partition("\n\n")
    listen = re.findall(r"0\.0\.0\.0:(\d+)", overview)
    assert listen == [str(port["containerPort"]) for port in container["ports"]]


def test_kubernetes_lets_calls_finish() -> None:
    least = seconds_before_stop(pod()) + GRACE + MARGIN
    assert pod()["terminationGracePeriodSeconds"] >= least


def test_the_manifests_belong_together() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    [spread] = pod()["topologySpreadConstraints"]
    assert [labels] * 5 == [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
def test_kustomize_adds_the_configuration() -> None:
    command = ("kubectl", "kustomize", DEPLOY)
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (0, "") == (done.returncode, done.stderr)
    built = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    assert {*manifests(), "ConfigMap"} == built.keys()
    assert {CONFIG.name: CONFIG.read_text()} == built["ConfigMap"]["data"]
    volumes = built["Deployment"]["spec"]["template"]["spec"]["volumes"]
    name = volumes[0]["projected"]["sources"][0]["configMap"]["name"]
    assert built["ConfigMap"]["metadata"]["name"] == name


def test_the_image_is_made_of_what_is_here() -> None:
    """There may be no Docker; then at least the names are right."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert [] == [name for name in kept if not (ROOT / name).exists()]
    text = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"(?m)^COPY (?:--\S+ )*(\S+) \S+$", text)
    assert ["."] == copied
    assert {".", *kept} >= set(copied)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert [SCRIPT] == re.findall(r'(?m)^ENTRYPOINT \["(.+)"\]$', text)
    assert SCRIPT in scripts
    assert [SCRIPT] == re.findall(
        r'(?m)^HEALTHCHECK .* CMD \["(.+?)", "check", "--no-verify"\]$', text
    )
    assert [f"{FOLDER}/{CONFIG.name}"] == re.findall(r'(?m)^CMD \["--config", "(.+)"\]$', text)
    assert ["SIGTERM"] == re.findall(r"(?m)^STOPSIGNAL (\w+)$", text)


async def test_the_probe_with_the_shipped_configuration(folder: Path) -> None:
    free = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-level", "error")
    [container] = pod()["containers"]
    probes = [container[f"{name}Probe"]["exec"]["command"] for name in PROBES]
    assert [probes[0]] * len(PROBES) == probes
    [program, *arguments] = probes[0]
    assert SCRIPT == program
    process = await start("--config", folder / CONFIG.name, *free)
    try:
        address = await listening(process)
        assert (0, "") == await probe(*arguments, address)
        code, errors = await probe("check", address)
        assert (1, True) == (code, errors.startswith(f"{SCRIPT}: {address}: "))
    finally:
        await end(process)


async def probe(*arguments: str) -> tuple[int | None, str]:
    """The exit code and the error of the probe."""
    code, _, errors = await finish(await start(*arguments))
    return code, errors
