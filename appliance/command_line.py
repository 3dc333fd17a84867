"""The installer's command line; standard library only, read by both of its stages."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.layout import ROOT

COMMANDS = {
    "install": "set the box up (without a command, too)",
    "apply": "bring the box to what adgenx.toml says, with the release that runs",
    "upgrade": "bring a newer release; goes back by itself if the box is not well with it",
    "rollback": "go back to the release that ran before",
    "uninstall": "remove programs and units; data, keys and configuration stay",
    "status": "say which releases are here",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the installer's command line."""
    parser = argparse.ArgumentParser(
        prog="install",
        description="Set up the appliance on this machine. Running it again changes nothing.",
        epilog="\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", nargs="?", choices=[*COMMANDS], default="install", metavar="COMMAND"
    )
    parser.add_argument("--dry-run", action="store_true", help="print every step, touch nothing")
    parser.add_argument(
        "--prefix", type=_absolute, default=ROOT, metavar="DIR", help="everything goes below DIR"
    )
    parser.add_argument(
        "--services",
        metavar="A,B|draft|all",
        help="which model services; without it, what adgenx.toml says",
    )
    parser.add_argument("--bundle", type=_absolute, metavar="DIR", help="install from it, offline")
    parser.add_argument(
        "--config", type=_absolute, metavar="FILE", help="becomes adgenx.toml, where none is yet"
    )
    parser.add_argument(
        "--no-start", action="store_true", help="start nothing: in an image, without a systemd"
    )
    parser.add_argument("--purge", action="store_true", help="uninstall: data and keys as well")
    parser.add_argument("--yes", action="store_true", help="uninstall --purge: do not ask")
    # Said by the first stage to the second, and by a release to the one that it goes back to: a
    # release must understand these from the next one.
    parser.add_argument("--source", type=_absolute, help=argparse.SUPPRESS)
    parser.add_argument("--release", default="", help=argparse.SUPPRESS)
    parser.add_argument("--way-back", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--prepared", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _absolute(text: str) -> Path:
    return Path(text).absolute()
