from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import nats.errors
import pytest
import structlog
from bus_servers import eventually, make_nats
from nats.aio.msg import Msg

from bus.connection import EXIT_LOST, Bus, connect, connected, serve
from bus.servers import NatsServer
from bus.settings import Secret, Settings, SettingsError
from contracts.errors import BusUnavailableError

pytestmark = pytest.mark.integration


async def test_the_first_connection_is_waited_for(tmp_path: Path) -> None:
    server, settings = make_nats(tmp_path / "late")
    waiting = asyncio.create_task(connect(settings, "early"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await server.start()
    try:
        bus = await asyncio.wait_for(waiting, 10)
        assert bus.nc.is_connected
        await bus.drain()
    finally:
        server.kill()


async def test_patience_ends_with_a_typed_error_that_names_the_server(tmp_path: Path) -> None:
    _, settings = make_nats(tmp_path / "never")
    impatient = msgspec.structs.replace(settings, connect_patience_seconds=0.3)
    with pytest.raises(BusUnavailableError, match=settings.nats_url):
        await connect(impatient, "test")


async def test_a_wrong_password_is_said(nats_settings: Settings) -> None:
    wrong = msgspec.structs.replace(
        nats_settings, nats_password=Secret("not-it"), connect_patience_seconds=1.0
    )
    with pytest.raises(BusUnavailableError, match="Authorization"):
        await connect(wrong, "test")


async def test_a_missing_credentials_file_is_a_settings_error(nats_settings: Settings) -> None:
    wrong = msgspec.structs.replace(nats_settings, nats_creds=Path("/nonexistent/nats.creds"))
    with pytest.raises(SettingsError, match="ADGENX_NATS_CREDS"):
        await connect(wrong, "test")


async def test_a_crashed_server_is_found_again(
    nats_settings: Settings, nats_server: NatsServer
) -> None:
    async with connected(nats_settings, "test") as bus:
        back = asyncio.Event()

        async def looked_again() -> None:
            back.set()

        bus.on_reconnect(looked_again)
        nats_server.kill()
        await nats_server.start()
        await asyncio.wait_for(back.wait(), 10)
        assert (await bus.js.account_info()).streams == 0
        assert not bus.closed.is_set()


async def test_the_inbox_prefix_is_the_one_that_was_given(nats_settings: Settings) -> None:
    settings = msgspec.structs.replace(nats_settings, nats_inbox_prefix="_INBOX_flux")
    async with connected(settings, "flux") as bus:
        assert bus.nc.new_inbox().startswith("_INBOX_flux.")
        assert (await bus.js.account_info()).streams == 0


async def test_concurrent_requests_get_their_own_answers(bus: Bus) -> None:
    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await bus.nc.subscribe("adgenx.echo", cb=echo)
    sent = [b"%d" % i for i in range(500)]
    answers = await asyncio.gather(*(bus.request("adgenx.echo", body) for body in sent))
    assert [a.data for a in answers] == sent
    assert not bus.replies._waiting


async def test_a_request_without_an_answer_ends_and_is_forgotten(bus: Bus) -> None:
    await bus.nc.subscribe("adgenx.deaf")
    with pytest.raises(nats.errors.TimeoutError):
        await bus.request("adgenx.deaf", timeout_seconds=0.05)
    with pytest.raises(nats.errors.NoRespondersError):
        await bus.request("adgenx.nobody")
    given_up = asyncio.create_task(bus.request("adgenx.deaf"))
    await bus.nc.flush()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert not bus.replies._waiting


async def test_draining_flushes_what_was_published(bus: Bus, nats_settings: Settings) -> None:
    seen = await bus.nc.subscribe("adgenx.test")
    await bus.nc.flush()
    async with connected(nats_settings, "publisher") as other:
        for i in range(100):
            await other.publish("adgenx.test", b"%d" % i)
    got = [(await seen.next_msg(2)).data for _ in range(100)]
    assert got == [b"%d" % i for i in range(100)]
    assert other.closed.is_set()
    await other.drain()


async def test_an_unread_pull_subscription_does_not_hold_up_the_end(
    bus: Bus, nats_settings: Settings
) -> None:
    async with connected(nats_settings, "test") as other:
        pull = await other.js.pull_subscribe("adgenx.job.flux.*", "flux", stream="JOBS")
        await bus.js.publish("adgenx.job.flux.j1", b"{}")
        await other.nc.publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.flux", b"{}", reply=pull._deliver)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < nats_settings.drain_seconds / 2


async def test_sigterm_lets_the_body_finish(nats_settings: Settings) -> None:
    finished = False

    async def body(bus: Bus) -> None:
        nonlocal finished
        os.kill(os.getpid(), signal.SIGTERM)
        await bus.stopping.wait()
        await bus.js.account_info()  # the connection still serves
        finished = True

    started = asyncio.get_running_loop().time()
    assert await serve(nats_settings, "test", body) == 0
    assert finished
    assert asyncio.get_running_loop().time() - started < nats_settings.drain_seconds / 2


async def test_a_body_that_does_not_stop_is_cancelled(nats_settings: Settings) -> None:
    hasty = msgspec.structs.replace(nats_settings, drain_seconds=0.2)
    cancelled = False

    async def body(_bus: Bus) -> None:
        nonlocal cancelled
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    assert await serve(hasty, "test", body) == 0
    assert cancelled


async def test_a_connection_closed_for_good_ends_the_process(nats_settings: Settings) -> None:
    async def body(bus: Bus) -> None:
        await bus.nc.close()
        await asyncio.Event().wait()

    assert await serve(nats_settings, "test", body) == EXIT_LOST


async def test_a_failing_body_is_not_swallowed(nats_settings: Settings) -> None:
    async def body(_bus: Bus) -> None:
        raise LookupError("odd")

    with pytest.raises(LookupError, match="odd"):
        await serve(nats_settings, "test", body)


async def test_a_server_that_is_away_is_complained_of_once(
    nats_settings: Settings, nats_server: NatsServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with connected(nats_settings, "test") as bus:
            nats_server.kill()

            async def refused_often() -> bool:
                return bus.nc._server_pool[0].reconnects > 2

            await eventually(refused_often)
            await nats_server.start()
            await bus.nc.flush()
    refusals = [line for line in logs if "Connect call failed" in str(line.get("error"))]
    assert len(refusals) == 1
