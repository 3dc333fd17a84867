"""Which model services a box runs, and in which environment each of them."""

from __future__ import annotations

import msgspec

from appliance.config import ALL, DRAFT, Config, ConfigError
from appliance.roles import FINISHERS
from bus import weights
from bus.worker.folder import ServiceFolder
from contracts.capability import Tier
from contracts.refusal import nearest

FIRST = ""
"""The environment that every process can run in, but for those that need more."""
MODELS = "models"
RIVA = "riva"


def chosen(config: Config, known: list[ServiceFolder]) -> list[ServiceFolder]:
    """Return the services that the file asks for, those that finish every campaign among them.

    Raises ConfigError for a name that no service has.
    """
    wanted = config.services.wanted
    if wanted == ALL:
        return known
    if isinstance(wanted, str):
        return [s for s in known if s.manifest.tier is Tier.DRAFT or s.name in FINISHERS]
    names = {s.name for s in known}
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f"services.wanted: no service is called {name[:40]!r}{nearest(name, names)}",
                field="services.wanted",
            )
    return [s for s in known if s.name in wanted or s.name in FINISHERS]


def with_services(config: Config, given: str | None) -> Config:
    """Return the configuration with the services of a command line, if it names any."""
    if given is None:
        return config
    names: list[str] | str = given
    if given not in {DRAFT, ALL}:
        names = [name for name in given.replace(",", " ").split() if name]
    services = msgspec.structs.replace(config.services, wanted=names)
    return msgspec.structs.replace(config, services=services)


def family_of(service: ServiceFolder) -> str:
    """Return the environment that a service runs in: `FIRST`, `models` or `riva`."""
    endpoint = service.manifest.endpoint
    if endpoint is not None:
        return RIVA if endpoint.format == "grpc" else FIRST
    return MODELS if weights.parts_of(service.manifest) else FIRST


def families(services: list[ServiceFolder]) -> list[str]:
    """Return the further environments that these services need."""
    return sorted({family_of(service) for service in services} - {FIRST})
