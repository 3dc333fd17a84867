"""What each key of the store may do on a real SeaweedFS: every user x kind of object x verb."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial

import pytest
import urllib3
from access_box import Box, box
from minio import Minio
from minio.commonconfig import CopySource
from minio.error import S3Error

from bus.access import s3_policy
from bus.access.policy import Parties, User, Verb
from bus.artifacts import Artifacts
from bus.s3 import StoreRefusedError
from contracts.artifacts import artifact_key, receipt_key, staging_key, trash_key

pytestmark = pytest.mark.integration

PARTIES = Parties(services=("composer", "flux"), tenants=("alice", "bob"), gateway=True)
SHA = "ab" * 32
KEYS = (
    artifact_key("alice", SHA),
    receipt_key("alice", "flux", "job1"),
    receipt_key("bob", "composer", "job2"),
    staging_key("bob", "upload1"),
    trash_key(artifact_key("alice", SHA), 1.0, "t"),
    "-/observer",
    "stray",
)
PREFIXES = ("", "alice/", f"alice/trash/{SHA}/", "bob/upload/", "alice/out/flux/")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    started = box(tmp_path_factory.mktemp("store"), PARTIES)
    asyncio.run(started.start_store())
    yield started
    asyncio.run(started.stop())


def client(store: Box, user: str) -> Minio:
    key = store.keyring.s3[user]
    return Minio(
        f"127.0.0.1:{store.ports['s3']}",
        key.access_key,
        key.secret_key,
        secure=False,
        region="us-east-1",
        http_client=urllib3.PoolManager(retries=False),
    )


def allowed(call: Callable[[], object]) -> bool:
    try:
        call()
    except S3Error as error:
        if error.code != "AccessDenied":
            raise
        return False
    return True


def may(user: User, verb: Verb, key: str) -> bool:
    return any(verb in o.verbs and fnmatchcase(key, o.keys) for o in user.objects)


def test_every_cell_is_as_declared(store: Box) -> None:
    bucket = store.settings("admin").s3_bucket
    admin = client(store, "admin")

    def put(by: Minio, key: str) -> object:
        return by.put_object(bucket, key, io.BytesIO(b"x"), 1)

    cells = 0
    for name in store.keyring.s3:
        user, own = store.users[name], client(store, name)
        for key in KEYS:
            put(admin, key)
            tries: dict[Verb, Callable[[], object]] = {
                Verb.GET: lambda key=key, own=own: own.get_object(bucket, key).close(),
                Verb.PUT: lambda key=key, own=own: put(own, key),
                Verb.DELETE: lambda key=key, own=own: own.remove_object(bucket, key),
            }
            for verb, call in tries.items():
                assert allowed(call) == may(user, verb, key), f"{name} {verb} {key}"
                cells += 1
        for prefix in PREFIXES:
            listing = allowed(lambda p=prefix, o=own: list(o.list_objects(bucket, p)))
            assert listing == may(user, Verb.LIST, prefix), f"{name} lists {prefix!r}"
            cells += 1
    assert cells == len(store.keyring.s3) * (3 * len(KEYS) + len(PREFIXES))
    assert set(store.users) - set(store.keyring.s3) == {
        *("model_manager", "webhooks", "tenant-alice", "tenant-bob")
    }


def test_nobody_but_the_admin_touches_the_bucket(store: Box) -> None:
    bucket = store.settings("admin").s3_bucket
    everybody = {"Version": "2012-10-17", "Statement": []}
    for name in store.keyring.s3:
        if name == "admin":
            continue
        own = client(store, name)
        for call, *given in (
            (own.make_bucket, "another"),
            (own.remove_bucket, bucket),
            (own.set_bucket_policy, bucket, json.dumps(everybody)),
        ):
            assert not allowed(partial(call, *given)), f"{name} {call.__name__}"


def test_a_copy_needs_both_ends(store: Box) -> None:
    bucket = store.settings("admin").s3_bucket
    admin, flux = client(store, "admin"), client(store, "flux")
    whole, trashed, staged = KEYS[0], KEYS[4], KEYS[3]
    for key in (whole, trashed, staged):
        admin.put_object(bucket, key, io.BytesIO(b"x"), 1)
    assert allowed(lambda: flux.copy_object(bucket, whole, CopySource(bucket, trashed)))
    assert not allowed(lambda: flux.copy_object(bucket, whole, CopySource(bucket, staged)))
    assert not allowed(lambda: flux.copy_object(bucket, trashed, CopySource(bucket, whole)))


async def test_what_is_in_the_trash_is_brought_back_under_a_services_key(store: Box) -> None:
    body = b"somebody still names it"
    admin, flux = Artifacts(store.settings("admin")), Artifacts(store.settings("flux"))
    try:
        stored = await flux.put(body, "alice", "text/plain")
        await admin.objects.copy(stored.key, trash_key(stored.key, 1.0, "t"))
        await admin.remove(stored.key)
        assert await flux.read(stored.key) == body
        with pytest.raises(StoreRefusedError):
            await flux.remove(stored.key)
    finally:
        admin.close()
        flux.close()


def test_links_give_what_their_maker_may_and_no_more(store: Box) -> None:
    """A tenant has no key: the intake signs, for one object and one verb."""
    intake = Artifacts(store.settings("intake"))
    http = urllib3.PoolManager(retries=False)
    try:
        upload = intake.upload_link(staging_key("alice", "u1"), 60)
        assert http.request("PUT", upload, body=b"mine").status == 200
        assert http.request("GET", upload).status == 403
        elsewhere = upload.replace("/upload/u1", "/upload/u2")
        assert http.request("PUT", elsewhere, body=b"not mine").status == 403
        client(store, "admin").put_object(
            store.settings("admin").s3_bucket, KEYS[0], io.BytesIO(b"film"), 4
        )
        assert http.request("GET", intake.link(KEYS[0], 60)).data == b"film"
        refused = http.request("GET", intake.link(KEYS[4].replace("/trash/", "/out/"), 60))
        assert refused.status == 403
    finally:
        intake.close()


def test_the_policies_for_minio_say_the_same(store: Box) -> None:
    """Their shape: AWS's own form, one document for each key."""
    policies = s3_policy.minio_policies(store.users.values(), "adgenx")
    assert set(policies) == set(store.keyring.s3)
    for name, text in policies.items():
        document = json.loads(text)
        assert document["Version"] == "2012-10-17"
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert all(a.startswith("s3:") for a in statement["Action"])
            resources = statement["Resource"]
            whole = name == "admin" or resources == ["arn:aws:s3:::adgenx"]
            assert whole or resources[0].startswith("arn:aws:s3:::adgenx/")
            if resources == ["arn:aws:s3:::adgenx"] and name != "retention":
                assert statement["Condition"]["StringLike"]["s3:prefix"] == ["*/trash/*"]
    flux = json.loads(policies["flux"])["Statement"]
    assert not any("s3:DeleteObject" in s["Action"] for s in flux)
