"""libchatpb for C and C++: an archive per system, with libraries, headers and what finds them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from release import components
from release.archive import read_folder, write_tar
from release.steps import ROOT, WORK, Step, run
from release.targets import LINUX, cargo, strip
from release.versions import version
from release.wheels import NOTICES


def build(folder: Path, targets: Sequence[str]) -> None:
    """Writes the archives into `folder`; install.sh lays out what is in them."""
    for target in targets:
        environment = cargo(target)
        manifest = ROOT / "native" / "Cargo.toml"
        options = ["--quiet", "--locked", "--release", "--package=chatpb-abi"]
        run(["cargo", "build", *options, f"--manifest-path={manifest}"], environment=environment)
        built = Path(environment["CARGO_TARGET_DIR"], target if target in LINUX else "", "release")
        name = f"libchatpb-{version()}-{target}"
        laid = WORK / name
        shutil.rmtree(laid, ignore_errors=True)
        install = [
            "sh",
            str(ROOT / "polyglot" / "cpp" / "install.sh"),
            str(built),
            version(),
            str(laid),
        ]
        run(install, environment=strip() if target in LINUX else {})
        licences = {"LICENSE": (ROOT / "LICENSE").read_bytes()}
        licences[NOTICES] = components.notices(components.rust("chatpb-abi"))
        licences = {f"share/doc/chatpb/{key}": text for key, text in licences.items()}
        links = {
            path.relative_to(laid).as_posix(): str(path.readlink())
            for path in laid.rglob("*")
            if path.is_symlink()
        }
        files = {**read_folder(laid), **licences}
        write_tar(folder / f"{name}.tar.gz", files, links=links, prefix=f"{name}/")
        shutil.rmtree(laid)


STEP = Step("libchatpb", ["native/abi", "native/core", "native/Cargo.*", "polyglot/cpp"], build)
