"""What an object store's refusals mean, and what to do about them: delta-rs gives only a text."""

from __future__ import annotations

import re
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_ARROW: Final = re.compile(r"\s*↳")
_XML: Final = re.compile(r"<\?xml.*?<Message>(.*?)</Message>.*", re.DOTALL)
_LAYERS: Final = re.compile(
    r"^(Kernel error -> |Generic \w+ error: |Error performing (list|token) request: "
    r"|(?:The operation lacked|Object at location) .*?: (?=Error performing ))+"
)
_REQUEST: Final = re.compile(
    r"Error performing [A-Z]+ (\w+://[^/\s]+)\S* in \S+(?:, after .*?retry_timeout: \w+)? - (.*)"
)
_STATUS: Final = re.compile(r"Server returned [^:]*: (\d{3}\b.*)")
_NUMBER: Final = re.compile(r" \(os error \d+\)")
_NO_BUCKET: Final = re.compile(r"(bucket|container) (you tried to access )?does not exist", re.I)
_DENIED: Final = ("401 ", "403 ")
#: Where clients look for credentials if nobody has given them any.
_METADATA: Final = ("http://169.254.169.254", "http://metadata.google.internal")
_WHERE: Final = "in the environment or as storage options"
_KEYS: Final = {
    "S3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "GCS": "GOOGLE_SERVICE_ACCOUNT",
    "MicrosoftAzure": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
#: How Amazon's client begins if it finds none in the environment, a profile or the machine.
_NO_KEYS: Final = re.compile(
    r"Operation not supported: (?:the credential provider was not enabled"
    r"|an error occurred while loading credentials: (.*))"
)
_KIND: Final = re.compile(r"Generic (S3|GCS|MicrosoftAzure) error")


def one_line(error: BaseException | None) -> str:
    """The text of an error of others in plain words, without line breaks, colours and XML."""
    text = _line(error)
    return refusal(error) or _answer(text) or _LAYERS.sub("", text)


def refusal(error: BaseException | None) -> str | None:
    """Why a store cannot be used at all, and what to do; None if that is not what an error says.

    To ask again at once is of no use then, and no file is damaged.
    """
    text = _line(error)
    if "Account must be specified" in text:
        return f"there is no account; set AZURE_STORAGE_ACCOUNT_NAME {_WHERE}"
    if found := _NO_KEYS.search(text):
        cause = f" ({found[1].rstrip('.')})" if found[1] else ""
        return f"there are no credentials{cause}; set {_KEYS['S3']} {_WHERE}"
    request = _REQUEST.search(text)
    if request is None:
        return None
    host, cause = request.groups()
    if host in _METADATA:
        kind = _KIND.search(text)
        keys = "them" if kind is None else _KEYS[kind[1]]
        return f"there are no credentials; set {keys} {_WHERE}"
    if "URL scheme is not allowed" in cause:
        return f"{host} is not encrypted; if that is right, set AWS_ALLOW_HTTP=true {_WHERE}"
    answer = _STATUS.search(cause)
    if answer is None:
        reason = _NUMBER.sub("", cause).rpartition(": ")[2].lower()
        return f"{host} does not answer: {reason}; correct the endpoint {_WHERE}, or try again"
    if found := _NO_BUCKET.search(answer[1]):
        return f"the {found[1].lower()} does not exist; create it, or correct the URI"
    if answer[1].startswith(_DENIED):
        return f"access is denied ({answer[1].rstrip('.')}); correct the credentials {_WHERE}"
    return None


def _answer(text: str) -> str | None:
    """What a store answered instead of doing what was asked."""
    request = _REQUEST.search(text)
    status = None if request is None else _STATUS.search(request[2])
    return None if status is None else f"the store answered {status[1].rstrip('.')}"


def _line(error: BaseException | None) -> str:
    text = _ARROW.sub(":", _COLOUR.sub("", str(error)))
    return " ".join(_XML.sub(r"\1", text).split())
