"""Which processes make up the appliance, and the unit that each of them is.

A process has one name, with underscores: of its durable, its NATS user, its folder of secrets, its
log field. Its unit spells it with dashes. Model services are instances of one template, but for the
two that no campaign does without.
"""

from __future__ import annotations

ROLES = (
    "coordinator",
    "router",
    "model_manager",
    "intake",
    "webhooks",
    "observer",
    "retention",
)
"""Services that are no models; each is `python -m services.<name>.run`."""

FINISHERS = ("composer", "packager")
"""Model services that every campaign ends with: each has a unit of its own."""

TARGET = "adgenx.target"
TEMPLATE = "adgenx-service@"
NATS = "adgenx-nats.service"
STORE = "adgenx-s3.service"
STORE_PORT = 8333
"""Where the store listens in the network of its own, whatever port leads to it."""
STORE_PROXY = "adgenx-s3-proxy.socket"
PROVISION = "adgenx-provision.service"
TIMERS = (
    "adgenx-backup.timer",
    "adgenx-expiry.timer",
    "adgenx-scrub.timer",
    "adgenx-update-check.timer",
)


def unit_of(name: str) -> str:
    """Return the unit of a process: a role, a finisher, or any other model service."""
    if name in ROLES or name in FINISHERS:
        return f"adgenx-{name.replace('_', '-')}.service"
    return f"{TEMPLATE}{name}.service"


def process_of(unit: str) -> str:
    """Return the process of a unit of ours: of its environment file and its folder of secrets."""
    name = unit.rpartition(".")[0].removeprefix(TEMPLATE).removeprefix("adgenx-")
    return name.replace("-", "_")
