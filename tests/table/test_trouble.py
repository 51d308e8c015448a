"""What errors of Delta's client and of object stores become."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

from chatpb.table import Dataset, DatasetError
from chatpb.table._delta.location import located
from chatpb.table._delta.snapshot import delta_errors
from chatpb.table._delta.trouble import one_line, refusal
from table.test_dataset import RECORDS


def test_mistakes_of_the_package_are_not_errors_of_tables(tmp_path: Path) -> None:
    where = located(tmp_path / "t", None)
    for mistake in (ValueError("ours"), UnicodeDecodeError("utf-8", b"", 0, 1, "ours")):
        with pytest.raises(type(mistake)) as caught, delta_errors(where, "cannot be opened"):
            raise mistake
        assert caught.value is mistake


def test_errors_of_deltas_client(tmp_path: Path) -> None:
    """It also raises ValueError."""
    Dataset(tmp_path).append(RECORDS[:1])
    table = DeltaTable(tmp_path)
    with (
        pytest.raises(DatasetError, match=rf"^{tmp_path}: cannot be opened: .*Failed to parse"),
        delta_errors(located(tmp_path, None), "cannot be opened"),
    ):
        table.load_as_version("yesterday")


GET = "Error performing GET https://s3.eu-west-1.amazonaws.com/b/t/_delta_log/_last_checkpoint"
RETRIED = ", after 10 retries, max_retries: 10, retry_timeout: 180s - HTTP error: "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            f"Kernel error -> Generic S3 error: {GET} in 1.7s{RETRIED}error sending request: client"
            " error (Connect): dns error: failed to lookup address information: Name or service not"
            " known",
            "https://s3.eu-west-1.amazonaws.com does not answer: name or service not known; correct"
            " the endpoint in the environment or as storage options, or try again",
            id="host",
        ),
        pytest.param(
            "Generic S3 error ↳ Error performing list request ↳ Error performing GET"
            " http://127.0.0.1:1/none?prefix=t%2F in 5.2ms - Server returned non-2xx status code ↳"
            ' 404 Not Found ↳ <?xml version="1.0"?>\n<Error><Code>NoSuchBucket</Code>'
            "<Message>The specified bucket does not exist</Message></Error>",
            "the bucket does not exist; create it, or correct the URI",
            id="XML",
        ),
        pytest.param(
            f"Generic S3 error: {GET} in 47ms - Server returned non-2xx status code: 403 Forbidden:"
            " The request signature we calculated does not match the signature you provided.",
            "access is denied (403 Forbidden: The request signature we calculated does not match"
            " the signature you provided); correct the credentials in the environment or as storage"
            " options",
            id="secret",
        ),
        pytest.param(
            "Kernel error -> Generic GCS error: Error performing token request: Error performing"
            " GET http://169.254.169.254/computeMetadata/v1/token?audience=x in 9.4s - HTTP error:"
            " error sending request: operation timed out",
            "there are no credentials; set GOOGLE_SERVICE_ACCOUNT in the environment or as storage"
            " options",
            id="no credentials",
        ),
        pytest.param(
            "Operation not supported: the credential provider was not enabled: no credentials found"
            " in chain. Attempted: StorageOptions: access key not in StorageOptions DefaultChain:"
            " no credentials found in chain.",
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the"
            " environment or as storage options",
            id="no keys",
        ),
        pytest.param(
            "Operation not supported: an error occurred while loading credentials: failed to load"
            " IMDS session token: service error: request forbidden.",
            "there are no credentials (failed to load IMDS session token: service error: request"
            " forbidden); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment or as"
            " storage options",
            id="the machine gives no keys",
        ),
        pytest.param(
            "Generic MicrosoftAzure error: Account must be specified",
            "there is no account; set AZURE_STORAGE_ACCOUNT_NAME in the environment or as storage"
            " options",
            id="no account",
        ),
    ],
)
def test_refusals(text: str, expected: str) -> None:
    assert (expected, expected) == (refusal(OSError(text)), one_line(OSError(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            f"Generic S3 error: {GET} in 1.7s{RETRIED[:-13]} - Server returned non-2xx status code:"
            " 503 Service Unavailable: slow down",
            "the store answered 503 Service Unavailable: slow down",
            id="answer",
        ),
        pytest.param(
            "Kernel error -> Generic S3 error: Received redirect without LOCATION",
            "Received redirect without LOCATION",
            id="layers",
        ),
        pytest.param("a\n b", "a b", id="other"),
    ],
)
def test_other_errors(text: str, expected: str) -> None:
    assert (None, expected) == (refusal(OSError(text)), one_line(OSError(text)))
