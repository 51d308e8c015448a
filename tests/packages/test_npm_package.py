"""The npm package is installed from its file."""

from __future__ import annotations

import tarfile

from packages.conftest import DIST, SMOKE, Clean


def test_a_new_project_uses_the_package(clean: Clean) -> None:
    (package,) = (DIST / "npm").glob("*.tgz")
    programs = ["node", "npm", "sh", "env"]
    npm = ["npm", "--no-audit", "--no-fund", "--prefer-offline"]
    clean.run("npm", "init", "--yes", programs=programs)
    clean.run(*npm, "install", package, "@bufbuild/protobuf", programs=programs)
    (clean.folder / "smoke.mjs").write_bytes((SMOKE / "smoke.mjs").read_bytes())
    assert "passed\n" == clean.run("node", "smoke.mjs", clean.data, programs=programs)


def test_the_package_is_complete() -> None:
    (package,) = (DIST / "npm").glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"LICENSE", "README.md", "dist/index.js", "dist/index.d.ts", "dist/v1.js"}
    expected |= {"dist/wasm/chatpb.wasm", "dist/wasm/THIRD-PARTY-NOTICES.txt"}
    assert expected - names == set()
    assert not [name for name in names if name.startswith(("test/", "node_modules/", "build/"))]
