"""Commands about campaigns: run, submit, watch, list, cancel, get, put."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape

from bus import outward
from contracts import events
from contracts.assets import AssetRole, Rights
from contracts.brief import localized
from contracts.brief_check import check_brief
from contracts.campaign import RerunCampaign, RunCampaign, brief_hash
from contracts.capability import Tier
from contracts.codec import decode_input, encode
from contracts.errors import ConflictError, InvalidRequestError, UnknownIdError
from contracts.governance import Limit
from contracts.identity import check_id
from services.cli import brief_file, delivery
from services.cli.client import Client
from services.cli.exit_status import ExitStatus
from services.cli.history import History
from services.cli.progress import choose
from services.cli.reach import ensure_running, reached
from services.cli.sentence import campaign_name

if TYPE_CHECKING:
    import argparse

    from services.cli.state import CampaignView

_WHY_LINES = 12
_LEFT_OUT = "left_out"


def _say(text: str) -> None:
    """Write a line for people, in rich's markup; what others wrote must be escaped in it."""
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _out_folder(given: argparse.Namespace) -> Path:
    """Make the folder before anything is asked for: a campaign needs somewhere to go."""
    folder = Path(given.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequestError(f"--out {given.out}: {error.strerror}", field="out") from None
    return folder


class Asked(NamedTuple):
    """What the user asks for; local files of the brief are relative to `folder`. `on_terms`: with
    something of its own to say about priority, deadline, budget or webhook.
    """

    campaign_id: str
    message: RunCampaign
    folder: Path
    on_terms: bool = False


def load_brief(given: argparse.Namespace) -> Asked:
    """Read the brief, apply the command line's settings to it and check it."""
    brief, folder = brief_file.read(given.brief)
    chosen: dict[str, Any] = {}
    if given.scale is not None:
        chosen["scale"] = given.scale
    if given.tier is not None:
        chosen["tier"] = Tier(given.tier)
    terms = _terms(given)
    if isinstance(brief, str):
        message = _checked(RunCampaign(brief=brief, **chosen, **terms))
        return Asked(campaign_name(brief), message, folder, bool(terms))
    brief = brief_file.brief_of(msgspec.to_builtins(msgspec.structs.replace(brief, **chosen)))
    check_brief(brief, on_wire=False)
    for index, asset in enumerate(brief.assets):
        if asset.file and not (folder / asset.file).is_file():
            field = f"assets[{index}].file"
            raise InvalidRequestError(f"{field}: no such file: {asset.file}", field=field)
    message = _checked(RunCampaign(brief=brief, **terms))
    return Asked(brief.campaign, message, folder, bool(terms))


def _terms(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the envelope that the command line sets."""
    if given.webhook is not None:
        outward.read(given.webhook, private=True)  # whether a LAN is allowed, the sender knows
    said = {
        "priority": given.priority,
        "deadline_seconds": given.deadline,
        "budget": None if given.budget is None else Limit(amount=given.budget),
        "webhook": given.webhook,
    }
    return {name: value for name, value in said.items() if value is not None}


def _checked(message: RunCampaign) -> RunCampaign:
    """Return the message if it would be taken in: the limits stand in its own types."""
    decode_input(encode(message), RunCampaign)
    return message


async def run(given: argparse.Namespace) -> ExitStatus:
    """Make a campaign and leave its package in a folder."""
    asked = load_brief(given)
    _out_folder(given)
    await ensure_running(_say)
    async with reached() as bus:
        client = Client(bus)
        revision = await ask(client, asked)
        if not given.json:
            _headline(asked, revision)
        return await _show(client, asked.campaign_id, revision, given, deliver=True)


async def submit(given: argparse.Namespace) -> ExitStatus:
    """Ask for a campaign and return at once."""
    asked = load_brief(given)
    async with reached() as bus:
        revision = await ask(Client(bus), asked)
    sys.stdout.write(f"{asked.campaign_id} revision {revision}\n")
    return ExitStatus.OK


async def ask(client: Client, asked: Asked) -> int:
    """Ask for a campaign, new or again; return the revision that will answer.

    The same brief as the one at work attaches to it; another one supersedes it.
    """
    campaign_id = asked.campaign_id
    brief = await client.with_assets(asked.message.brief, asked.folder)
    message = msgspec.structs.replace(asked.message, brief=brief)
    view = await client.view(campaign_id)
    if view.revision == 0 and view.result is None:
        await client.submit(campaign_id, message)
        return 1
    if view.result is None and view.brief_hash == brief_hash(message):
        if asked.on_terms:
            _say(
                f"{campaign_id} is at work, on the terms that it was asked for with; "
                "`adgenx priority` and `adgenx budget set` change them"
            )
        return view.revision
    again = RerunCampaign(base_revision=view.revision, **msgspec.structs.asdict(message))
    await client.rerun(campaign_id, again)
    answer = await client.rerun_answer(campaign_id, view.revision)
    if answer.error is not None:
        raise ConflictError(answer.error.message, field="campaign")
    return answer.revision or view.revision + 1


async def watch(given: argparse.Namespace) -> ExitStatus:
    """Attach to a running or finished campaign."""
    check_id(given.campaign, "campaign")
    async with reached() as bus:
        client = Client(bus)
        view = await client.view(given.campaign)
        if view.revision == 0 and view.result is None:
            raise UnknownIdError(f"no campaign {given.campaign} is known; try `adgenx list`")
        if given.out:
            _out_folder(given)
        return await _show(client, given.campaign, view.revision, given, deliver=bool(given.out))


async def list_campaigns(given: argparse.Namespace) -> ExitStatus:
    """List the campaigns."""
    async with reached() as bus:
        views = await Client(bus).campaigns()
    for view in views:
        status = view.result.status if view.result else "running"
        if given.json:
            line = {"campaign": view.campaign_id, "revision": view.revision, "status": status}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        else:
            sys.stdout.write(f"{view.campaign_id:<40} revision {view.revision:<4} {status}\n")
    return ExitStatus.OK


async def cancel(given: argparse.Namespace) -> ExitStatus:
    """Cancel a campaign, or everything that is unfinished."""
    if given.all:
        return await _cancel_all()
    check_id(given.campaign, "campaign")
    async with reached() as bus:
        answer = await Client(bus).cancel(given.campaign)
    sys.stdout.write(f"{given.campaign}: {answer.status}\n")
    return ExitStatus.OK if answer.status in ("done", "too_late") else ExitStatus.FAILED


async def _cancel_all() -> ExitStatus:
    async with reached() as bus:
        answer = await Client(bus).cancel_all()
    if answer.error is not None:
        raise InvalidRequestError(answer.error.message, field=answer.error.field)
    sys.stdout.write(f"cancelled {answer.message}\n")
    return ExitStatus.OK


async def get(given: argparse.Namespace) -> ExitStatus:
    """Fetch a finished campaign's package again."""
    check_id(given.campaign, "campaign")
    async with reached() as bus:
        client = Client(bus)
        view = await client.view(given.campaign)
        if view.result is None:
            raise UnknownIdError(f"{given.campaign} has no finished revision to fetch")
        return await _deliver(client, view, view.result, _out_folder(given), 0.0)


async def put(given: argparse.Namespace) -> ExitStatus:
    """Upload a file as an asset and print what it became."""
    rights = Rights(holder=given.holder, licence=given.licence, expires=given.expires)
    async with reached() as bus:
        ref = await Client(bus).bring(Path(given.file), AssetRole(given.role), rights)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(ref)).decode() + "\n")
    return ExitStatus.OK


def _headline(asked: Asked, revision: int) -> None:
    again = f" · revision {revision}" if revision > 1 else ""
    brief = asked.message.brief
    if isinstance(brief, str):
        _say(f"[bold]{asked.campaign_id}[/]{again}")
        return
    locales = ", ".join(brief.locales)
    count = len(brief.placements)
    placements = f"{count} placement{'' if count == 1 else 's'}"
    name = escape(localized(brief.brand.name, brief.locales[0]))
    _say(
        f"[bold]{name}[/] · {brief.length_seconds:g} s · {placements} · {locales} · "
        f"{brief.tier}{again}"
    )


async def _show(
    client: Client, campaign_id: str, revision: int, given: argparse.Namespace, *, deliver: bool
) -> ExitStatus:
    started = time.time()
    path = client.bus.settings.data_dir / "history.json"
    history = History.load(path)
    try:
        with choose(as_json=given.json, out=sys.stdout, history=history, started=started) as show:
            result = await client.follow(campaign_id, revision, show)
    except asyncio.CancelledError:  # Ctrl-C
        _say(f"\nthe campaign goes on; come back with: adgenx watch {campaign_id}")
        raise
    seconds = time.time() - started
    view = await client.view(campaign_id)
    if result.status == "ok":
        history.learn(view, seconds)
        history.save(path)
    if not given.json:
        _report(result, seconds)
    if deliver and result.status == "ok":
        return await _deliver(client, view, result, Path(given.out), seconds, quiet=given.json)
    return ExitStatus.OK if result.status == "ok" else ExitStatus.FAILED


def _report(result: events.CampaignResult, seconds: float) -> None:
    total = len(result.steps)
    taken = sum(s.made == "cache" for s in result.steps)
    if result.status == "ok":
        minutes, rest = divmod(seconds, 60)
        _say(f"[green]done[/]: {total} steps in {int(minutes)}:{rest:04.1f}")
    else:
        reason = f": {escape(result.error.message)}" if result.error else ""
        _say(f"[red]{result.status}[/]{reason}")
    drafted = [s for s in result.steps if s.tier == Tier.DRAFT]
    left_out = [s for s in result.steps if s.status == _LEFT_OUT]
    if drafted:
        _say(f"[yellow]draft[/]: {', '.join(f'{s.step} ({s.service})' for s in drafted)}")
    for step in left_out:
        why = f": {escape(step.error.message)}" if step.error else ""
        _say(f"[yellow]left out[/]: {step.step}{why}")
    if result.revision > 1 and total:
        _say(f"taken over: {taken} of {total} steps")
        again = [s for s in result.steps if s.made != "cache" and s.why]
        for step in again[:_WHY_LINES]:
            _say(f"  ran again: {step.step} ({escape(step.why)})")
        if len(again) > _WHY_LINES:
            _say(f"  … and {len(again) - _WHY_LINES} more")


async def _deliver(
    client: Client,
    view: CampaignView,
    result: events.CampaignResult,
    folder: Path,
    seconds: float,
    *,
    quiet: bool = False,
) -> ExitStatus:
    if result.package is None:
        raise UnknownIdError(f"{view.campaign_id} ended {result.status}: there is no package")
    archive = folder / f"{view.campaign_id}.zip"
    await client.fetch(result.package, archive)
    delivery.unpack(archive, folder)
    delivery.write_run(folder, view, result, seconds)
    if not quiet:
        _say(f"open {escape(str(folder / 'index.html'))}")
    return ExitStatus.OK
