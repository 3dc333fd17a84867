"""Signatures: the published vector, the official package in both directions, and forgeries."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from contracts import webhook_signature
from contracts.webhook_signature import (
    HeaderMissingError,
    KeyUnusableError,
    NoMatchError,
    SignatureError,
    TimestampError,
    new_key,
    sign,
    verify,
)

pytestmark = pytest.mark.unit

# The test vector of the Standard Webhooks libraries.
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changed: str) -> dict[str, str]:
    given = {"id": MESSAGE_ID, "timestamp": str(TIMESTAMP), "signature": SIGNATURE} | changed
    return {f"webhook-{name}": value for name, value in given.items()}


def test_the_published_vector() -> None:
    assert sign(MESSAGE_ID, TIMESTAMP, BODY, [KEY]) == SIGNATURE
    assert verify(headers(), BODY, [KEY], TIMESTAMP) == MESSAGE_ID


@given(body=st.text(max_size=200), message_id=st.from_regex(r"\Amsg_[a-z2-7]{26}\Z"))
def test_the_official_package_reads_ours_and_we_read_its(body: str, message_id: str) -> None:
    key, now = new_key(), int(time.time())
    official = Webhook(key)
    ours = sign(message_id, now, body.encode(), [key])
    named = {"webhook-id": message_id, "webhook-timestamp": str(now)}
    official.verify(body, {**named, "webhook-signature": ours}, json_parse=False)
    theirs = official.sign(message_id, datetime.fromtimestamp(now, UTC), body)
    assert verify({**named, "webhook-signature": theirs}, body.encode(), [key], now) == message_id
    with pytest.raises(WebhookVerificationError):
        Webhook(new_key()).verify(body, {**named, "webhook-signature": ours}, json_parse=False)


def test_while_a_key_is_rotated_receivers_with_either_are_content() -> None:
    old, new = new_key(), new_key()
    now = int(time.time())
    both = {
        "Webhook-Id": MESSAGE_ID,
        "Webhook-Timestamp": str(now),
        "Webhook-Signature": sign(MESSAGE_ID, now, BODY, [new, old]),
    }
    for key in (old, new):
        assert verify(both, BODY, [key], now) == MESSAGE_ID
        assert Webhook(key).verify(BODY, both) == {"test": 2432232314}
    assert verify(both, BODY, [new_key(), old], now) == MESSAGE_ID


@pytest.mark.parametrize(
    ("changed", "body", "seconds_later", "error"),
    [
        ({}, BODY + b" ", 0, NoMatchError),
        ({"id": "msg_other"}, BODY, 0, NoMatchError),
        ({"timestamp": str(TIMESTAMP + 1)}, BODY, 0, NoMatchError),
        ({"signature": SIGNATURE.replace("v1,", "v2,")}, BODY, 0, NoMatchError),
        ({"signature": SIGNATURE.replace("v1,", "")}, BODY, 0, NoMatchError),
        ({"signature": "v1,not base64!"}, BODY, 0, NoMatchError),
        ({"signature": "v1,\u00e9\u00e9\u00e9\u00e9"}, BODY, 0, NoMatchError),
        ({"signature": "v1," + base64.b64encode(b"").decode()}, BODY, 0, NoMatchError),
        ({"signature": ""}, BODY, 0, HeaderMissingError),
        ({"id": ""}, BODY, 0, HeaderMissingError),
        ({"timestamp": ""}, BODY, 0, HeaderMissingError),
        ({"timestamp": "1614265330.5"}, BODY, 0, TimestampError),
        ({"timestamp": "-1614265330"}, BODY, 0, TimestampError),
        ({"timestamp": "\u0661\u0662"}, BODY, 0, TimestampError),
        ({"timestamp": "9" * 400}, BODY, 0, TimestampError),
        ({}, BODY, 301, TimestampError),
        ({}, BODY, -301, TimestampError),
    ],
)
def test_what_is_forged_altered_or_old_is_refused(
    changed: dict[str, str], body: bytes, seconds_later: int, error: type[SignatureError]
) -> None:
    with pytest.raises(error):
        verify(headers(**changed), body, [KEY], TIMESTAMP + seconds_later)


def test_the_tolerance_is_the_receivers_choice() -> None:
    assert verify(headers(), BODY, [KEY], TIMESTAMP + 300)
    assert verify(headers(), BODY, [KEY], TIMESTAMP + 900, tolerance_seconds=900)


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "whsec_\u00e9"])
def test_a_key_that_protects_nothing_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(KeyUnusableError) as caught:
        verify(headers(), BODY, [key], TIMESTAMP)
    assert key[6:] == "" or key[6:] not in str(caught.value)


def test_nobodys_keys_verify_nothing() -> None:
    with pytest.raises(NoMatchError):
        verify(headers(), BODY, [], TIMESTAMP)


def test_every_signature_is_compared_whether_or_not_one_matched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    real = webhook_signature.hmac.compare_digest
    monkeypatch.setattr(
        webhook_signature.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b)
    )
    verify(headers(signature=f"{SIGNATURE} {SIGNATURE}"), BODY, [KEY, new_key()], TIMESTAMP)
    assert len(compared) == 4


def test_a_receiver_may_copy_the_file_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / "signature.py"
    copy.write_bytes(Path(webhook_signature.__file__).read_bytes())
    code = f"import signature; print(signature.verify({headers()!r}, {BODY!r}, [{KEY!r}], "
    ran = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}{TIMESTAMP}))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == MESSAGE_ID, ran.stderr
