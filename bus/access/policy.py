"""The users of a box and what each may do: the table of roles.py, filled in. Pure.

`users` is all that an installer needs: keys.py makes a key for each of them, nats_conf.py and
s3_policy.py write down what the servers shall let each of them do.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from contracts.identity import Id
from contracts.manifest import ServiceName

TENANT_PREFIX = "tenant-"


class Kind(StrEnum):
    """What a user is."""

    ADMIN = "admin"
    OPERATOR = "operator"
    ROLE = "role"
    SERVICE = "service"
    TENANT = "tenant"


class Verb(StrEnum):
    """What may be done to objects of the store."""

    GET = "get"
    PUT = "put"
    DELETE = "delete"
    LIST = "list"


class Objects(msgspec.Struct, frozen=True):
    """Rights on the objects whose keys match a pattern; `*` stands for anything, slashes too."""

    keys: str
    verbs: frozenset[Verb]


class Parties(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a box serves and by whom: model services by name (variants, composer and packager too),
    tenants, and whether there is a gateway.
    """

    services: tuple[ServiceName, ...] = ()
    tenants: tuple[Id, ...] = ("default",)
    gateway: bool = False


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
        return f"_INBOX_{self.name}"


def users(parties: Parties) -> list[User]:
    """Return every user of a box: admin, operator, the roles, one per service and per tenant."""
    raise NotImplementedError
