"""The messages for clients in any language: JSON Schema, and an AsyncAPI 3 document of the bus."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from contracts import events, subjects
from contracts.assets import LinkArtifact, UploadAsset
from contracts.campaign import Cancel, RerunCampaign, RunCampaign
from contracts.capability import Capability
from contracts.identity import ID_PATTERN
from contracts.operating import (
    CancelAll,
    DeleteCampaign,
    InvalidateCache,
    Prioritise,
    ResetBreaker,
    SetBudget,
    SetFlag,
    SettleDead,
)
from contracts.requests import (
    AnimateCharacter,
    ComposeMedia,
    EditImage,
    EditVideo,
    GenerateImage,
    GenerateMesh,
    GenerateMusic,
    GenerateSpeech,
    GenerateText,
    GenerateVideo,
    GenerateWorld,
    PackageCampaign,
    RigMesh,
)
from contracts.script import CopyDeck, Script, SpeechTimings
from contracts.telling import AskEvents, ToldEvents
from contracts.webhooks import RetryDelivery, SetWebhook

VERSION = "1.0.0"

REQUESTS: dict[Capability, type[msgspec.Struct]] = {
    Capability.TEXT: GenerateText,
    Capability.IMAGE: GenerateImage,
    Capability.IMAGE_EDIT: EditImage,
    Capability.VIDEO: GenerateVideo,
    Capability.VIDEO_EDIT: EditVideo,
    Capability.ANIMATION: AnimateCharacter,
    Capability.MESH: GenerateMesh,
    Capability.RIG: RigMesh,
    Capability.WORLD: GenerateWorld,
    Capability.MUSIC: GenerateMusic,
    Capability.SPEECH: GenerateSpeech,
    Capability.COMPOSE: ComposeMedia,
    Capability.PACKAGE: PackageCampaign,
}
"""The request Struct of every capability."""

COMMANDS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "cancelCampaign": (Cancel, subjects.cancel_campaign("{tenant}", "{campaign_id}")),
    "cancelRequest": (Cancel, subjects.cancel_job("{tenant}", "{campaign_id}", "{request_id}")),
    "rerunCampaign": (RerunCampaign, "adgenx.ctl.{tenant}.rerun.{campaign_id}.{base_revision}"),
    "uploadAsset": (UploadAsset, subjects.upload("{tenant}", "{upload_id}")),
    "linkArtifact": (LinkArtifact, subjects.link("{tenant}", "{link_id}")),
    "deleteCampaign": (DeleteCampaign, subjects.delete_campaign("{tenant}", "{campaign_id}")),
    "cancelAll": (CancelAll, subjects.cancel_all("{tenant}", "{command_id}")),
    "setWebhook": (SetWebhook, subjects.webhook("{tenant}", "{webhook_id}")),
    "retryDelivery": (RetryDelivery, subjects.webhook("{tenant}", "{delivery_id}")),
}

OPERATIONS: list[type[msgspec.Struct]] = [
    SetFlag,
    ResetBreaker,
    SetBudget,
    InvalidateCache,
    Prioritise,
    SettleDead,
]
"""What an operator may say; all on one subject, which the command's own id ends."""

CAMPAIGN_EVENTS: dict[str, type[msgspec.Struct]] = {
    f"{events.CAMPAIGN_PLAN}.{{revision}}.{{stage}}": events.CampaignPlan,
    f"{events.CAMPAIGN_RESULT}.{{revision}}": events.CampaignResult,
    f"{events.RERUN_RESULT}.{{base_revision}}": events.CommandResult,
    events.CANCEL_RESULT: events.CommandResult,
    events.UPLOAD_LINK: events.UploadLink,
    events.ASSET_RESULT: events.AssetResult,
    events.LINK_RESULT: events.LinkResult,
    events.DELETE_RESULT: events.CommandResult,
    events.CANCEL_ALL_RESULT: events.OpsResult,
    f"{events.WEBHOOK_RESULT}.{{sequence}}": events.CommandResult,
    events.OPS_RESULT: events.OpsResult,
}
_DOCUMENTS: list[type[msgspec.Struct]] = [Script, CopyDeck, SpeechTimings]
_PARAMETER = re.compile(r"\{(\w+)\}")
_ID = ID_PATTERN.replace(r"\A", "^").replace(r"\Z", "$")


def messages() -> list[type[msgspec.Struct]]:
    """Return every Struct that a client sends or reads, each once."""
    found: list[type[msgspec.Struct]] = [
        RunCampaign,
        *REQUESTS.values(),
        *(kind for kind, _ in COMMANDS.values()),
        *OPERATIONS,
        events.Accepted,
        events.GenerationRequest,
        events.GenerationResult,
        *CAMPAIGN_EVENTS.values(),
        events.Progress,
        AskEvents,
        ToldEvents,
        *_DOCUMENTS,
    ]
    return list(dict.fromkeys(found))


def json_schema() -> dict[str, Any]:
    """Return one JSON Schema (2020-12) with a definition for every message and its parts."""
    _, components = msgspec.json.schema_components(messages(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AdGenXAI messages",
        "$defs": _portable(components),
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document: what to publish where, and what to listen to."""
    _, components = msgspec.json.schema_components(
        messages(), ref_template="#/components/schemas/{name}"
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    _requests(channels, operations)
    for name, (kind, address) in COMMANDS.items():
        _add(channels, operations, "receive", name, address, [kind])
    address = subjects.operation("{command_id}")
    _add(channels, operations, "receive", "operation", address, OPERATIONS)
    _events(channels, operations)
    _asking(channels, operations)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AdGenXAI",
            "version": VERSION,
            "description": "One brief in, a whole ad campaign out. Publish requests with JetStream "
            "and the header `Nats-Expected-Last-Subject-Sequence: 0`: stored, or error 10071 for "
            "already there, both mean accepted. Events lie in the stream EVENTS, one per subject.",
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {"appliance": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": _portable(components),
            "messages": {
                kind.__name__: {
                    "name": str(kind.__struct_config__.tag),
                    "title": _first_sentence(kind),
                    "contentType": "application/json",
                    "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
                }
                for kind in messages()
            },
        },
    }


def documents() -> dict[str, str]:
    """Return every document by file name, as text."""
    made = {"messages.schema.json": json_schema(), "asyncapi.json": asyncapi()}
    return {
        name: msgspec.json.format(msgspec.json.encode(value)).decode() + "\n"
        for name, value in made.items()
    }


def _requests(channels: dict[str, Any], operations: dict[str, Any]) -> None:
    address = subjects.request("{tenant}", subjects.CAMPAIGN, "{campaign_id}", "{campaign_id}")
    _add(channels, operations, "receive", "runCampaign", address, [RunCampaign])
    for capability, kind in REQUESTS.items():
        address = subjects.request("{tenant}", capability, "{campaign_id}", "{request_id}")
        _add(channels, operations, "receive", f"{capability}Request", address, [kind])


def _events(channels: dict[str, Any], operations: dict[str, Any]) -> None:
    ids = ("{tenant}", "{campaign_id}", "{request_id}")
    told: dict[str, type[msgspec.Struct]] = {events.ACCEPTED: events.Accepted}
    for capability in Capability:
        told[capability.request_event] = events.GenerationRequest
        told[capability.result_event] = events.GenerationResult
    for name, kind in (told | CAMPAIGN_EVENTS).items():
        label = "".join(p.title() for p in re.split(r"[_.]", _PARAMETER.sub("", name)) if p)
        _add(channels, operations, "send", f"event{label}", subjects.event(*ids, name), [kind])
    _add(channels, operations, "send", "progress", subjects.progress(*ids), [events.Progress])


def _asking(channels: dict[str, Any], operations: dict[str, Any]) -> None:
    """Add the one request that is answered at once, into the inbox that it names."""
    address = subjects.ask_events("{tenant}")
    _add(channels, operations, "receive", "askEvents", address, [AskEvents])
    name = ToldEvents.__name__
    channels["toldEvents"] = {
        "address": None,  # the asker's own inbox
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    operations["receive_askEvents"]["reply"] = {
        "address": {"location": "$message.header#/reply"},
        "channel": {"$ref": "#/channels/toldEvents"},
        "messages": [{"$ref": f"#/channels/toldEvents/messages/{name}"}],
    }


def _add(
    channels: dict[str, Any],
    operations: dict[str, Any],
    action: str,
    name: str,
    address: str,
    kinds: list[type[msgspec.Struct]],
) -> None:
    channels[name] = {
        "address": address,
        "parameters": {p: {"description": _describe(p)} for p in _PARAMETER.findall(address)},
        "messages": {k.__name__: {"$ref": f"#/components/messages/{k.__name__}"} for k in kinds},
    }
    operations[f"{action}_{name}"] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{k.__name__}"} for k in kinds],
    }


def _describe(parameter: str) -> str:
    if parameter in ("revision", "base_revision"):
        return "A revision's number, from 1."
    if parameter == "sequence":
        return "The sequence that CONTROL gave to the command."
    if parameter == "stage":
        return "A planning stage's name."
    dash = " `-` for a request of its own." if parameter == "campaign_id" else ""
    return f"Matches {_ID}.{dash}"


def _first_sentence(kind: type[msgspec.Struct]) -> str:
    return " ".join((kind.__doc__ or "").split()).partition(". ")[0].rstrip(".")


def _portable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out what is Python's or OpenAPI's own: anchors of patterns, and discriminators."""
    if isinstance(value, dict):
        return {
            k: v.replace(r"\A", "^").replace(r"\Z", "$")
            if k == "pattern" and isinstance(v, str)
            else _portable(v)
            for k, v in value.items()
            if k != "discriminator"
        }
    return [_portable(v) for v in value] if isinstance(value, list) else value
