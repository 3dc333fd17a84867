"""Every path of the box, below one prefix.

    /opt/adgenx/releases/<release>/   venv, venv-<family>, deploy/; `current` and `previous` beside
    /etc/adgenx/adgenx.toml           the one file that an operator edits
    /etc/adgenx/{nats,s3,env,secrets} generated from it
    /var/lib/adgenx/                  nats, s3, models, backup: what must not be lost

Standard library only: the installer needs it before anything is installed. With another prefix
everything lies below it and names it, so that a box can be tried out in a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class Layout:
    """Where everything lies on a box whose root is `prefix`."""

    prefix: Path = ROOT

    @property
    def opt(self) -> Path:
        """Programs: every release, and which one runs."""
        return self.prefix / "opt/adgenx"

    @property
    def releases(self) -> Path:
        """One folder for each installed release."""
        return self.opt / "releases"

    @property
    def current(self) -> Path:
        """Link to the release that runs; units name programs through it."""
        return self.opt / "current"

    @property
    def previous(self) -> Path:
        """Link to the release that ran before: where a rollback goes."""
        return self.opt / "previous"

    @property
    def venv(self) -> Path:
        """Virtual environment of every process that runs no weights, through `current`."""
        return self.current / "venv"

    @property
    def etc(self) -> Path:
        """Configuration: `adgenx.toml`, and what is generated from it."""
        return self.prefix / "etc/adgenx"

    @property
    def config(self) -> Path:
        """The one file that an operator edits."""
        return self.etc / "adgenx.toml"

    @property
    def nats_config(self) -> Path:
        """Configuration of nats-server, generated."""
        return self.etc / "nats/nats-server.conf"

    @property
    def s3_identities(self) -> Path:
        """SeaweedFS's users and what each may do, generated; secret."""
        return self.etc / "s3/identities.json"

    def env_file(self, unit: str) -> Path:
        """Return the environment file of one unit: generated, nothing secret."""
        return self.etc / f"env/{unit}.env"

    @property
    def secrets(self) -> Path:
        """One folder for each unit; root's alone."""
        return self.etc / "secrets"

    def secrets_of(self, unit: str) -> Path:
        """Return the folder of what LoadCredential= hands to one unit: a file for each secret."""
        return self.secrets / unit

    @property
    def state(self) -> Path:
        """Everything that must not be lost."""
        return self.prefix / "var/lib/adgenx"

    @property
    def nats_data(self) -> Path:
        """JetStream's files."""
        return self.state / "nats"

    @property
    def store(self) -> Path:
        """A folder on the store's volume that every service may open, for syncfs(2) on it."""
        return self.state / "s3"

    @property
    def s3_data(self) -> Path:
        """The store's files."""
        return self.store / "data"

    @property
    def models(self) -> Path:
        """Weights, read by the group adgenx."""
        return self.state / "models"

    @property
    def backup(self) -> Path:
        """Backups, where the configuration names no other place."""
        return self.state / "backup"

    @property
    def private_state(self) -> Path:
        """Where systemd keeps the folders of services whose users come and go."""
        return self.prefix / "var/lib/private/adgenx"

    @property
    def units(self) -> Path:
        """Units and their drop-ins."""
        return self.prefix / "etc/systemd/system"

    @property
    def sysusers(self) -> Path:
        """Declared users and groups."""
        return self.prefix / "etc/sysusers.d/adgenx.conf"

    @property
    def command(self) -> Path:
        """`adgenx` with the operator's key."""
        return self.prefix / "usr/local/bin/adgenx"

    @property
    def installer(self) -> Path:
        """The installer of the release that runs."""
        return self.prefix / "usr/local/sbin/adgenx-install"

    @property
    def lock(self) -> Path:
        """Held while an installer works: two at once would undo each other."""
        return self.opt / "install.lock"
