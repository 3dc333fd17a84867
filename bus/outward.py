"""Which addresses outside this house may be talked to: the guard for every URL that others give.

A webhook or an asset's URL makes our machine open a connection that its writer chose. So the URL
is read strictly, its name is resolved once, every address that comes is judged, and whoever
connects does so to the addresses that were judged (bus/exchange.py): a name that changes its mind
between two look-ups gains nothing. Redirects are for the caller to refuse, or to vet anew.

With `private` (a LAN, and tests) loopback and private networks may be reached too, over plain HTTP
as well; addresses where clouds keep their machines' credentials never.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from contracts.errors import ProviderUnavailableError, UrlNotAllowedError

MAX_URL_CHARACTERS = 2000
PORTS = {"https": 443, "http": 80}
LOWEST_FREE_PORT = 1024
SERVICE_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080}
    | set(range(6665, 6670))
)
"""Ports from 1024 on that browsers do not speak HTTP to either (the Fetch standard's bad ports)."""

_TEXT = re.compile(r"\A[!-~]+\Z")
_FORBIDDEN = re.compile(r"[\\\"<>^`{|}]")
_LABEL = re.compile(r"\A[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\Z")
_NUMBER = re.compile(r"\A([0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_LONGEST_NAME = 253

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


_CREDENTIALS = _networks(
    "169.254.0.0/16",  # what most clouds answer at, and link-local as a whole
    "100.100.100.200/32",  # Alibaba's
    "168.63.129.16/32",  # Azure's, although it looks public
    "fd00:ec2::/32",  # Amazon's
)
"""Where a machine finds its own credentials: never reached, `private` or not."""

_HOME = _networks(
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
)
"""What `private` opens."""

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC = _networks(
    "192.0.0.0/24",  # protocol assignments, some of which Python calls global
    "192.88.99.0/24",  # relays of 6to4
    "2001::/23",  # Teredo, ORCHID and other tunnels
    "2002::/16",  # 6to4: holds an IPv4 address of anybody's choice
    "2001:db8::/32",
    "3fff::/20",
)
"""What Python calls global, or called so once, and is not."""

_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Third quarter of an address whose last one is an IPv4 address of anybody's choice."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From a name and a port to addresses; raises ProviderUnavailableError when there are none."""


class Destination(NamedTuple):
    """A URL that was read: `host` without brackets, `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        """Return what HTTP's Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Vetted(NamedTuple):
    """A destination and the addresses, at least one, that were judged for it."""

    destination: Destination
    addresses: tuple[str, ...]


def read(url: str, *, private: bool) -> Destination:
    """Read a URL without looking anything up, or raise UrlNotAllowedError saying what is wrong."""
    if len(url) > MAX_URL_CHARACTERS or not _TEXT.match(url) or _FORBIDDEN.search(url):
        raise _refused("it is too long, or holds a character that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("it cannot be read") from None
    if parts.scheme not in PORTS or not url[len(parts.scheme) :].startswith("://"):
        raise _refused("its scheme is not https")
    if parts.scheme == "http" and not private:
        raise _refused("its scheme is not https")
    if "@" in parts.netloc:
        raise _refused("it names a user")
    host = _host(parts.netloc, parts.hostname or "")
    if port is None:
        if parts.netloc.endswith(":"):
            raise _refused("its port is missing")
        port = PORTS[parts.scheme]
    if port not in PORTS.values() and (port < LOWEST_FREE_PORT or port in SERVICE_PORTS):
        raise _refused(f"port {port} is not one for HTTP")
    address = _literal(host)
    if address is not None and (why := refusal(address, private=private)):
        raise _refused(why)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port, target)


def refusal(address: str, *, private: bool) -> str:
    """Say why an address must not be reached; empty if it may."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "it is no address"
    if _within(ip, _CREDENTIALS):
        return "it leads to a machine's own credentials"
    if _public(ip) or (private and _within(ip, _HOME)):
        return ""
    return "it leads to an address that is not public"


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProviderUnavailableError("its name cannot be resolved") from None
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def vet(url: str, *, private: bool, resolve: Resolve = resolve) -> Vetted:
    """Return where a URL leads, once every address of its name was judged.

    Raises UrlNotAllowedError, which is final, or ProviderUnavailableError if the name has no
    address now. A name of which one address is good and another is not is refused as a whole.
    """
    destination = read(url, private=private)
    literal = _literal(destination.host)
    found = [literal] if literal else await resolve(destination.host, destination.port)
    if not found:
        raise ProviderUnavailableError("its name has no address")
    for address in found:
        if why := refusal(address, private=private):
            raise _refused(why)
    return Vetted(destination, tuple(found))


def _host(netloc: str, host: str) -> str:
    """Return a name or an address in its one plain spelling."""
    if netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise _refused("its host is no address") from None
    labels = host.split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.match(label) for label in labels):
        raise _refused("its host is no name")
    if _NUMBER.match(labels[-1]):
        # Browsers and resolvers read 127.1, 0x7f.1 and 2130706433 as addresses; we read one form.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _refused("its host is no address") from None
    return host.lower()


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _public(ip: _Address) -> bool:
    if not ip.is_global or ip.is_multicast or ip.is_reserved or _within(ip, _NOT_PUBLIC):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    # Outside of 2000::/3 nothing is routed, and the forms that embed IPv4 (mapped, NAT64) live.
    return ip in _GLOBAL_V6 and (int(ip) >> 32) & 0xFFFF_FFFF not in _ISATAP


def _within(ip: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(ip.version == n.version and ip in n for n in networks)


def _refused(why: str) -> UrlNotAllowedError:
    return UrlNotAllowedError(f"the URL may not be used: {why}", field="url")
