"""The box as a plan: every folder, key, file, unit and link that makes it, in order.

Built from adgenx.toml and the release; nothing here is done or looked at before the plan is.
"""

from __future__ import annotations

import pwd
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import config as configuration
from appliance import container_minio, machine, rendering, roles, unit_files, units
from appliance.environments import family_environment
from appliance.layout import ROOT, Layout
from appliance.plan import InstallError, Step
from appliance.steps import File, Folder, Gone, Link, Owner, run
from appliance.wanted import chosen, families
from bus.access import keys, nats_conf, policy, s3_policy
from bus.credentials import NKEY_FILE, S3_FILE, S3Key
from bus.worker.folder import ServiceFolder, discover

if TYPE_CHECKING:
    from appliance.source import Source

SECRET = 0o600
CLOSED = 0o700
PROGRAM = 0o755


class Box:
    """One box: where it is, what it should be, and the release that it should run."""

    def __init__(self, layout: Layout, source: Source, text: bytes) -> None:
        """Describe it; `text` is adgenx.toml, laid down where none is.

        Raises ConfigError for what it cannot be.
        """
        self.layout = layout
        self.source = source
        self.text = text
        self.config = config = configuration.parse(text.decode(errors="replace"))
        self.release = layout.releases / source.release.name
        folders = tuple(Path(p) for p in config.services.folders)
        self.services: list[ServiceFolder] = chosen(config, discover(folders))

    @property
    def real(self) -> bool:
        """Say whether it is this machine itself, and no folder of it."""
        return self.layout.prefix == ROOT

    @cached_property
    def users(self) -> list[policy.User]:
        """Every user of its servers."""
        return policy.users(rendering.parties(self.config, self._names))

    @property
    def processes(self) -> list[str]:
        """Every process of ours by name."""
        return [*roles.ROLES, rendering.PROVISION, *self._names]

    @cached_property
    def unit_texts(self) -> dict[str, str]:
        """Every unit file of the release by its name."""
        laid_down = self.release / "deploy"
        return unit_files.read(laid_down if laid_down.is_dir() else self.source.deploy)

    @property
    def units(self) -> list[str]:
        """Every unit that it starts by itself."""
        return unit_files.enabled(self.unit_texts, self.config, self._names)

    @property
    def _names(self) -> list[str]:
        return [service.name for service in self.services]

    def touched_by(self, done: list[Step]) -> list[str]:
        """Return the units to start again since these steps were done; the target never is."""
        paths = [step.path for step in done if isinstance(step, (File, Gone))]
        rekeyed = {roles.unit_of(u) for s in done if isinstance(s, Keys) for u in s.made}
        led_to = [u.replace(".socket", ".service") for u in self.units if u.endswith(".socket")]
        return [
            unit
            for unit in [*self.units, *led_to]
            if unit != roles.TARGET
            and (
                unit in rekeyed
                or any(unit_files.rests_on(unit, path, self.layout) for path in paths)
            )
        ]

    def release_steps(self) -> list[Step]:
        """Return what only prepares the release and touches nothing that runs."""
        return self._families()

    def steps(self) -> list[Step]:
        """Return the whole plan, but for starting anything."""
        return [
            *self._folders(),
            *self._accounts(),
            *self._servers(Keys(self.layout.secrets, self.users)),
            *self._environments(),
            *self._families(),
            *self._units(),
            Link(self.layout.current, Path("releases") / self.release.name),
            *self._commands(),
        ]

    def _folders(self) -> list[Step]:
        at = self.layout
        return [
            Folder(at.etc),
            File(at.config, lambda: self.text, once=True, data=True),
            Folder(at.nats_config.parent),
            Folder(at.s3_identities.parent, CLOSED),
            Folder(at.env_file("").parent),
            Folder(at.secrets, CLOSED, data=True),
            Folder(at.state, data=True),
            Folder(at.nats_data, CLOSED, data=True),
            Folder(at.store, data=True),
            Folder(at.s3_data, CLOSED, data=True),
            Folder(at.models, data=True),
            Folder(at.backup, CLOSED, data=True),
        ]

    def _accounts(self) -> list[Step]:
        at = self.layout
        declared = File(at.sysusers, rendering.SYSUSERS.encode)
        if not self.real:
            return [declared]
        nats, store = rendering.ACCOUNTS
        return [
            declared,
            Accounts(at.sysusers),
            Owner(at.nats_data, nats),
            Owner(at.store, store),
            Owner(at.s3_data, store),
        ]

    def _servers(self, made: Keys) -> list[Step]:
        at, kind = self.layout, self.config.store.kind
        written: list[Step] = [made, File(at.nats_config, self._nats_config, rests_on=made)]
        if kind is configuration.StoreKind.SEAWEEDFS:
            written.append(File(at.s3_identities, self._identities, SECRET, rests_on=made))
        if kind is configuration.StoreKind.MINIO:
            own = at.secrets_of(rendering.STORE)
            written += [
                Folder(own, CLOSED),
                File(own / "root_user", self._root_user, SECRET, rests_on=made),
                File(own / "root_password", self._root_password, SECRET, rests_on=made),
            ]
        return written

    @property
    def store_users(self) -> container_minio.Listing:
        """What MinIO must be told, which keeps its users itself."""
        policies = s3_policy.minio_policies(self.users, self.config.store.bucket)
        return container_minio.listing(self.users, self._store_keys, policies)

    def _root_user(self) -> bytes:
        return self.store_users.root.access_key.encode()

    def _root_password(self) -> bytes:
        return self.store_users.root.secret_key.encode()

    @property
    def _store_keys(self) -> dict[str, S3Key]:
        return keys.make(self.layout.secrets, self.users).s3

    def _nats_config(self) -> bytes:
        public = keys.make(self.layout.secrets, self.users).nkeys
        server = rendering.nats_server(self.config, self.layout)
        return nats_conf.render(server, self.users, public).encode()

    def _identities(self) -> bytes:
        return s3_policy.identities(self.users, self._store_keys, self.config.store.bucket)

    def _environments(self) -> list[Step]:
        config, at = self.config, self.layout
        told = {
            rendering.NATS: rendering.nats_environment(config, at),
            rendering.STORE: rendering.store_environment(config, at),
            rendering.OPERATOR: rendering.operator_environment(config, at),
            **{
                name: rendering.process_environment(config, at, name, self._names)
                for name in self.processes
            },
            **{
                name: rendering.process_environment(config, at, name)
                | rendering.timer_environment(config, at)
                for name in rendering.ON_TIMERS
            },
        }
        folder = at.env_file("").parent
        stale = [p for p in sorted(folder.glob("*.env")) if p.stem not in told]
        contents = {name: rendering.environment_file(t) for name, t in told.items()}
        return [
            *(File(at.env_file(name), text.encode) for name, text in contents.items()),
            *map(Gone, stale),
        ]

    def _families(self) -> list[Step]:
        steps: list[Step] = []
        for family in families(self.services):
            steps += family_environment(
                family, self.source, self.release, tuple(self.config.packages.indexes)
            )
        return steps

    def _units(self) -> list[Step]:
        added = units.drop_ins(self.config, self.services, machine.facts())
        texts = self.unit_texts | added
        return unit_files.steps(self.layout, texts, self.config, self._names)

    def _commands(self) -> list[Step]:
        at = self.layout
        return [
            File(at.command, lambda: rendering.wrapper(at), PROGRAM),
            File(at.installer, lambda: rendering.installer(at), PROGRAM),
            # What it was made of, for a way back to a release that knows fewer keys.
            File(self.release / at.config.name, at.config.read_bytes),
        ]


class Keys(Step):
    """A key for every user of the servers, made once. One whose file was deleted gets a new one."""

    def __init__(self, secrets: Path, users: list[policy.User]) -> None:
        self._secrets = secrets
        self._users = users
        self.made: list[str] = []
        """Users who have got one."""

    @property
    def title(self) -> str:
        """How many there are."""
        return f"keys of {len(self._users)} users in {self._secrets}"

    def _without(self) -> list[str]:
        wanted = {u.name: [NKEY_FILE, *([S3_FILE] if u.objects else [])] for u in self._users}
        return [
            name
            for name, files in wanted.items()
            if not all((self._secrets / name / file).is_file() for file in files)
        ]

    def done(self) -> bool:
        """Say whether everybody has one."""
        return not self._without()

    def do(self) -> None:
        """Make what is missing."""
        self.made = self._without()
        keys.make(self._secrets, self._users)


class Accounts(Step):
    """The users of the two servers. They go with the data that is theirs, and not before."""

    needs_root = True
    data = True

    def __init__(self, declared: Path) -> None:
        self._declared = declared

    @property
    def title(self) -> str:
        """Who they are."""
        return f"users {' and '.join(rendering.ACCOUNTS)}"

    def done(self) -> bool:
        """Say whether they are there."""
        return {entry.pw_name for entry in pwd.getpwall()}.issuperset(rendering.ACCOUNTS)

    def do(self) -> None:
        """Make them, and the group of those who read models."""
        run(["systemd-sysusers", self._declared])

    def undo(self) -> None:
        """Remove them, and the group."""
        gone = [["userdel", name] for name in rendering.ACCOUNTS]
        for command in [*gone, ["groupdel", rendering.READERS]]:
            with suppress(InstallError):
                run(command)
