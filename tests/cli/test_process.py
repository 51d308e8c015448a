"""The command line as a process: pipes, signals, memory, what is not installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chatpb
from chatpb._wire import delimited
from chatpb.v1 import ChatCompletionChunk
from support.command_line import PYTHON, run, started

CHUNK = b'{"choices":[{"index":0,"delta":{"content":"hello"}}]}'
LIMIT_MIB = 200


def test_help_and_version() -> None:
    from importlib.metadata import version

    assert f"chatpb {version('chatpb')}\n" == run("--version").stdout
    assert "  chatpb fold stream.sse  " in run("--help").stdout
    converting = ("to-binary", "to-json", "fold", "roundtrip", "inspect", "call")
    for command in (*converting, "serve", "compact", "ls", "cat", "grep", "stat", "export"):
        assert f"\n    chatpb {command} " in run(command, "--help").stdout


def test_answers_while_input_is_open() -> None:
    """One line of output for each line of input, at once, but the first: it tells the format."""
    with started("to-json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(CHUNK + b"\n" + CHUNK + b"\n")
        process.stdin.flush()
        for _ in range(2):
            assert "hello" in json.loads(process.stdout.readline())["choices"][0]["delta"].values()
        process.stdin.close()
        assert process.wait(10) == 0


def test_interrupt_is_quiet() -> None:
    with started("to-json", "--format", "jsonl") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(CHUNK + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read().strip() == b""


def test_reader_that_goes_away_is_quiet() -> None:
    with started("to-json", "--format", "jsonl") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(CHUNK + b"\n")
        process.stdin.close()
        assert process.wait(10) == 141
        assert process.stderr.read() == b""


def test_standard_output_can_be_closed() -> None:
    shell = f"{sys.executable} -m chatpb to-json --format json >&-"
    result = subprocess.run(shell, shell=True, capture_output=True, input=CHUNK, timeout=30)
    assert (0, b"") == (result.returncode, result.stderr)


TEXT = b'{"choices":[{"index":0,"delta":{}}],"obfuscation":"%s"}' % (b"x" * 999_000)
LINE, EVENT = TEXT + b"\n", b"data: " + TEXT + b"\n\n"
MESSAGE = delimited(chatpb.json_to_binary(TEXT, ChatCompletionChunk))


@pytest.mark.parametrize(
    ("command", "record"),
    [
        pytest.param(["to-binary"], LINE, id="to-binary-lines"),
        pytest.param(["to-json"], EVENT, id="to-json-events"),
        pytest.param(["to-json", "-d", "--type", "chunk"], MESSAGE, id="to-json-delimited"),
        pytest.param(["fold"], EVENT, id="fold-events"),
        pytest.param(["fold"], MESSAGE, id="fold-delimited"),
        pytest.param(["roundtrip", "-"], LINE, id="roundtrip-lines"),
    ],
)
def test_memory_is_bounded(command: list[str], record: bytes) -> None:
    """300 MiB through each command; none holds what it read."""
    measure = (
        "import sys; from chatpb._cli.main import main\n"
        "from support.command_line import peak_memory\n"
        "try: main()\n"
        "finally: sys.stderr.write(str(peak_memory()))"
    )
    arguments = [sys.executable, "-c", measure, *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments,
        stdin=pipe,
        stdout=subprocess.DEVNULL,
        stderr=pipe,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for _ in range(315):
            process.stdin.write(record)
        process.stdin.close()
        said = process.stderr.read()
        assert process.wait(60) == 0, said
    assert int(said.split()[-1]) < LIMIT_MIB << 20


def test_says_what_to_install() -> None:
    script = "import sys; sys.modules['click'] = None; from chatpb._cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    hint = b"chatpb: error: the command line needs click: pip install 'chatpb[cli]'\n"
    assert (2, b"", hint) == (result.returncode, result.stdout, result.stderr)


def test_binary_is_not_written_to_a_terminal() -> None:
    pty = pytest.importorskip("pty", reason="no terminals here")
    import os

    primary, secondary = pty.openpty()
    try:
        command = [*PYTHON, "to-binary"]
        result = subprocess.run(
            command, input=CHUNK, stdout=secondary, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(secondary)
        os.close(primary)
    reason = b"binary is not written to a terminal: pass -o FILE, or a pipe"
    assert (2, b"chatpb: error: " + reason + b"\n") == (result.returncode, result.stderr)


def test_an_unknown_implementation_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chatpb", "to-binary"],
        env={**os.environ, "CHATPB_IMPLEMENTATION": "rust"},
        input="{}",
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = "chatpb: error: CHATPB_IMPLEMENTATION is 'rust'; expected python or native\n"
    assert (2, "", expected) == (done.returncode, done.stdout, done.stderr)


def test_no_command() -> None:
    command = Path(sys.executable).with_name("chatpb")
    done = subprocess.run([command], capture_output=True, text=True)
    expected = "chatpb: error: Missing command. (see chatpb --help)\n"
    assert (2, "", expected) == (done.returncode, done.stdout, done.stderr)
