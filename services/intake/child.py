"""The child that reads one hostile file: `python -m services.intake.child ROLE SOURCE TARGET`.

It limits itself before it imports a decoder, answers with one line of JSON, and whatever happens
to it (killed, out of memory, out of time) says no more than: rejected.
"""

from __future__ import annotations

import os
import resource
import sys
import warnings
from pathlib import Path

import msgspec

from contracts.assets import AssetRole
from contracts.codec import encode
from contracts.errors import ErrorInfo, MediaRejectedError
from services.intake.cleaned import Clean
from services.intake.cleaning import clean
from services.intake.magic import HEAD_BYTES, kind_of

MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 40
FILE_BYTES = 512 * 1024**2
OPEN_FILES = 64


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the child says: one of the two."""

    clean: Clean | None = None
    error: ErrorInfo | None = None


def limit() -> None:
    """Give this process little memory, time and disk, and no way to dump or to start another."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(5)


def answer(role: AssetRole, source: Path, target: Path) -> Answer:
    """Clean one file, or say why not; no exception of a decoder leaves this function."""
    try:
        with source.open("rb") as file:
            kind = kind_of(file.read(HEAD_BYTES), role)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Answer(clean=clean(kind, source, target))
    except MediaRejectedError as error:
        return Answer(error=error.info())
    except MemoryError:
        return Answer(error=MediaRejectedError("the file is too large when decoded").info())
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like on a hostile file
        reason = f"the file cannot be decoded ({type(error).__name__})"
        return Answer(error=MediaRejectedError(reason).info())


def main() -> int:
    """Return the exit status; the answer is on stdout."""
    limit()
    role, source, target = sys.argv[1:]
    said = encode(answer(AssetRole(role), Path(source), Path(target)))
    sys.stdout.buffer.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
