"""The users of a box and what each may do: the table of roles.py, filled in. Pure.

`users` is all that an installer needs: keys.py makes a key for each of them, nats_conf.py and
s3_policy.py write down what the servers shall let each of them do.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.access import roles
from bus.access.rights import EVERYTHING, Objects, Rights, Verb, hears, led, says, touches
from bus.credentials import TENANT_PREFIX, inbox_of
from contracts.identity import Id
from contracts.manifest import ServiceName

__all__ = ["Kind", "Objects", "Parties", "User", "Verb", "users"]


class Kind(StrEnum):
    """What a user is."""

    ADMIN = "admin"
    OPERATOR = "operator"
    ROLE = "role"
    SERVICE = "service"
    TENANT = "tenant"


class Parties(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a box serves and by whom: model services by name (variants, composer and packager too),
    tenants, whether there is a gateway, and whether streams have replicas.
    """

    services: tuple[ServiceName, ...] = ()
    tenants: tuple[Id, ...] = ("default",)
    gateway: bool = False
    replicated: bool = False


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One user: its name is its key's folder, its log name and the end of its inbox prefix.

    `publish` and `subscribe` are subjects with NATS's wildcards, sorted; whatever they leave out is
    refused. `objects` are its rights in the store; without any it has no key there.
    """

    name: str
    kind: Kind
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    objects: tuple[Objects, ...] = ()
    tenant: str = ""

    @property
    def inbox_prefix(self) -> str:
        """Where its answers come to; nobody else may listen there."""
        return inbox_of(self.name)

    @property
    def unlimited(self) -> bool:
        """Whether nothing on the bus is refused to it."""
        return EVERYTHING in self.publish and EVERYTHING in self.subscribe


def users(parties: Parties) -> list[User]:
    """Return every user of a box: admin, operator, the roles, one per service and per tenant.

    Raises ValueError where a service has the name of somebody else: they would share a key.
    """
    everything = says(EVERYTHING) | hears(EVERYTHING) | touches("*", *Verb)
    insiders = [(roles.OPERATOR, Kind.OPERATOR, roles.operator())]
    insiders += [(name, Kind.ROLE, rights) for name, rights in roles.ROLES.items()]
    insiders.append((roles.MANAGER, Kind.ROLE, roles.manager(parties.services)))
    if parties.gateway:
        insiders.append((roles.GATEWAY, Kind.ROLE, roles.gateway()))
    insiders += [(name, Kind.SERVICE, roles.service(name)) for name in parties.services]
    found = [_user(roles.ADMIN, Kind.ADMIN, everything)]
    for name, kind, rights in insiders:
        found.append(_insider(name, kind, led(rights) if parties.replicated else rights))
    for name in parties.tenants:
        rights = roles.tenant(name)
        user = _user(f"{TENANT_PREFIX}{name}", Kind.TENANT, rights, tenant=name)
        found.append(user)
    names = [user.name for user in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two users would be named {', '.join(twice)}")
    return found


def _insider(name: str, kind: Kind, rights: Rights) -> User:
    return _user(name, kind, rights | roles.everybody(name))


def _user(name: str, kind: Kind, rights: Rights, tenant: str = "") -> User:
    inbox = hears(f"{inbox_of(name)}.>") if EVERYTHING not in rights.subscribe else Rights()
    rights |= inbox
    return User(
        name=name,
        kind=kind,
        publish=tuple(sorted(rights.publish)),
        subscribe=tuple(sorted(rights.subscribe)),
        objects=tuple(sorted(rights.objects, key=lambda o: (o.keys, sorted(o.verbs)))),
        tenant=tenant,
    )
