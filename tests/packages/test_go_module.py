"""The Go module is taken from the files that a proxy would serve."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from packages.conftest import DIST, SMOKE, Clean

MODULE = "github.com/chatpb/chatpb-go"


def test_a_new_module_uses_the_module(clean: Clean) -> None:
    go = shutil.which("go") or "/usr/local/go/bin/go"
    known = subprocess.check_output([go, "env", "GOPROXY", "GOMODCACHE", "GOCACHE"], text=True)
    proxy, modules, built = known.split()
    # Everything but chatpb is taken from the caches of this machine.
    _forget(Path(modules))
    environment = {
        "CGO_ENABLED": "0",
        "GOCACHE": built,
        "GODEBUG": "goindex=0",  # Go's index of a module expects that a version never changes
        "GOFLAGS": "-mod=mod -modcacherw",
        "GOMODCACHE": modules,
        "GONOSUMDB": MODULE,
        "GOPROXY": f"file://{DIST / 'go'},{proxy}",
        "GOTOOLCHAIN": "local",
    }
    clean.run(go, "mod", "init", "example.com/smoke", environment=environment)
    (clean.folder / "main.go").write_bytes((SMOKE / "main.go").read_bytes())
    clean.run(go, "get", f"{MODULE}@latest", environment=environment)
    clean.run(go, "vet", ".", environment=environment)
    clean.run(go, "build", "-o", "smoke", ".", environment=environment)
    assert "passed\n" == clean.run(clean.folder / "smoke", clean.data)
    _forget(Path(modules))


def _forget(modules: Path) -> None:
    """Removes the module, in any version, from the cache of modules."""
    shutil.rmtree(modules / "cache" / "download" / MODULE, ignore_errors=True)
    for folder in modules.glob(f"{MODULE}@*"):
        shutil.rmtree(folder)
