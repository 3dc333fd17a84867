"""Which model services a box runs, and in which environment each of them."""

from __future__ import annotations

import msgspec

from appliance.config import ALL, DRAFT, Config, ConfigError, parse
from appliance.roles import FINISHERS
from bus import weights
from bus.worker.folder import ServiceFolder
from contracts.capability import Tier
from contracts.refusal import nearest

FIRST = ""
"""The environment that every process can run in, but for those that need more."""
MODELS = "models"
RIVA = "riva"
_UNSAID = '# wanted = "draft"\n'
"""The line of the example that says nothing."""


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


def in_text(text: str, given: str | None) -> str:
    """Return adgenx.toml with the services of a command line, if it names any that it lacks.

    Only a file that says nothing about them is changed. Raises ConfigError.
    """
    if given is None:
        return text
    names = sorted({name for name in given.replace(",", " ").split() if name})
    said = parse(text).services.wanted
    if said == given or (isinstance(said, list) and sorted(said) == names):
        return text
    wanted = f'"{given}"' if given in {DRAFT, ALL} else msgspec.json.encode(names).decode()
    return text.replace(_UNSAID, f"wanted = {wanted}\n", 1)


def family_of(service: ServiceFolder) -> str:
    """Return the environment that a service runs in: `FIRST`, `models` or `riva`."""
    endpoint = service.manifest.endpoint
    if endpoint is not None:
        return RIVA if endpoint.format == "grpc" else FIRST
    return MODELS if weights.parts_of(service.manifest) else FIRST


def families(services: list[ServiceFolder]) -> list[str]:
    """Return the further environments that these services need."""
    return sorted({family_of(service) for service in services} - {FIRST})
