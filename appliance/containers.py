"""The model services as containers: `deploy/compose/services.yaml`, written from their manifests.

    python -m appliance.containers services [--check]

Everything else of a composed appliance stands in compose.yaml and parts.yaml, for people to read.
A service whose folder lies elsewhere (ADGENX_SERVICES_PATH) is not in it: it goes into a file of
one's own beside it, of the same shape.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from appliance.roles import FINISHERS
from appliance.wanted import FIRST, MODELS, family_of
from bus import endpoints
from bus.durability import LOOPBACK_NAMES
from bus.worker.folder import discover
from contracts.capability import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bus.worker.folder import ServiceFolder

SERVICES_FILE = Path(__file__).resolve().parents[1] / "deploy/compose/services.yaml"
HOST = "host.docker.internal"
"""Name of the machine as its containers see it."""

OWN_GB = 1.0
"""What a worker and its temporary files take beside the model, gigabytes."""
SLACK = 1.25
"""A manifest says what a model takes as a rule; the limit is for one that has gone wrong."""

_HEAD = """\
# The model services, from their manifests: `make compose-services` writes this file anew.
#
# Profile `draft` are the engines without weights, `production` the models and providers. What every
# campaign ends with has no profile.
"""


def part_of(service: ServiceFolder) -> str:
    """Return the part of parts.yaml that a service's container is made of."""
    family = family_of(service)
    if family == MODELS:
        return "model"
    return "engine" if family == FIRST else "client"


def profile_of(service: ServiceFolder) -> str:
    """Return the profile that a service belongs to; "" for one that always runs."""
    if service.name in FINISHERS:
        return ""
    return "draft" if service.manifest.tier is Tier.DRAFT else "production"


def limit_gb(service: ServiceFolder) -> int:
    """Return what a service's container may take of the machine's memory, whole gigabytes."""
    return math.ceil(service.manifest.resources.memory_gb * SLACK + OWN_GB)


def render(services: Iterable[ServiceFolder]) -> str:
    """Return services.yaml. Pure."""
    listed = list(services)
    blocks = "\n".join("\n".join(_block(service)) + "\n" for service in listed)
    names = [service.name for service in listed]
    volumes = "".join(f"  {name}:\n" for name in ["models", *names])
    secrets = "".join(f"  {name}: {{file: secrets/{name}}}\n" for name in names)
    return f"{_HEAD}services:\n{blocks}\nvolumes:\n{volumes}\nsecrets:\n{secrets}"


def _block(service: ServiceFolder) -> list[str]:
    name, part = service.name, part_of(service)
    volumes = [f'"{name}:/var/lib/adgenx/state"']
    lines = [
        f"  {name}:",
        f"    extends: {{file: parts.yaml, service: {part}}}",
        f"    command: [python, -I, -m, bus.worker.run, {name}]",
        f"    secrets: [{{source: {name}, target: adgenx}}]",
        f"    volumes: [{', '.join(volumes)}]",
        f"    mem_limit: {limit_gb(service)}g",
    ]
    profile = profile_of(service)
    if profile:
        lines.insert(2, f"    profiles: [{profile}]")
    if (url := _url_on_host(service)) is not None:
        variable = endpoints.variable(service.manifest)
        lines.append(f'    environment: {{{variable}: "${{{variable}:-{url}}}"}}')
    return lines


def _url_on_host(service: ServiceFolder) -> str | None:
    """Return where a server of this machine is, seen from a container; None for any other."""
    endpoint = service.manifest.endpoint
    if endpoint is None:
        return None
    found = urlsplit(endpoint.url)
    if found.hostname not in LOOPBACK_NAMES:
        return None
    return endpoint.url.replace(found.netloc, f"{HOST}:{found.port}", 1)


def main(argv: list[str] | None = None) -> int:
    """Write the file, or say with `--check` whether it is as the manifests ask for."""
    parser = argparse.ArgumentParser(prog="python -m appliance.containers")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it is outdated")
    given = parser.parse_args(argv)
    wanted = render(discover())
    if not given.check:
        SERVICES_FILE.write_text(wanted, encoding="utf-8")
        return 0
    if SERVICES_FILE.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{SERVICES_FILE.name} is not what the manifests say: make compose-services\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
