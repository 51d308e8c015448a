"""The Go module, as the files that a module proxy serves: GOPROXY=file:///.../dist/go."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from release.archive import EPOCH, write_zip
from release.steps import ROOT, Step, contents
from release.versions import version

MODULE = "github.com/chatpb/chatpb-go"
SOURCES = "polyglot/go"


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Writes the module's zip file, its go.mod and its description below `folder`."""
    tag = f"v{version()}"
    served = folder / MODULE / "@v"
    served.mkdir(parents=True)
    write_zip(served / f"{tag}.zip", contents(SOURCES, f"{MODULE}@{tag}/"))
    (served / f"{tag}.mod").write_bytes((ROOT / SOURCES / "go.mod").read_bytes())
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    (served / f"{tag}.info").write_text(json.dumps({"Version": tag, "Time": when}) + "\n")
    (served / "list").write_text(f"{tag}\n")


STEP = Step("go", [SOURCES, "pyproject.toml"], build)
