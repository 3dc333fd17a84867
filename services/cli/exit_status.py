"""What the command's exit status means."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of `adgenx`."""

    OK = 0
    FAILED = 1
    """The campaign failed or was cancelled, or a check found something wrong."""
    INVALID = 2
    """The brief or the command line cannot be used; nothing was started."""
    UNREACHABLE = 3
    """No bus answers, or it stopped answering."""
    DETACHED = 130
    """Ctrl-C: the campaign goes on."""
