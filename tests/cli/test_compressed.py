"""Files that are compressed with gzip or zstd, and files of formats that are only named."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from chatpb.log import LogWriter
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.table_files import REQUEST, chunk, compacted, completion, found, lines, printed, sse

Compress = Callable[[bytes], bytes]

LINES = lines(completion(1), completion(2)).encode()
STREAM = [chunk("a", "po"), chunk("a", "ng")]

ways = pytest.mark.parametrize(
    ("compress", "ending"),
    [
        pytest.param(gzip.compress, ".gz", id="gzip"),
        pytest.param(zstandard.compress, ".zst", id="zstd"),
    ],
)


@ways
@pytest.mark.parametrize("by_name", [True, False], ids=["file", "stdin"])
@pytest.mark.parametrize("command", ["to-json", "to-binary", "roundtrip", "inspect", "fold"])
def test_every_command_reads_them(
    command: str, by_name: bool, compress: Compress, ending: str, tmp_path: Path
) -> None:
    data = sse(*STREAM).encode() if command == "fold" else LINES
    suffix = ".sse" if command == "fold" else ".jsonl"
    (tmp_path / f"a{suffix}").write_bytes(data)
    (tmp_path / f"a{suffix}{ending}").write_bytes(compress(data))
    results = []
    for name, content in ((f"a{suffix}", data), (f"a{suffix}{ending}", compress(data))):
        result = run(command, tmp_path / name if by_name else "-", stdin=content)
        results.append((result.exit_code, result.stdout.replace(name, "NAME"), result.stderr))
    assert results[0] == results[1]
    assert (0, "") == (results[0][0], results[0][2])


@ways
def test_compact(compress: Compress, ending: str, tmp_path: Path) -> None:
    source, table = tmp_path / "in", tmp_path / "table"
    source.mkdir()
    (source / f"a.jsonl{ending}").write_bytes(compress(LINES))
    (source / f"b.json{ending}").write_bytes(compress(json.dumps(completion(3), indent=1).encode()))
    (source / f"b.request.json{ending}").write_bytes(compress(json.dumps(REQUEST).encode()))
    (source / f"c.sse{ending}").write_bytes(compress(sse(*STREAM).encode()))
    assert compacted(source, table).startswith("4 records, ")
    assert [
        {"completion": completion(1)},
        {"completion": completion(2)},
        {"request": REQUEST, "completion": completion(3)},
        {"chunks": STREAM},
    ] == found(table)
    assert "nothing new\n" == compacted(source, table)
    (source / f"a.jsonl{ending}").rename(source / f"z.jsonl{ending}")
    assert "nothing new\n" == compacted(source, table)


@ways
def test_one_after_the_other(compress: Compress, ending: str, tmp_path: Path) -> None:
    """As `cat a.gz b.gz` makes them, with the zeros that fill a block."""
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(b"".join(compress(line + b"\n") for line in LINES.split(b"\n")) + b"\0" * 600)
    assert [completion(1), completion(2)] == printed("to-json", path)


@ways
@pytest.mark.parametrize("skip", [False, True], ids=["refused", "skipped"])
def test_an_end_that_is_missing_is_noticed(
    skip: bool, compress: Compress, ending: str, tmp_path: Path
) -> None:
    """Wherever the file is cut."""
    whole = compress(LINES)
    path, table = tmp_path / f"a.jsonl{ending}", tmp_path / "table"
    for size in {8, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        result = run("compact", *["--skip-damage"] * skip, path, table)
        assert (0 if skip else 1) == result.exit_code
        what = {".gz": "gzip", ".zst": "zstd"}[ending]
        said = "note: left out" if skip else "error"
        assert f"chatpb: {said}: {path}: cut {what}: the file ends too early\n" == result.stderr
        shutil.rmtree(table)


@ways
def test_damage_is_noticed(compress: Compress, ending: str, tmp_path: Path) -> None:
    data = bytearray(compress(json.dumps(completion()).encode()))
    data[-6 if ending == ".gz" else 20] ^= 0xFF
    path = tmp_path / f"a.json{ending}"
    path.write_bytes(data)
    result = run("to-json", path)
    assert (1, True) == (result.exit_code, f"{path}: damaged " in result.stderr)


@ways
def test_what_it_decompresses_to_is_bounded(
    compress: Compress, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.json{ending}"
    path.write_bytes(compress(b" " * (8 << 20)))
    result = run("to-json", "--max-size", "1", path)
    assert (1, True) == (result.exit_code, "longer than the 1048576 bytes" in result.stderr)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(bz2.compress(LINES), "bzip2, which is not read", id="bzip2"),
        pytest.param(lzma.compress(LINES), "xz, which is not read", id="xz"),
        pytest.param(b"PK\3\4 and more", "a ZIP archive, which is not read", id="zip"),
        pytest.param(b"PAR1 and more", "Parquet, which is not read", id="parquet"),
        pytest.param(b"a,b\n1,2\n", "not JSON: $ (byte 0): ", id="csv"),
        pytest.param(b"2026-01-01 begun\n", "not JSON: $ (byte 4): ", id="text"),
    ],
)
@pytest.mark.parametrize("command", ["to-json", "roundtrip", "compact"])
def test_another_format_is_named(command: str, data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    result = run(command, path, *[tmp_path / "table"] * (command == "compact"))
    assert (1, True) == (result.exit_code, f"{path}: {said}" in result.output)


def test_a_log_is_a_log_whatever_its_name(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a.chatpb.zst") as writer:
        writer.append(CompletionRecord(call_id="1"))
    moved = (tmp_path / "a.chatpb.zst").rename(tmp_path / "a.jsonl.zst")
    assert compacted(moved, tmp_path / "table").startswith("1 record, ")
    assert [{"call_id": "1"}] == printed("cat", "--what", "record", moved)
    (tmp_path / "b.zst").write_bytes(moved.read_bytes())
    result = run("to-json", tmp_path / "b.zst")
    assert (1, True) == (result.exit_code, "a log is read by `chatpb cat`" in result.stderr)
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(LINES))
    result = run("cat", tmp_path / "c.jsonl.zst")
    assert (2, True) == (result.exit_code, "neither a table nor a log" in result.stderr)
