"""Adds to wheels what must go with compiled code: `python -m release.wheels FILE ...`."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import sys
import zipfile
from pathlib import Path

from release import components, sbom
from release.archive import write_zip

NOTICES = "THIRD-PARTY-NOTICES.txt"
EXTENSIONS = (".so", ".pyd")


def finish(wheel: Path) -> None:
    """Adds licences and list of components of compiled code; makes the bytes reproducible."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (record,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    info = record.rpartition("/")[0]
    compiled = frozenset(name for name in files if name.endswith(EXTENSIONS))
    if compiled:
        crates = components.rust("chatpb-native")
        listed = sbom.document("pkg:pypi/chatpb", crates)
        files[f"{info}/licenses/{NOTICES}"] = components.notices(crates)
        files[f"{info}/sboms/chatpb.cdx.json"] = listed
        field = b"License-File: LICENSE\n"
        named = field + f"License-File: {NOTICES}\n".encode()
        metadata = files[f"{info}/METADATA"]
        assert field in metadata, wheel
        if named not in metadata:
            files[f"{info}/METADATA"] = metadata.replace(field, named, 1)
    files[record] = _record(files, record)
    write_zip(wheel, files, compiled)


def _record(files: dict[str, bytes], record: str) -> bytes:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if name != record:
            writer.writerow([name, f"sha256={digest}", len(content)])
    writer.writerow([record, "", ""])
    return rows.getvalue().encode()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        finish(Path(argument))
