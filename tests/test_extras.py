"""A public module whose extra is not installed says how to install it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chatpb._extras import raise_hint


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("client", "grpc"),
        ("client", "grpc_status"),
        ("log", "zstandard"),
        ("openai", "openai"),
        ("spark", "pyspark"),
        ("table", "numpy"),
        ("table", "pyarrow"),
        ("transport", "grpc"),
        ("transport", "grpc_status"),
        ("transport", "httpx2"),
    ],
)
def test_a_hint_which_extra_to_install(module: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import chatpb.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"chatpb.{module} needs {package}: pip install 'chatpb[{module}]'"
    assert f"ModuleNotFoundError: {expected}" == done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("package", "url"),
    [
        ("asyncpg", "postgresql://127.0.0.1/x"),
        ("sqlalchemy", "sqlite://"),
        ("zstandard", "sqlite://"),
    ],
)
def test_the_types_of_stores_need_no_extra(package: str, url: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; import asyncio, chatpb.store;"
        f" chatpb.store.Listing(); asyncio.run(chatpb.store.open_store({url!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"chatpb.store needs {package}: pip install 'chatpb[store]'"
    assert f"ModuleNotFoundError: {expected}" == done.stderr.splitlines()[-1]


def test_a_missing_module_of_our_own_is_reported_as_it_is() -> None:
    error = ModuleNotFoundError("No module named 'chatpb.log._lost'", name="chatpb.log._lost")
    with pytest.raises(ModuleNotFoundError) as caught:
        raise_hint("chatpb.log", error)
    assert error is caught.value
