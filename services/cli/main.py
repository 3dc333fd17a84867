"""`adgenx`: make a campaign from a brief, watch and fetch it, look after the appliance."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any

import structlog

from bus import tracing
from contracts.assets import AssetRole
from contracts.capability import Tier
from contracts.errors import AdgenxError, InvalidInputError, TransientError
from services.cli.exit_status import ExitStatus

Command = Callable[[argparse.Namespace], Awaitable[ExitStatus]]


def _command(module: str, name: str) -> Command:
    """Return a command that is imported only when it is used: `adgenx --help` stays instant."""

    async def call(given: argparse.Namespace) -> ExitStatus:
        command: Command = getattr(import_module(f"services.cli.{module}"), name)
        return await command(given)

    return call


def _add(commands: Any, name: str, command: Command, summary: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's subparsers have no public type
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(command=command)
    return parser


def _brief(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "brief", metavar="BRIEF", help="a YAML or JSON file, - for standard input, or one sentence"
    )
    parser.add_argument("--scale", type=float, help="size of every picture, 0.1 to 1")
    parser.add_argument("--tier", choices=[t.value for t in Tier], help="draft or production")


def _terms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--priority", type=int, metavar="0-9", help="9 goes first; 5 without it")
    parser.add_argument(
        "--deadline", type=float, metavar="SECONDS", help="fail if it takes longer than this"
    )
    parser.add_argument(
        "--budget", type=float, metavar="DOLLARS", help="at most; its brief may say less"
    )
    parser.add_argument("--webhook", metavar="URL", help="tell its result over HTTP")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def build_parser() -> argparse.ArgumentParser:
    """Return the whole command line."""
    parser = argparse.ArgumentParser(
        prog="adgenx", description="One brief in, a whole ad campaign out."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _campaign_commands(commands)
    _machine_commands(commands)
    _retention_commands(commands)
    _life_commands(commands)
    _webhook_commands(commands)
    _dead_commands(commands)
    _governing_commands(commands)
    _model_commands(commands)
    return parser


def _campaign_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    run = _add(commands, "run", _command("campaigns", "run"), "make a campaign, wait, unpack it")
    _brief(run)
    _terms(run)
    run.add_argument("--out", metavar="DIR", required=True, help="where the package goes")
    _json(run)

    submit = _add(commands, "submit", _command("campaigns", "submit"), "ask for a campaign, return")
    _brief(submit)
    _terms(submit)

    watch = _add(commands, "watch", _command("campaigns", "watch"), "attach to a campaign")
    watch.add_argument("campaign")
    watch.add_argument("--out", metavar="DIR", help="unpack the package here when it is done")
    _json(watch)

    listing = _add(commands, "list", _command("campaigns", "list_campaigns"), "list the campaigns")
    _json(listing)

    cancel = _add(commands, "cancel", _command("campaigns", "cancel"), "cancel a campaign, or all")
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("campaign", nargs="?")
    which.add_argument("--all", action="store_true", help="everything that is unfinished")

    get = _add(commands, "get", _command("campaigns", "get"), "fetch a finished campaign again")
    get.add_argument("campaign")
    get.add_argument("--out", metavar="DIR", required=True, help="where the package goes")
    get.set_defaults(json=False)

    put = _add(commands, "put", _command("campaigns", "put"), "upload a file as an asset")
    put.add_argument("file", metavar="FILE")
    put.add_argument("--role", choices=[r.value for r in AssetRole], required=True)
    put.add_argument("--holder", default="", help="who holds the rights")
    put.add_argument("--licence", default="", help="under what licence it may be used")
    put.add_argument("--expires", default="", metavar="DATE", help="until when (YYYY-MM-DD)")


def _machine_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    _add(commands, "up", _command("machine", "up"), "run the appliance on this machine")
    _add(commands, "down", _command("machine", "down"), "end the appliance on this machine")
    doctor = _add(commands, "doctor", _command("doctor", "doctor"), "say what works and what lacks")
    _json(doctor)
    health = _add(commands, "health", _command("health", "health"), "say how the box is")
    _json(health)
    health.add_argument("--strict", action="store_true", help="fail if it is degraded, too")
    update = _add(commands, "update", _command("update", "check"), "look for a newer release")
    update.add_argument("--check", action="store_true", required=True, help="look, and say")
    _json(update)
    top = _add(commands, "top", _command("top", "top"), "show what happens on the bus now")
    top.add_argument("--once", action="store_true", help="look once, print it and end")
    top.add_argument("--json", action="store_true", help="look once, as one JSON object")
    schema = _add(commands, "schema", _command("machine", "schema"), "write the message schemas")
    schema.add_argument("--out", metavar="DIR", help="a folder; standard output without it")


def _retention_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    delete = _add(
        commands, "delete", _command("retention", "delete"), "delete a campaign and all it made"
    )
    delete.add_argument("campaign")
    gc = _add(
        commands, "gc", _command("retention", "gc"), "say what was swept away; sweep with --now"
    )
    which = gc.add_mutually_exclusive_group()
    which.add_argument("--now", action="store_true", help="sweep at once, and wait for it")
    which.add_argument("--dry-run", action="store_true", help="count only, change nothing")
    _json(gc)


def _life_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    provision = _add(
        commands, "provision", _command("provision", "provision"), "make streams and the bucket"
    )
    _json(provision)

    backup = _add(commands, "backup", _command("backup", "backup"), "take a backup, or verify one")
    backup.add_argument("words", metavar="[verify|list] DIR", nargs="+", help="a folder of backups")
    backup.add_argument(
        "--keep", type=int, default=0, metavar="N", help="remove older ones beyond the newest N"
    )
    _json(backup)

    restore = _add(commands, "restore", _command("backup", "restore"), "bring a backup back")
    restore.add_argument("folder", metavar="DIR", help="a folder of backups, or one of them")
    restore.add_argument(
        "--force", action="store_true", help="replace what is there; without it, it must be empty"
    )
    _json(restore)

    scrub = _add(commands, "scrub", _command("scrub", "scrub"), "compare stored files, hashes")
    scrub.add_argument(
        "--seconds", type=float, default=0.0, help="stop after so long; the next one goes on"
    )
    scrub.add_argument(
        "--rate", type=float, default=32.0, metavar="MIB", help="read at most so much a second"
    )
    scrub.add_argument("--again", action="store_true", help="begin at the beginning")
    _json(scrub)

    support = _add(commands, "support", _command("support", "support"), "collect facts for help")
    support.add_argument("--out", metavar="FILE", default="", help="where it goes: a .tar.gz")
    support.add_argument(
        "--with-briefs", action="store_true", help="briefs and prompts too, which it leaves out"
    )


def _group(commands: Any, name: str, summary: str) -> Any:  # noqa: ANN401 - see _add
    """Add a command that has commands of its own."""
    group = commands.add_parser(name, help=summary, description=summary)
    return group.add_subparsers(metavar="COMMAND", required=True)


def _webhook_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    group = _group(commands, "webhook", "say who is told of results over HTTP")
    set_ = _add(group, "set", _command("webhook", "set_webhook"), "tell an address of every result")
    set_.add_argument("url", metavar="URL")
    set_.add_argument("--id", default="", help="its name; setting it again replaces it")
    set_.add_argument(
        "--event",
        dest="events",
        action="append",
        choices=["generation_result", "campaign_result"],
        help="tell only these; may be given twice",
    )
    end = _add(group, "end", _command("webhook", "end"), "tell an address no longer")
    end.add_argument("id", metavar="ID")
    listing = _add(
        group, "list", _command("webhook", "list_webhooks"), "list webhooks and their deliveries"
    )
    listing.add_argument("--dead", action="store_true", help="only deliveries that were given up")
    _json(listing)
    retry = _add(group, "retry", _command("webhook", "retry"), "try dead deliveries again")
    retry.add_argument("delivery", metavar="DELIVERY", nargs="*")
    retry.add_argument("--all", action="store_true", help="every one that is dead")
    key = _add(group, "key", _command("webhook", "key"), "show a tenant's signing keys")
    key.add_argument("tenant", metavar="TENANT")
    key.add_argument("--rotate", action="store_true", help="make a new one; both sign for a day")


def _dead_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    group = _group(commands, "dead", "look after jobs that no attempt could finish")
    _json(_add(group, "list", _command("dead", "list_dead"), "list dead jobs"))
    show = _add(group, "show", _command("dead", "show"), "tell a dead job's story")
    _json(show)
    for parser in (
        show,
        _add(group, "retry", _command("dead", "retry"), "ask for a dead job again"),
        _add(group, "drop", _command("dead", "drop"), "forget a dead job"),
    ):
        parser.add_argument("job", metavar="JOB")
        parser.add_argument("--service", default="", help="whose, if several gave it up")


def _governing_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    explain = _add(
        commands, "explain", _command("explain", "explain"), "say who did a request, why"
    )
    explain.add_argument("request", metavar="REQUEST", help="its id, or its step with --campaign")
    explain.add_argument("--campaign", default="", help="whose request it is")
    _json(explain)

    flag = _add(commands, "flag", _command("governing", "flag"), "list services, turn them on, off")
    flag.add_argument("service", metavar="SERVICE", nargs="?", default="")
    flag.add_argument("state", choices=["on", "off", "default"], nargs="?")
    flag.add_argument("--reason", default="", help="told to whoever asks for it")
    _json(flag)

    breaker = _listing_group(commands, "breaker", "list_breakers", "list or reset circuit breakers")
    reset = _add(breaker, "reset", _command("governing", "reset_breaker"), "close one: it works")
    reset.add_argument("service", metavar="SERVICE")

    budget = _listing_group(commands, "budget", "list_budgets", "list or set what may be spent")
    set_ = _add(budget, "set", _command("governing", "set_budget"), "limit a tenant or a campaign")
    set_.add_argument("whose", metavar="TENANT[/CAMPAIGN]")
    set_.add_argument("amount", metavar="AMOUNT", help="US dollars, or none")

    cache = _group(commands, "cache", "forget outputs that were made before")
    forget = _add(cache, "invalidate", _command("governing", "invalidate_cache"), "forget outputs")
    forget.add_argument("--key", default="", help="of the entry: a JobRecord's cache_key")
    forget.add_argument("--provider", default="", metavar="SERVICE", help="who made them")
    forget.add_argument("--prompt", default="", help="exactly what was asked")
    forget.add_argument("--tenant", default="", help="only this tenant's")

    priority = _add(commands, "priority", _command("governing", "priority"), "set who goes first")
    priority.add_argument("name", metavar="REQUEST|CAMPAIGN")
    priority.add_argument("rank", metavar="RANK", help="0 goes first; none: as if nothing was said")
    priority.add_argument("--campaign", default="", help="whose request it is")


def _model_commands(commands: Any) -> None:  # noqa: ANN401 - see _add
    parser = _add(
        commands, "models", _command("residency", "residency"), "say who is in memory, and why"
    )
    _json(parser)
    group = parser.add_subparsers(metavar="COMMAND")
    _json(_add(group, "list", _command("models", "list_models"), "list models and what they lack"))
    bring = _add(
        group, "pull", _command("models", "pull_models"), "bring weights, or go on with it"
    )
    bring.add_argument("services", metavar="SERVICE", nargs="+")
    bring.add_argument("--update", action="store_true", help="take what upstream has now")
    build = _add(
        group, "install", _command("environments", "install"), "build a model's own Python"
    )
    build.add_argument("service", metavar="SERVICE")
    build.add_argument("--python", default="", metavar="PATH", help="the interpreter to build with")
    check = _add(group, "verify", _command("models", "verify"), "compare files with their hashes")
    check.add_argument("services", metavar="SERVICE", nargs="*")
    where = _add(group, "path", _command("models", "path"), "print where a service's weights lie")
    where.add_argument("service", metavar="SERVICE")
    where.add_argument("part", metavar="PART", nargs="?", default="")


def _listing_group(commands: Any, name: str, listing: str, summary: str) -> Any:  # noqa: ANN401 - see _add
    """Add a command that lists, and has commands of its own."""
    parser = _add(commands, name, _command("governing", listing), summary)
    _json(parser)
    return parser.add_subparsers(metavar="COMMAND")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = build_parser().parse_args(argv)
    # A person reads this terminal: what went wrong is said once, as an error, not as a log.
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent)
    tracing.configure("adgenx")
    try:
        return int(asyncio.run(given.command(given)))
    except KeyboardInterrupt:
        return ExitStatus.DETACHED
    except AdgenxError as error:
        sys.stderr.write(f"adgenx: {error.code}: {error.message}\n")
        return _status_of(error)
    except BrokenPipeError:  # `adgenx list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK
    except OSError as error:  # a full disk, a folder that may not be written
        sys.stderr.write(f"adgenx: {error}\n")
        return ExitStatus.FAILED
    finally:
        tracing.shutdown()


def _status_of(error: AdgenxError) -> ExitStatus:
    if isinstance(error, InvalidInputError):
        return ExitStatus.INVALID
    return ExitStatus.UNREACHABLE if isinstance(error, TransientError) else ExitStatus.FAILED


if __name__ == "__main__":
    raise SystemExit(main())
