"""Programs in C are built against the archive of libchatpb, wherever it was unpacked."""

from __future__ import annotations

import platform
import shutil
import tarfile
from pathlib import Path

import pytest

from packages.conftest import DIST, SMOKE, Clean

COMPILER = ("cc", "ld", "as", "pkg-config")


@pytest.fixture
def unpacked(clean: Clean) -> Path:
    """The archive of this machine, unpacked; next to it the program."""
    (package,) = (DIST / "libchatpb").glob(f"*-{platform.machine()}-*.tar.gz")
    with tarfile.open(package) as archive:
        archive.extractall(clean.folder, filter="data")
    shutil.copyfile(SMOKE / "smoke.c", clean.folder / "smoke.c")
    return clean.folder / package.name.removesuffix(".tar.gz")


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_pkg_config_finds_the_library(clean: Clean, unpacked: Path, static: bool) -> None:
    library = unpacked / "lib"
    paths = {"PKG_CONFIG_PATH": str(library / "pkgconfig"), "LD_LIBRARY_PATH": str(library)}
    asked = ["pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "chatpb"]
    flags = clean.run(*asked, programs=COMPILER, environment=paths).split()
    if static:
        (library / "libchatpb.so").unlink()
        del paths["LD_LIBRARY_PATH"]
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    clean.run("cc", *strict, "smoke.c", "-o", "smoke", *flags, programs=COMPILER, environment=paths)
    assert "passed\n" == clean.run("./smoke", clean.data, environment=paths)


@pytest.mark.skipif(not shutil.which("cmake"), reason="CMake is not installed")
def test_cmake_finds_the_library(clean: Clean, unpacked: Path) -> None:
    shutil.copyfile(SMOKE / "CMakeLists.txt", clean.folder / "CMakeLists.txt")
    programs = (*COMPILER, "cmake", "make", "ar", "ranlib")
    clean.run("cmake", "-B", "built", f"-DCMAKE_PREFIX_PATH={unpacked}", programs=programs)
    clean.run("cmake", "--build", "built", programs=programs)
    assert "passed\n" == clean.run("built/smoke", clean.data)


def test_each_archive_has_its_documents() -> None:
    packages = list((DIST / "libchatpb").glob("*.tar.gz"))
    assert packages
    for package in packages:
        with tarfile.open(package) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        kept = ("LICENSE", "README.md", "THIRD-PARTY-NOTICES.txt")
        documents = {f"share/doc/chatpb/{name}" for name in kept}
        assert {"include/chatpb.h", "lib/libchatpb.a", "lib/libchatpb.so", *documents} <= names
