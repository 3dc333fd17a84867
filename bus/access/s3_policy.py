"""What the store shall let each user do, for SeaweedFS and for MinIO. Pure.

Both read the same policy documents, AWS's own form. `identities` puts them beside the keys into one
file; MinIO is told each of them (`appliance/container_minio.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bus.access.rights import Objects, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bus.access.policy import User
    from bus.credentials import S3Key

EVERY_KEY = "*"
_VERSION = "2012-10-17"
_OF_OBJECTS = {
    Verb.GET: ["s3:GetObject"],
    Verb.PUT: ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
    Verb.DELETE: ["s3:DeleteObject"],
}
_OF_BUCKET = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation"]

Statement = dict[str, object]


def policy(user: User, bucket: str) -> bytes:
    """Return the policy document of a user: what it may do to which keys of the bucket."""
    if user.unlimited:
        statements = [_allow(["s3:*"], ["arn:aws:s3:::*"])]
    else:
        statements = [s for rights in user.objects for s in _statements(rights, bucket)]
    document = {"Version": _VERSION, "Statement": statements}
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def identities(users: Iterable[User], keys: Mapping[str, S3Key], bucket: str) -> bytes:
    """Return SeaweedFS's identities.json (`-s3.config`). Holds the keys: a secret file."""
    with_keys = [user for user in users if user.name in keys]
    document = {
        "identities": [_identity(user, keys[user.name]) for user in with_keys],
        "policies": [
            {"name": user.name, "content": policy(user, bucket).decode()}
            for user in with_keys
            if not user.unlimited
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def minio_policies(users: Iterable[User], bucket: str) -> dict[str, bytes]:
    """Return MinIO's policy document of every user that has rights there, by the user's name."""
    return {user.name: policy(user, bucket) for user in users if user.objects}


def _identity(user: User, key: S3Key) -> dict[str, object]:
    found: dict[str, object] = {
        "name": user.name,
        "credentials": [{"accessKey": key.access_key, "secretKey": key.secret_key}],
        "actions": ["Admin"] if user.unlimited else [],
    }
    return found if user.unlimited else found | {"policyNames": [user.name]}


def _statements(rights: Objects, bucket: str) -> Iterator[Statement]:
    arn = f"arn:aws:s3:::{bucket}"
    actions = [a for verb, many in _OF_OBJECTS.items() if verb in rights.verbs for a in many]
    if actions:
        yield _allow(actions, [f"{arn}/{rights.keys}"])
    if Verb.LIST in rights.verbs:
        listing = _allow(_OF_BUCKET if rights.keys == EVERY_KEY else ["s3:ListBucket"], [arn])
        if rights.keys != EVERY_KEY:
            listing["Condition"] = {"StringLike": {"s3:prefix": [rights.keys]}}
        yield listing


def _allow(actions: list[str], resources: list[str]) -> Statement:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
