"""Lists of components in CycloneDX's JSON, validated: one in dist/sbom for each package."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component as Entry
from cyclonedx.model.component import ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from release import components
from release.archive import EPOCH
from release.components import Component
from release.steps import ROOT, Step
from release.versions import version


def document(purl: str, needed: Sequence[Component]) -> bytes:
    """Returns the list of what a package is made of or needs.

    Args:
        purl: the package, as a package URL without a version.
        needed: its components.
    """
    parsed = PackageURL.from_string(purl)
    main = Entry(
        name=f"{parsed.namespace}/{parsed.name}" if parsed.namespace else parsed.name,
        version=version(),
        type=ComponentType.LIBRARY,
        purl=PackageURL.from_string(f"{purl}@{version()}"),
        bom_ref=f"{purl}@{version()}",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    entries = [_entry(component) for component in needed]
    when = datetime.fromtimestamp(EPOCH, UTC)
    bom = Bom(components=entries, metadata=BomMetaData(component=main, timestamp=when))
    bom.register_dependency(main, entries)
    names = " ".join(component.purl for component in needed)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{purl}@{version()} {names}")
    text = str(JsonV1Dot6(bom).output_as_string(indent=2))
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        sys.exit(f"the list of {purl} is not valid: {error}")
    return text.encode() + b"\n"


def _entry(component: Component) -> Entry:
    named = component.license
    return Entry(
        name=component.name,
        version=component.version,
        type=ComponentType.LIBRARY,
        purl=PackageURL.from_string(component.purl),
        bom_ref=component.purl,
        licenses=[LicenseFactory().make_from_string(named)] if named else [],
    )


def build(folder: Path, _targets: Sequence[str]) -> None:
    """Writes the lists into `folder`."""
    lists = {
        "python": ("pkg:pypi/chatpb", [*components.python(), *components.rust("chatpb-native")]),
        "crate": ("pkg:cargo/chatpb", components.rust("chatpb")),
        "libchatpb": ("pkg:generic/libchatpb", components.rust("chatpb-abi")),
        "maven": (
            "pkg:maven/io.github.chatpb/chatpb",
            [*components.maven(ROOT / "polyglot/java/pom.xml"), *components.rust("chatpb-abi")],
        ),
        "npm": ("pkg:npm/chatpb", components.npm(ROOT / "polyglot/typescript")),
        "go": ("pkg:golang/github.com/chatpb/chatpb-go", components.go(ROOT / "polyglot/go")),
    }
    for name, (purl, needed) in lists.items():
        (folder / f"{name}.cdx.json").write_bytes(document(purl, needed))


INPUTS = ["pyproject.toml", "uv.lock", "native/**/Cargo.toml", "native/Cargo.*"]
STEP = Step(
    "sbom",
    [*INPUTS, "polyglot/typescript/package-lock.json", "polyglot/java/pom.xml", "polyglot/go"],
    build,
)
