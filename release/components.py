"""What each package is made of or needs: names, versions and licences, from the lock files."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from release.steps import ROOT

GO: Final = next(filter(os.path.exists, ["/usr/local/go/bin/go"]), "go")


@dataclass(frozen=True, order=True)
class Component:
    """One package of somebody else's.

    Attributes:
        name: as its registry spells it.
        version: the one that the lock file names.
        purl: its package URL.
        license: an SPDX expression, or "" where only a look at the package would tell.
        folder: where its source is, if it is on this machine.
    """

    name: str
    version: str
    purl: str
    license: str = ""
    folder: Path | None = None


def rust(package: str) -> list[Component]:
    """Returns the crates that are compiled into a package of native/, on any system."""
    metadata = _cargo_metadata()
    packages = {found["id"]: found for found in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    (waiting,) = [[key] for key, found in packages.items() if found["name"] == package]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            ordinary = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            runs_in_compiler = _is_macro(packages[dependency["pkg"]])
            if ordinary and not runs_in_compiler and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return sorted(_crate(packages[key]) for key in seen if packages[key]["source"])


@functools.cache
def _cargo_metadata() -> Any:
    manifest = ROOT / "native" / "Cargo.toml"
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--manifest-path={manifest}"]
    return json.loads(subprocess.check_output(command))


def _is_macro(found: dict[str, Any]) -> bool:
    return any("proc-macro" in target["kind"] for target in found["targets"])


def _crate(found: dict[str, Any]) -> Component:
    purl = f"pkg:cargo/{found['name']}@{found['version']}"
    expression = (found["license"] or "").replace("/", " OR ")
    return Component(
        found["name"], found["version"], purl, expression, Path(found["manifest_path"]).parent
    )


def python(package: str = "chatpb") -> list[Component]:
    """Returns what a distribution needs without its extras, in the versions of uv.lock."""
    locked = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    versions = {found["name"]: found for found in locked}
    names: set[str] = set()
    waiting = [package]
    while waiting:
        for dependency in versions[waiting.pop()].get("dependencies", []):
            if dependency["name"] not in names:
                names.add(dependency["name"])
                waiting.append(dependency["name"])
    return [_versioned("pypi", name, versions[name]["version"]) for name in sorted(names)]


def npm(package: Path) -> list[Component]:
    """Returns what an npm package needs when it runs, in the versions of its package-lock.json."""
    locked = json.loads((package / "package-lock.json").read_text("utf-8"))["packages"]
    found = []
    for path, entry in sorted(locked.items()):
        if path and not entry.get("dev") and not entry.get("link"):
            name = path.rpartition("node_modules/")[2]
            purl = f"pkg:npm/{name.replace('@', '%40')}@{entry['version']}"
            found.append(Component(name, entry["version"], purl, entry.get("license", "")))
    return found


def go(module: Path) -> list[Component]:
    """Returns the modules whose packages a Go module imports, without those of its tests."""
    form = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}"
    command = [GO, "list", "-deps", "-f", form, "./..."]
    lines = set(subprocess.check_output(command, cwd=module, text=True).split("\n")) - {""}
    return [_versioned("golang", *line.split()) for line in sorted(lines)]


def maven(pom: Path) -> list[Component]:
    """Returns what a Maven artifact needs when it is compiled against and runs."""
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:list"
    command = ["mvn", "--batch-mode", f"--file={pom}", plugin, "-DincludeScope=runtime"]
    shown = subprocess.check_output(command, text=True)
    lines = re.findall(
        r"(?m)^\[INFO\] +([\w.-]+):([\w.-]+):jar:([\w.-]+):(?:compile|runtime)", shown
    )
    return [
        _versioned("maven", f"{group}/{name}", version) for group, name, version in sorted(lines)
    ]


def _versioned(kind: str, name: str, version: str) -> Component:
    return Component(name, version, f"pkg:{kind}/{name}@{version}")


def notices(components: Sequence[Component]) -> bytes:
    """Returns the text that must go with a package into which `components` are compiled."""
    texts: dict[str, list[str]] = {}
    for component in components:
        found = list(_license_texts(component))
        # The text of the Apache License goes with every package anyway, as LICENSE.
        assert found or "Apache-2.0" in component.license, component
        for text in found:
            texts.setdefault(text, []).append(f"{component.name} {component.version}")
    lines = ["Compiled into this package, besides chatpb itself (see LICENSE):", ""]
    lines += [f"  {one.name} {one.version}: {one.license}" for one in components]
    lines += ["  the standard library of Rust: MIT OR Apache-2.0", ""]
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        lines += ["-" * 80, f"The licence of {', '.join(names)}:", "", text, ""]
    return "\n".join(lines).encode()


def _license_texts(component: Component) -> Iterator[str]:
    assert component.folder, component
    names = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")
    for path in sorted(component.folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(names):
            lines = path.read_text("utf-8").splitlines()
            yield "\n".join(line.rstrip() for line in lines).strip("\n")
