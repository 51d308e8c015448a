"""The command `serve`, which is `chatpb-server`, and the server as a module."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.command_line import PYTHON, run
from support.limits import TIMEOUT

SERVER = (sys.executable, "-m", "chatpb_server")
FLAGS = ("--listen", "127.0.0.1:0", "--log-level", "error")


@pytest.mark.parametrize("command", [(*PYTHON, "serve"), SERVER], ids=["serve", "module"])
def test_it_serves_until_it_is_stopped(command: tuple[str, ...]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *FLAGS], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = line.removeprefix("listening on ").strip()
            assert 0 == run("serve", "check", address, "--timeout", TIMEOUT).exit_code
            process.terminate()
            assert ("", "") == process.communicate(timeout=TIMEOUT)
            assert 0 == process.returncode
        finally:
            process.kill()


def test_its_flags_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATPB_SERVER_GRACE", "7")
    result = run("serve", "--check-config", "--listen", "127.0.0.1:1234")
    assert 0 == result.exit_code
    assert "listen            127.0.0.1:1234, " in result.stdout
    assert "grace 7 s" in result.stdout
    result = run("serve", "--help")
    assert result.stdout.startswith("Usage: chatpb serve [OPTIONS]")
    assert "--max-running" in result.stdout
    assert "  serve " in run("--help").stdout


def test_mistakes_are_one_line() -> None:
    result = run("serve", "--loud")
    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("chatpb serve: No such option")
    result = run("serve", "--grace", "-1", "--retries", "-1")
    assert 2 == result.stderr.count("chatpb serve: --")


def test_without_the_server_there_is_a_hint() -> None:
    """And the other commands work."""
    code = "import sys; sys.modules['pydantic'] = None; from chatpb._cli.main import main; main()"
    for arguments, expected in (
        (("serve",), (2, "chatpb serve: error: needs pydantic: pip install 'chatpb[server]'\n")),
        (("--help",), (0, "")),
    ):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert expected == (done.returncode, done.stderr)


def test_the_command_line_does_not_import_the_server() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom chatpb._cli.app import app\n"
        "assert not CliRunner().invoke(app, ['--help']).exit_code\n"
        "print(*(n for n in sys.modules if n.startswith('chatpb_server')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (0, "\n", "") == (done.returncode, done.stdout, done.stderr)
