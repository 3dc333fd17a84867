"""What a service needs of the world around it: weights, a Python of its own, or a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from bus import endpoints, environments, weights
from bus.settings import Settings
from bus.worker.folder import ServiceFolder
from contracts.errors import AdgenxError
from contracts.manifest import Manifest


def any_of(manifest: Manifest) -> bool:
    """Say whether a service needs anything at all."""
    apart = manifest.endpoint is not None or manifest.environment is not None
    return apart or bool(weights.parts_of(manifest))


def lack(service: ServiceFolder, settings: Settings, environ: Mapping[str, str]) -> str:
    """Return what a service needs and has not, and how to get it; "" if it can serve. Blocks."""
    manifest = service.manifest
    try:
        if manifest.endpoint is not None:
            return endpoints.unready(manifest, environ, settings.secrets_dir)
        without = ""
        if manifest.environment is not None:
            folder = settings.environments_dir
            without = environments.missing(manifest.environment, service.path, folder, service.name)
        return without or weights.missing(manifest, settings.models_dir)
    except AdgenxError as error:
        return error.message
    except OSError as error:
        return f"{settings.models_dir} cannot be read: {error.strerror}"


async def lacking(
    services: Iterable[ServiceFolder], settings: Settings, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return what each service lacks, of those that lack something, by name."""
    asked = [service for service in services if any_of(service.manifest)]
    answers = await asyncio.gather(
        *(asyncio.to_thread(lack, service, settings, environ) for service in asked)
    )
    found = zip(asked, answers, strict=True)
    return {service.name: answer for service, answer in found if answer}
