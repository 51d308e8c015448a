"""The systems that packages with compiled code are built for, and how cargo builds for them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from release.steps import ROOT, WORK, run

#: The oldest GNU C library that the packages for Linux run with; Rust needs it anyway.
GLIBC: Final = (2, 17)
#: Where the source package is unpacked, of which wheels are made.
SOURCES: Final = WORK / "sources"
#: Targets of Rust to the platforms of wheels, and what zig calls them.
LINUX: Final = {
    "x86_64-unknown-linux-gnu": ("manylinux_2_17_x86_64", "x86_64-linux-gnu"),
    "aarch64-unknown-linux-gnu": ("manylinux_2_17_aarch64", "aarch64-linux-gnu"),
}


def chosen(everything: bool) -> list[str]:
    """Returns the target of this machine, or all that can be built here."""
    if sys.platform != "linux":
        shown = subprocess.check_output(["rustc", "-vV"], text=True)
        return re.findall(r"(?m)^host: (.*)$", shown)
    if everything:
        return sorted(LINUX)
    return [f"{platform.machine()}-unknown-linux-gnu"]


def cargo(target: str) -> dict[str, str]:
    """Returns the environment in which cargo builds for a target, the same bytes in any folder.

    Args:
        target: one of `LINUX`, or what cargo takes on this machine.
    """
    home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    # The same for all packages, so that they share what cargo has built. The last that fits counts.
    folders = {str(ROOT): "/chatpb", str(SOURCES): "/chatpb", home: "/cargo"}
    remap = [f"--remap-path-prefix={folder}={name}" for folder, name in folders.items()]
    environment = {
        "CARGO_TARGET_DIR": str(ROOT / "native" / "target"),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(remap),
    }
    if target not in LINUX:
        return environment
    if shutil.which("rustup"):
        run(["rustup", "target", "add", target], cwd=ROOT / "native")
    zig = f"{LINUX[target][1]}.{GLIBC[0]}.{GLIBC[1]}"
    name = target.upper().replace("-", "_")
    return {
        **environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CARGO_BUILD_TARGET": target,
        f"CARGO_TARGET_{name}_LINKER": str(ROOT / "release" / "zig-linker"),
        "CHATPB_ZIG_TARGET": zig,
        "CARGO_ZIGBUILD_CACHE_DIR": str(WORK / "zig"),
    }


def strip() -> dict[str, str]:
    """Returns the environment with a strip that knows the formats of all systems: Rust's LLVM."""
    root = Path(subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip())
    (tool,) = root.glob("lib/rustlib/*/bin/rust-objcopy")
    link = WORK / "llvm-strip"  # the name is what makes it strip
    WORK.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tool)
    return {"STRIP": str(link), "LD_LIBRARY_PATH": str(root / "lib")}


def without_compilers() -> str:
    """Returns a PATH with the system's ordinary commands, but without cargo."""
    kept: Sequence[str] = [part for part in ("/usr/bin", "/bin") if Path(part).is_dir()]
    return os.pathsep.join(kept)
