"""Models that run elsewhere: where they listen, what lets us in, and whether they answer.

A server on this machine or its network is asked for its health. A provider on the internet, which
needs a key, is not asked for anything that nobody has ordered: there the key alone counts.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from bus.settings import PREFIX, Secret, SettingsError
from contracts.endpoint import EndpointSection
from contracts.errors import AdgenxError
from contracts.manifest import Manifest

HEALTH_SECONDS = 3.0
_SCHEMES = ("http", "https", "grpc", "grpcs")
_OK, _FIRST_REFUSAL = 200, 300
_PORTS = {"http": 80, "https": 443, "grpc": 50051, "grpcs": 443}


def variable(manifest: Manifest) -> str:
    """Return the variable of the environment that says where a service's model listens."""
    return f"{PREFIX}{manifest.name.upper()}_URL"


def url_of(manifest: Manifest, environ: Mapping[str, str]) -> str:
    """Return where the model listens, without a slash at the end. Raises SettingsError.

    People copy addresses with the beginning of the API's path and without: `/v1` is taken off one
    whose requests go to `/v1/…`.
    """
    endpoint = _endpoint(manifest)
    first = "/" + endpoint.path.split("/")[1]
    url = (environ.get(variable(manifest), "") or endpoint.url).rstrip("/")
    url = url.removesuffix(first)
    if not _is_address(url):
        raise SettingsError(f"{variable(manifest)} is no address of a server")
    return url


def key_of(manifest: Manifest, secrets_dir: Path) -> Secret:
    """Return the key that the service is let in with; empty where there is none.

    Raises SettingsError for one that cannot stand in a header: the library that refuses it there
    would repeat it in its message.
    """
    name = _endpoint(manifest).secret
    if not name:
        return Secret("")
    try:
        key = (secrets_dir / name).read_bytes().strip().decode("utf-8", "replace")
    except OSError:
        return Secret("")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"the key {name} in the secrets folder is not one word of ASCII")
    return Secret(key)


def unready(manifest: Manifest, environ: Mapping[str, str], secrets_dir: Path) -> str:
    """Return why the model behind the endpoint can take no request, "" if it can. Blocks."""
    endpoint = _endpoint(manifest)
    try:
        url, key = url_of(manifest, environ), key_of(manifest, secrets_dir)
    except AdgenxError as error:
        return error.message
    secure = urlsplit(url).scheme in ("https", "grpcs")
    if secure and endpoint.secret:
        return "" if key else f"no key: put it into {endpoint.secret} in the secrets folder"
    why = _unhealthy(url, endpoint, key)
    return f"{url} {why}: start it, or set {variable(manifest)}" if why else ""


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # half an IPv6 address, or a port that is none
        return False
    return bool(named) and parts.scheme in _SCHEMES


def _endpoint(manifest: Manifest) -> EndpointSection:
    if manifest.endpoint is None:
        raise SettingsError(f"{manifest.name} has no [endpoint]")
    return manifest.endpoint


def _unhealthy(url: str, endpoint: EndpointSection, key: Secret) -> str:
    parts = urlsplit(url)
    if endpoint.format == "grpc":
        address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            socket.create_connection(address, HEALTH_SECONDS).close()
        except OSError:
            return "does not answer"
        return ""
    headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
    with urllib3.PoolManager(retries=False, timeout=HEALTH_SECONDS) as pool:
        try:
            answer = pool.request("GET", url + endpoint.health, headers=headers, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError):
            return "does not answer"
    return "" if _OK <= answer.status < _FIRST_REFUSAL else f"is not ready ({answer.status})"
