"""The kinds of steps that a plan is made of: folders, files, links, copies, commands."""

from __future__ import annotations

import filecmp
import os
import pwd
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.plan import InstallError, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OUTPUT_CHARACTERS = 2000
"""Of a command that failed; its end is what tells."""


def run(argv: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """Run a command and return what it said. Raises InstallError with the end of it."""
    command = [str(part) for part in argv]
    try:
        ended = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be run: {error.strerror}") from error
    if ended.returncode:
        said = ended.stdout.strip()[-OUTPUT_CHARACTERS:]
        raise InstallError(f"`{' '.join(command)}` ended with {ended.returncode}:\n{said}")
    return ended.stdout


def _owned(path: Path, owner: str) -> bool:
    try:
        wanted = pwd.getpwnam(owner)
    except KeyError:
        return False
    found = path.stat()
    return (found.st_uid, found.st_gid) == (wanted.pw_uid, wanted.pw_gid)


@dataclass
class Folder(Step):
    """A folder with a mode."""

    path: Path
    mode: int = 0o755
    data: bool = False

    @property
    def title(self) -> str:
        """Its path and mode."""
        return f"folder {self.path} {self.mode:o}"

    def done(self) -> bool:
        """Say whether it is there with its mode."""
        return self.path.is_dir() and stat.S_IMODE(self.path.stat().st_mode) == self.mode

    def do(self) -> None:
        """Make it, its parents too."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(self.mode)

    def undo(self) -> None:
        """Remove it: whole if it holds data that is purged, else only if nothing is left in it."""
        if self.data:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with suppress(OSError):
            self.path.rmdir()


@dataclass
class Owner(Step):
    """A path's owner and his group; only root can give things away."""

    path: Path
    owner: str
    needs_root: bool = True

    @property
    def title(self) -> str:
        """Whose it is."""
        return f"owner of {self.path}: {self.owner}"

    def done(self) -> bool:
        """Say whether it is his."""
        return self.path.exists() and _owned(self.path, self.owner)

    def do(self) -> None:
        """Give it to him."""
        shutil.chown(self.path, self.owner, self.owner)


@dataclass
class File(Step):
    """A file's content and mode, written whole or not at all.

    `content` is asked only when it is needed, and not before the step that it rests on is done.
    `once`: it is laid down where none is and never written again.
    """

    path: Path
    content: Callable[[], bytes]
    mode: int = 0o644
    once: bool = False
    data: bool = False
    rests_on: Step | None = None

    @property
    def title(self) -> str:
        """Its path and mode."""
        return f"file {self.path} {self.mode:o}"

    def done(self) -> bool:
        """Say whether it is there as it should be."""
        if not self.path.is_file() or (self.rests_on and not self.rests_on.done()):
            return False
        if stat.S_IMODE(self.path.stat().st_mode) != self.mode:
            return False
        return self.once or self.path.read_bytes() == self.content()

    def do(self) -> None:
        """Write it."""
        content = self.path.read_bytes() if self._stays() else self.content()
        write(self.path, content, self.mode)

    def _stays(self) -> bool:
        """Say whether only its mode is wrong."""
        return self.once and self.path.is_file()

    def undo(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; nobody sees it with another mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    part.replace(path)


@dataclass
class Link(Step):
    """A symbolic link, moved in one instant."""

    path: Path
    target: Path

    @property
    def title(self) -> str:
        """From where to where."""
        return f"link {self.path} -> {self.target}"

    def done(self) -> bool:
        """Say whether it points there."""
        return self.path.is_symlink() and self.path.readlink() == self.target

    def do(self) -> None:
        """Point it there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        part.unlink(missing_ok=True)
        part.symlink_to(self.target)
        part.replace(self.path)

    def undo(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


def _same(source: Path, target: Path) -> bool:
    """Say whether two trees hold the same files."""
    return target.is_dir() and _names(source) == _names(target) and not _differing(source, target)


def _names(folder: Path) -> set[Path]:
    return {p.relative_to(folder) for p in folder.rglob("*") if "__pycache__" not in p.parts}


def _differing(source: Path, target: Path) -> list[Path]:
    return [
        name
        for name in _names(source)
        if (source / name).is_file()
        and not filecmp.cmp(source / name, target / name, shallow=False)
    ]


@dataclass
class Tree(Step):
    """A copy of a folder."""

    source: Path
    target: Path

    @property
    def title(self) -> str:
        """From where to where."""
        return f"copy {self.source} to {self.target}"

    def done(self) -> bool:
        """Say whether the copy is the same; a folder is its own copy."""
        return self.source.resolve() == self.target.resolve() or _same(self.source, self.target)

    def do(self) -> None:
        """Copy it anew."""
        part = self.target.with_name(f".{self.target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(self.source, part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.rmtree(self.target, ignore_errors=True)
        part.replace(self.target)

    def undo(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.target, ignore_errors=True)


@dataclass
class Gone(Step):
    """A file or folder that a step of an earlier run made and nobody wants any more."""

    path: Path

    @property
    def title(self) -> str:
        """What goes."""
        return f"remove {self.path}"

    def done(self) -> bool:
        """Say whether nothing is there."""
        return not os.path.lexists(self.path)

    def do(self) -> None:
        """Remove it."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink()
