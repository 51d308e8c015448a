"""The Maven artifact is taken from the repository of files."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from packages.conftest import DIST, SMOKE, Clean

ARTIFACT = DIST / "maven" / "io" / "github" / "chatpb" / "chatpb"


def _version() -> str:
    (pom,) = ARTIFACT.glob("*/*.pom")
    return pom.parent.name


def test_a_new_project_uses_the_artifact(clean: Clean) -> None:
    sources = clean.folder / "src" / "main" / "java"
    sources.mkdir(parents=True)
    shutil.copyfile(SMOKE / "Smoke.java", sources / "Smoke.java")
    pom = (SMOKE / "pom.xml").read_text("utf-8")
    pom = pom.replace("@VERSION@", _version()).replace("@REPOSITORY@", (DIST / "maven").as_uri())
    (clean.folder / "pom.xml").write_text(pom, "utf-8")
    programs = ("mvn", "java", "javac", "sh", "uname", "dirname", "basename", "expr", "ls")
    mvn = ["mvn", "--batch-mode", "--quiet", f"-Dmaven.repo.local={_copied(clean.folder)}"]
    run = ["compile", "exec:java", "-Dexec.mainClass=Smoke", f"-Dexec.args={clean.data}"]
    assert "passed" in clean.run(*mvn, *run, programs=programs)


def _copied(folder: Path) -> Path:
    """Returns a copy of this machine's repository without chatpb, which may be installed there."""
    local, copy = Path.home() / ".m2" / "repository", folder / "repository"
    if local.is_dir():
        shutil.copytree(local, copy, copy_function=os.link, ignore=_all_of_chatpb)
    return copy


def _all_of_chatpb(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "chatpb" and folder.endswith("/io/github")]


def test_the_artifact_is_complete() -> None:
    files = {path.name.partition(_version())[2] for path in ARTIFACT.rglob("*") if path.is_file()}
    assert {".jar", "-sources.jar", "-javadoc.jar", ".pom"} <= files
    with zipfile.ZipFile(ARTIFACT / _version() / f"chatpb-{_version()}.jar") as jar:
        names = set(jar.namelist())
    assert {"META-INF/LICENSE", "META-INF/THIRD-PARTY-NOTICES.txt"} <= names
    assert "com/chatpb/OpenAiJson.class" in names
    assert "com/chatpb/v1/ChatCompletion.class" in names
