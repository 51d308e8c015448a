"""The Maven artifact, in a repository of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from release import components
from release.steps import ROOT, Step, run
from release.wheels import NOTICES

POM: Final = ROOT / "polyglot" / "java" / "pom.xml"
DEPLOY: Final = "org.apache.maven.plugins:maven-deploy-plugin:3.1.4:deploy"
INPUTS: Final = ["polyglot/java", "native/abi", "native/core", "native/Cargo.*", "proto"]


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Compiles the artifact, and deploys it with its sources and its documentation to `folder`."""
    written = ROOT / "build" / "polyglot" / "java-notices" / NOTICES
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_bytes(components.notices(components.rust("chatpb-abi")))
    options = ["--batch-mode", "--quiet", "-DskipTests", f"--file={POM}"]
    repository = f"-DaltDeploymentRepository=dist::{folder.as_uri()}"
    environment = {key: "" for key in ("MAKEFLAGS", "MAKELEVEL") if key in os.environ}
    run(["mvn", *options, "package", DEPLOY, repository], environment=environment)
    # The time of deployment, which nobody needs who names the version.
    for metadata in folder.rglob("maven-metadata.xml*"):
        metadata.unlink()


STEP = Step("maven", INPUTS, build)
