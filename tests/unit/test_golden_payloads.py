"""Every message version ever sent decodes for ever. Adding one adds a file; none is edited."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

from contracts import schema
from contracts.assets import UploadRecord
from contracts.backup import BackupManifest
from contracts.campaign import CampaignRecord, OpenEntry
from contracts.disk import DiskRecord
from contracts.envelope import ENVELOPE_FIELDS
from contracts.governance import BreakerRecord, BudgetRecord, FlagRecord
from contracts.jobs import Buried, CacheClaim, Job, JobRecord, Run
from contracts.lease import DeviceRecord, LeaseAnswer, LeaseAsk
from contracts.ledger import Charge
from contracts.manifest import ServiceRecord
from contracts.retention import ScrubState, SweepState, SweepWanted, TenantSweep
from contracts.segments import SegmentRecord
from contracts.webhooks import DeliveryRecord, WebhookRecord

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent.parent / "golden"
MESSAGES = {str(kind.__struct_config__.tag): kind for kind in schema.messages()}
RECORDS = {
    "backup.v1": BackupManifest,
    "charge.v1": Charge,
    "lease_answer.v1": LeaseAnswer,
    "lease_ask.v1": LeaseAsk,
    "record.breaker_record": BreakerRecord,
    "record.budget_record": BudgetRecord,
    "record.buried": Buried,
    "record.cache_claim": CacheClaim,
    "record.campaign_record": CampaignRecord,
    "record.delivery_record": DeliveryRecord,
    "record.device_record": DeviceRecord,
    "record.flag_record": FlagRecord,
    "record.job": Job,
    "record.job_record": JobRecord,
    "record.open_entry": OpenEntry,
    "record.run": Run,
    "record.segment_record": SegmentRecord,
    "record.service_record": ServiceRecord,
    "record.disk_record": DiskRecord,
    "record.scrub_state": ScrubState,
    "record.sweep_state": SweepState,
    "record.sweep_wanted": SweepWanted,
    "record.tenant_sweep": TenantSweep,
    "record.upload_record": UploadRecord,
    "record.webhook_record": WebhookRecord,
}
KINDS = MESSAGES | RECORDS


def kind_of(path: Path) -> type[msgspec.Struct]:
    """A message that grew has another payload beside its first: `<tag>+<what came>.json`."""
    return KINDS[path.stem.partition("+")[0]]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda p: p.stem)
def test_a_golden_payload_decodes_and_encodes_to_the_same_json(path: Path) -> None:
    body = path.read_bytes()
    value = msgspec.json.decode(body, type=kind_of(path))
    assert msgspec.json.decode(msgspec.json.encode(value)) == msgspec.json.decode(body)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_message_and_record_has_a_golden_payload(name: str) -> None:
    assert (GOLDEN / f"{name}.json").is_file()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_golden_payload_holds_every_field_of_its_message_but_the_common_ones(name: str) -> None:
    """Otherwise a renamed optional field would go unnoticed."""
    held: set[str] = set()
    for path in (GOLDEN / f"{name}.json", *GOLDEN.glob(f"{name}+*.json")):
        held |= msgspec.json.decode(path.read_bytes()).keys()
    common = ENVELOPE_FIELDS | {"at", "error", "negative_prompt", "fps"}
    missing = set(MESSAGES[name].__struct_fields__) - common - held
    assert missing <= {"references", "locale", "seed", "title", "scale", "frame_scale"}, missing


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_golden_payload_matches_the_published_json_schema(name: str) -> None:
    kind = MESSAGES[name].__name__
    document = schema.json_schema() | {"$ref": f"#/$defs/{kind}"}
    body = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
    jsonschema.Draft202012Validator(document).validate(body)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(document).validate(body | {"type": "no_such.v1"})
