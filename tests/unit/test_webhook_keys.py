"""Key files: made once, rotated with an overlap, private."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bus.webhook_keys import OVERLAP_SECONDS, Keyring, KeysUnreadableError
from contracts.errors import InvalidIdError
from contracts.webhook_signature import NoMatchError, sign, verify

pytestmark = pytest.mark.unit


def test_a_key_is_made_once_however_many_need_it_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Keyring(tmp_path).signing("acme", 0.0), range(8)))
    assert len({keys[0].key for keys in found}) == 1
    assert Keyring(tmp_path).signing("other", 0.0)[0].key != found[0][0].key
    files = sorted((tmp_path / "webhooks").glob("*.json"))
    assert [f.name for f in files] == ["acme.json", "other.json"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}


def test_after_a_rotation_both_sign_for_a_day_and_then_only_the_new_one(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    [old] = keyring.signing("acme", 0.0)
    new = keyring.rotate("acme", 1000.0)[0]
    both = [k.key for k in keyring.signing("acme", 1000.0 + OVERLAP_SECONDS - 1)]
    assert both == [new.key, old.key]
    header = sign("msg_a", 1, b"{}", both)
    given = {"webhook-id": "msg_a", "webhook-timestamp": "1", "webhook-signature": header}
    for receiver in (old, new):
        assert verify(given, b"{}", [receiver.key], 1)
    left = [k.key for k in keyring.signing("acme", 1000.0 + OVERLAP_SECONDS)]
    assert left == [new.key]
    given["webhook-signature"] = sign("msg_a", 1, b"{}", left)
    with pytest.raises(NoMatchError):
        verify(given, b"{}", [old.key], 1)


def test_a_second_rotation_does_not_lengthen_the_first_ones_overlap(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    [first] = keyring.signing("acme", 0.0)
    keyring.rotate("acme", 0.0)
    keyring.rotate("acme", OVERLAP_SECONDS / 2)
    assert first.key in {k.key for k in keyring.signing("acme", OVERLAP_SECONDS - 1)}
    assert first.key not in {k.key for k in keyring.signing("acme", OVERLAP_SECONDS)}
    assert len(keyring.rotate("acme", 3 * OVERLAP_SECONDS)) == 2  # what has ended is forgotten


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"kez":"x"}]', "\udcff"])
def test_a_damaged_file_is_an_error_and_not_a_reason_for_new_keys(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "webhooks" / "acme.json"
    file.parent.mkdir()
    file.write_text(content, errors="surrogateescape")
    for act in (Keyring(tmp_path).signing, Keyring(tmp_path).rotate):
        with pytest.raises(KeysUnreadableError, match="damaged"):
            act("acme", 0.0)
    assert file.read_text(errors="surrogateescape") == content


@pytest.mark.parametrize("tenant", ["", "..", "../acme", "a/b", "a.b", "-"])
def test_a_tenant_is_a_name_and_no_path(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(InvalidIdError):
        Keyring(tmp_path).signing(tenant, 0.0)
    assert not list(tmp_path.iterdir())
