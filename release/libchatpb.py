"""libchatpb for C and C++: an archive per system, with libraries, headers and what finds them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from release import components
from release.archive import read_folder, write_tar
from release.steps import ROOT, WORK, Step, run
from release.targets import LINUX, cargo, strip
from release.versions import version
from release.wheels import NOTICES


def build(folder: Path, targets: Sequence[str]) -> None:
    """Writes the archives into `folder`."""
    for target in targets:
        name = f"libchatpb-{version()}-{target}"
        laid = WORK / name
        shutil.rmtree(laid, ignore_errors=True)
        _install(_compile(target), laid, target)
        documents = laid / "share" / "doc" / "chatpb"
        documents.mkdir(parents=True)
        shutil.copyfile(ROOT / "LICENSE", documents / "LICENSE")
        shutil.copyfile(ROOT / "polyglot" / "cpp" / "README.md", documents / "README.md")
        notices = components.notices(components.rust("chatpb-abi"))
        (documents / NOTICES).write_bytes(notices)
        paths = {path.relative_to(laid).as_posix(): path for path in laid.rglob("*")}
        links = {key: str(path.readlink()) for key, path in paths.items() if path.is_symlink()}
        write_tar(folder / f"{name}.tar.gz", read_folder(laid), links=links, prefix=f"{name}/")
        shutil.rmtree(laid)


def _compile(target: str) -> Path:
    """Returns the folder of the libraries."""
    environment = cargo(target)
    manifest = ROOT / "native" / "Cargo.toml"
    options = ["--quiet", "--locked", "--release", "--package=chatpb-abi"]
    run(["cargo", "build", *options, f"--manifest-path={manifest}"], environment=environment)
    return Path(environment["CARGO_TARGET_DIR"], target if target in LINUX else "", "release")


def _install(built: Path, laid: Path, target: str) -> None:
    sources = ROOT / "polyglot" / "cpp"
    if sys.platform != "win32":
        command = ["sh", str(sources / "install.sh"), str(built), version(), str(laid)]
        run(command, environment=strip() if target in LINUX else {})
        return
    shutil.copytree(sources / "include", laid / "include")
    for name in ("bin/chatpb.dll", "lib/chatpb.dll.lib", "lib/chatpb.lib"):
        (laid / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(built / Path(name).name, laid / name)


STEP = Step("libchatpb", ["native/abi", "native/core", "native/Cargo.*", "polyglot/cpp"], build)
