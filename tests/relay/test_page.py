"""The texts of the HTML pages that proxies answer with."""

from __future__ import annotations

import time

import pytest

from chatpb_server.core.page import text_of_page


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param(b"<html><title>A</title><h1>A</h1><p>b\n c", "A; b c", id="texts"),
        pytest.param(b"<p>1 &lt; 2 &amp; \xc3\xa9 \xff", "1 < 2 & é \ufffd", id="characters"),
        pytest.param(
            b"<style>p > a { }</style><SCRIPT x>if (a<b) {}</script ><p>x", "x", id="hidden"
        ),
        pytest.param(b"<!-- <p> --><p>x<!-- y", "x", id="comments"),
        pytest.param(b"<Error><Code>A</Code><Message>no</Message></Error>", "A; no", id="xml"),
        pytest.param(b"<html", "", id="no text"),
        pytest.param(b"<p>" + b"x" * 9000, "x" * 4093, id="long"),
    ],
)
def test_texts(page: bytes, expected: str) -> None:
    assert expected == text_of_page(page)


@pytest.mark.parametrize("part", [b"<", b"<!--", b"<script", b"<style></styl", b"&lt;", b"-->"])
def test_hostile_pages_take_no_time(part: bytes) -> None:
    page = part * 1_000_000

    def seconds() -> float:
        began = time.thread_time()
        text_of_page(page)
        return time.thread_time() - began

    assert min(seconds() for _ in range(5)) < 0.01  # usually less than 0.0005
