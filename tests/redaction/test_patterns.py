"""The redactor that is shipped: what has a known form."""

from __future__ import annotations

import time

import pytest

from chatpb.redaction import PatternRedactor

CASES = {
    "mail john.doe+x@mail.example.com now": "mail [email] now",
    "mail jörg@exämple.de, a@b": "mail [email], a@b",
    "key sk-abcDEF1234567890abcdefgh x": "key [key] x",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": "[key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "Authorization: Bearer abcdef.12345678": "Authorization: Bearer [key]",
    "password: hunter22": "password: [key]",
    '"api_key": "abcdefgh12"': '"api_key": "[key]"',
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxw": "[key]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx": "[key]\nx",
    "-----BEGIN PRIVATE KEY-----\nMIIE": "[key]",
    "card 4111 1111 1111 1111 12 x": "card [card] 12 x",
    "card 4111-1111-1111-1111, 5500005555555559": "card [card], [card]",
    "DE89 3704 0044 0532 0130 00 ok": "[iban] ok",
    "GB82WEST12345698765432": "[iban]",
    "from 192.168.1.1, 2001:db8::1.": "from [ip], [ip].",
    "fe80::1 ::ffff:10.0.0.1": "[ip] [ip]",
    "+1 (415) 555-2671 or 415-555-2671": "[phone] or [phone]",
    "030 1234567 and +49 30 1234567": "[phone] and [phone]",
}
KEPT = [
    "at 12:30:45 on 2024-01-01, v1.2.3.4.5, 1,234,567,890.12, 3.14159265358979",
    "std::vector a::b, skip to section 12345678, 999.999.999.999",
    "token bearer of good news",
    "",
]


@pytest.mark.parametrize("text", CASES)
def test_what_is_replaced(text: str) -> None:
    assert [CASES[text]] == PatternRedactor()([text])


@pytest.mark.parametrize("text", KEPT)
def test_what_stays(text: str) -> None:
    assert [text] == PatternRedactor()([text])


@pytest.mark.parametrize("text", ["1111 2222 3333 4445 6", "GB82 WEST 1234 5698 7654 33"])
def test_wrong_check_digits(text: str) -> None:
    [found] = PatternRedactor()([text])
    assert "[card]" not in found
    assert "[iban]" not in found


def test_own_patterns_come_first() -> None:
    redact = PatternRedactor({"ticket": r"TCK-\d+", "corp": r"\w+@corp\.test"})
    assert ["[ticket] of [corp], [email]"] == redact(["TCK-12 of a@corp.test, a@b.com"])


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "1 " * 50_000, "a@" * 50_000, "a." * 50_000, "::" * 50_000, "sk-" * 30_000],
)
def test_long_texts_take_no_time(text: str) -> None:
    before = time.thread_time()
    PatternRedactor()([text])
    assert time.thread_time() - before < 20  # the square of the length takes minutes
