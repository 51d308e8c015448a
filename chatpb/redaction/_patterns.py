"""A redactor of what has a known form: addresses, keys, numbers of cards and accounts.

Libraries for this were looked at. Presidio needs spaCy and a model of hundreds of megabytes; for
those who have it, it is a redactor of ten lines (docs/recording.md). phonenumbers needs to know the
country of a number. Of the packages that only have patterns, none is kept well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

_Check = Callable[[str], bool]
_Replace = Callable[[re.Match[str]], str]


class _Pattern(NamedTuple):
    """A form of what is replaced.

    Attributes:
        name: The name that replaces it.
        regex: Matches candidates. The text of the group ``keep``, if there is one, is not replaced.
        is_it: Whether a candidate is really one. If not, its first words are tried.
    """

    name: str
    regex: re.Pattern[str]
    is_it: _Check | None = None

    def replacement(self) -> _Replace:
        """What `re.sub` calls for each match."""
        marker, is_it = f"[{self.name}]", self.is_it
        has_kept = "keep" in self.regex.groupindex

        def replace(match: re.Match[str]) -> str:
            text: str = match[0]
            if is_it is None:
                return (match["keep"] if has_kept else "") + marker
            end = len(text)
            while end > 0 and not is_it(text[:end]):
                end = max(text.rfind(" ", 0, end), text.rfind("-", 0, end))
            return marker + text[end:] if end > 0 else text

        return replace


def _has_digit(text: str) -> bool:
    return len(text) > 40 or any(map(str.isdigit, text))


def _is_card(text: str) -> bool:
    """Whether the last digit is what Luhn's algorithm says."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = (each * 2 - 9 * (each > 4) for each in digits[-2::-2])
    return 13 <= len(digits) <= 19 and any(digits) and not (sum(digits[::-2]) + sum(doubled)) % 10


def _is_iban(text: str) -> bool:
    """Whether the two digits after the country are those of ISO 7064."""
    bare = re.sub(r"[ -]", "", text).upper()
    number = "".join(str(int(each, 36)) for each in bare[4:] + bare[:4])
    return 15 <= len(bare) <= 34 and int(number) % 97 == 1


def _is_phone(text: str) -> bool:
    return 8 <= sum(map(str.isdigit, text)) <= 15


def _is_address(text: str) -> bool:
    if ":" in text and (len(text) < 6 or not _has_digit(text)):
        return False  # a::b is one, but more often code
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _pattern(name: str, text: str, is_it: _Check | None = None, flags: int = 0) -> _Pattern:
    return _Pattern(name, re.compile(text, flags), is_it)


# None has nested repetition without a bound, so none takes more than quadratic time.
_OWN: Final = (
    _pattern(
        "key",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
        r".*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
        flags=re.DOTALL,
    ),
    _pattern(
        "key",
        r"(?<![A-Za-z0-9])(?:sk|pk|rk|xox[a-z]|gh[opsur]|glpat|hf|gsk|xai|npm|pypi|dop_v1|SG|AIza"
        r"|AKIA|ASIA|github_pat|ya29|csk|nvapi|r8|tgp_v1|chatpb)[-_.]?[A-Za-z0-9_.-]{16,}",
        _has_digit,
    ),
    _pattern("key", r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    _pattern(
        "key",
        r"(?P<keep>\b(?:Bearer|Basic)\s{1,3})[A-Za-z0-9+/=_.~-]{8,}",
        flags=re.IGNORECASE,
    ),
    _pattern(
        "key",
        r"(?P<keep>\b(?:api[-_ ]?key|secret|password|passwd|token)\b"
        r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?)[^\s\"',;]{6,}",
        flags=re.IGNORECASE,
    ),
    _pattern("email", r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}"),
    _pattern(
        "iban",
        r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])",
        _is_iban,
    ),
    _pattern("card", r"(?<!\d)(?<!\d[.,])\d(?:[ -]?\d){12,22}(?![.,]?\d)", _is_card),
    _pattern("ip", r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", _is_address),
    _pattern("ip", r"(?<![\w.:])[0-9A-Fa-f:]{0,40}:[0-9A-Fa-f:.]{1,40}(?<!\.)(?!\w)", _is_address),
    _pattern("phone", r"(?<![\w.+-])\+\d{1,3}(?:[ ./-]{0,2}\(?\d{1,4}\)?){2,7}(?!\w)", _is_phone),
    _pattern(
        "phone",
        r"(?<![\w.+-])\(?0?\d{2,4}\)?[ ./-]{1,2}\d{3,4}[ .-]\d{3,5}(?!\w|[-.]\d)",
        _is_phone,
    ),
    _pattern("phone", r"(?<![\w.,+-])0\d{1,4}[ /-]?\d{5,9}(?!\w|[.,-]\d)", _is_phone),
)


class PatternRedactor:
    """Replaces what has a known form by its name in brackets, such as ``[email]``.

    It knows addresses of e-mail, keys and tokens of APIs, passwords after their name, private keys,
    numbers of credit cards (with Luhn's check digit), IBANs (with theirs), IP addresses of both
    versions and numbers of telephones. What has no known form, such as a name, stays.

    Args:
        own: More patterns, by the names that are put in their place. They come first.

    Raises:
        re.error: One is not a regular expression.
    """

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        more = [_Pattern(name, re.compile(text)) for name, text in (own or {}).items()]
        self._steps = [(each.regex, each.replacement()) for each in (*more, *_OWN)]

    def __call__(self, texts: Sequence[str], /) -> list[str]:
        """Redacts texts, as `Redactor` says."""
        return [self._redacted(text) for text in texts]

    def _redacted(self, text: str) -> str:
        for regex, replace in self._steps:
            text = regex.sub(replace, text)
        return text
