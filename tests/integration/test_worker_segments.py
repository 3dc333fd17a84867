"""Long jobs in segments: each is a checkpoint for whoever takes the work up next."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import NAME, Script
from worker_rig import TENANT, Cable, Rig, process, working

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from bus.worker.folder import ServiceFolder
from bus.worker.model import Media
from bus.worker.segments import Segments
from contracts import subjects
from contracts.errors import PoisonError
from contracts.jobs import Job, RunState
from contracts.requests import GenerateImage
from contracts.segments import SEGMENT_SECONDS, SegmentRecord
from contracts.subjects import Bucket

pytestmark = pytest.mark.integration

WORDS = [f"w{n}" for n in range(57)]
KEY = "a" * 64
JOB = Job(
    job_id="j1",
    tenant=TENANT,
    campaign_id="-",
    request_id="r1",
    service=NAME,
    request=GenerateImage(prompt="a can", width=64, height=64),
)


def script(folder: Path, words: list[str], **more: object) -> Script:
    return Script(folder, "chain", segments=words, renders=str(folder / "renders"), **more)


def renders(folder: Path) -> Counter[int]:
    """How often each segment was rendered."""
    return Counter(int(line) for line in (folder / "renders").read_text().split())


async def test_killed_ten_times_it_finishes_and_makes_nothing_twice_but_what_was_in_hand(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    dice = random.Random(5)  # noqa: S311 - no secret
    killed_at = sorted(dice.sample(range(len(WORDS)), 10))
    deaths = {str(n): [at] for n, at in enumerate(killed_at, start=1)}
    folder = tmp_path / "s"
    asked = script(folder, WORDS, deaths=deaths)
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(asked.request()))
    assert (run.state, len(asked.runs)) == (RunState.OK, 11)
    assert renders(folder) == Counter({n: 2 if n in killed_at else 1 for n in range(len(WORDS))})
    made = await rig.artifacts.read(run.outputs[0].key)
    assert made.decode().split() == WORDS


async def test_another_machine_goes_on_where_a_dead_worker_was(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    asked = script(folder, WORDS[:6], stand={"2": str(tmp_path / "gate")})
    with process(rig.settings, service) as worker:
        job = await rig.ask(asked.request())

        async def third() -> bool:
            return (folder / "renders").exists() and 2 in renders(folder)

        await eventually(third)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    (tmp_path / "gate").touch()
    elsewhere = msgspec.structs.replace(rig.settings, spool_dir=tmp_path / "elsewhere")
    async with working(elsewhere, service):
        run = await rig.ended(job)
    assert run.state is RunState.OK
    assert renders(folder) == Counter({0: 1, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1})


async def test_a_changed_word_is_made_anew_from_there(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    first, second = script(tmp_path / "a", ["x", "y", "z", "u"]), tmp_path / "b"
    changed = script(second, ["x", "y", "Z", "u"])
    longer = script(tmp_path / "c", ["x", "y", "z", "u", "v"])
    async with working(rig.settings, service):
        await rig.ended(await rig.ask(first.request(), "r1"))
        run = await rig.ended(await rig.ask(changed.request(), "r2"))
        await rig.ended(await rig.ask(longer.request(), "r3"))
    assert renders(second) == Counter({2: 1, 3: 1})
    assert renders(tmp_path / "c") == Counter({4: 1})
    assert await rig.artifacts.read(run.outputs[0].key) == b"x y Z u "


async def test_who_gets_no_further_three_times_is_poison_whatever_was_made_before(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    deaths = {"1": [3], "2": [4], "3": [4], "4": [4], "5": [4], "6": []}
    asked = script(tmp_path / "s", WORDS[:6], deaths=deaths)
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(asked.request()))
    assert run.error is not None
    # The first and the second start got further; then three came to nothing.
    assert (run.error.code, len(asked.runs)) == (PoisonError.code, 5)


async def test_a_segment_whose_file_is_gone_is_made_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    async with working(rig.settings, service):
        await rig.ended(await rig.ask(script(tmp_path / "a", ["x", "y"]).request(), "r1"))
        table = Records(rig.bus, Bucket.SEGMENTS, SegmentRecord)
        kept = await table.under(TENANT)
        assert [r.value.outputs[0].labels for r in kept] == [{"word": "x"}, {"word": "y"}]
        await rig.artifacts.remove(kept[1].value.outputs[0].key)
        again = tmp_path / "b"
        await rig.ended(await rig.ask(script(again, ["x", "y"]).request(), "r2"))
    assert renders(again) == Counter({1: 1})
    assert await rig.artifacts.stat(kept[1].value.outputs[0].key) is not None


async def test_while_the_store_is_away_a_segment_waits_and_is_not_lost(
    rig: Rig, service: ServiceFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    keep = Segments.keep

    async def counted(self: Segments, job: Job, key: str, *rest: object) -> list[Media]:
        tries.append(key)
        return await keep(self, job, key, *rest)  # type: ignore[arg-type]  # what it was given

    async def tried_again() -> bool:
        return len(tries) > len(set(tries))

    monkeypatch.setattr(Segments, "keep", counted)
    cable = Cable(rig.settings.s3_endpoint)
    await cable.mend()
    cut_off = msgspec.structs.replace(rig.settings, s3_endpoint=cable.endpoint)
    folder, gate = tmp_path / "s", tmp_path / "gate"
    asked = script(folder, ["x", "y", "z"], stand={"1": str(gate)})
    async with working(cut_off, service):
        job = await rig.ask(asked.request())
        await second(folder)
        await cable.cut()
        gate.touch()
        await eventually(tried_again)
        assert renders(folder) == Counter({0: 1, 1: 1}), "it waits"
        await cable.mend()
        run = await rig.ended(job)
    await cable.cut()
    assert (run.state, run.attempt, len(asked.runs)) == (RunState.OK, 1, 1)
    assert renders(folder) == Counter({0: 1, 1: 1, 2: 1})


async def test_a_job_that_is_cancelled_while_the_store_is_away_leaves_the_process_alive(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    """Its weights took minutes to load."""
    cable = Cable(rig.settings.s3_endpoint)
    await cable.mend()
    cut_off = msgspec.structs.replace(rig.settings, s3_endpoint=cable.endpoint)
    folder, gate = tmp_path / "s", tmp_path / "gate"
    asked = script(folder, ["x", "y", "z"], stand={"1": str(gate)})
    async with working(cut_off, service):
        job = await rig.ask(asked.request())
        await second(folder)
        await cable.cut()
        gate.touch()
        await rig.change(job, state=RunState.CANCELLED, owner="")
        await rig.dropped(job)
        await cable.mend()
        next_one = script(tmp_path / "t", ["x", "y"])
        await rig.ended(await rig.ask(next_one.request(), "r2"))
    await cable.cut()
    assert next_one.runs == asked.runs, "the same process"
    assert renders(folder) == Counter({0: 1, 1: 1})


async def second(folder: Path) -> None:
    """Wait until the second segment is in hand."""

    async def begun() -> bool:
        return (folder / "renders").exists() and 1 in renders(folder)

    await eventually(begun)


class Clock:
    """A clock that stands until it is put on."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def piece(tmp_path: Path) -> Media:
    path = tmp_path / "piece.mp4"
    path.write_bytes(b"mine")
    return Media(path=path, media_type="video/mp4", name="piece", fps=15.0, metadata={"a": "b"})


async def test_equal_keys_of_another_engine_tenant_or_service_are_others(
    bus: Bus, artifacts: Artifacts, piece: Media, tmp_path: Path
) -> None:
    mine = Segments(bus, artifacts, "r1")
    assert await mine.keep(JOB, KEY, [piece], tmp_path) == [piece]
    found = await mine.recall(JOB, KEY, tmp_path)
    assert [f.path.read_bytes() for f in found] == [b"mine"]
    assert msgspec.structs.replace(found[0], path=piece.path) == piece
    assert await mine.recall(JOB, "b" * 64, tmp_path) == []
    assert await Segments(bus, artifacts, "r2").recall(JOB, KEY, tmp_path) == []
    for change in ({"tenant": "rival"}, {"service": "another"}):
        other = msgspec.structs.replace(JOB, **change)
        assert await mine.recall(other, KEY, tmp_path) == []


async def test_who_comes_second_goes_on_from_the_firsts(
    bus: Bus, artifacts: Artifacts, piece: Media, tmp_path: Path
) -> None:
    segments = Segments(bus, artifacts, "r1")
    await segments.keep(JOB, KEY, [piece], tmp_path)
    assert await segments.keep(JOB, KEY, [piece], tmp_path) == [piece], "the same: its own"
    late = tmp_path / "late.mp4"
    late.write_bytes(b"theirs")
    adopted = await segments.keep(JOB, KEY, [msgspec.structs.replace(piece, path=late)], tmp_path)
    assert [m.path.read_bytes() for m in adopted] == [b"mine"]


async def test_what_has_expired_is_not_found_and_may_be_made_again(
    bus: Bus, artifacts: Artifacts, piece: Media, tmp_path: Path
) -> None:
    clock = Clock()
    segments = Segments(bus, artifacts, "r1", clock)
    await segments.keep(JOB, KEY, [piece], tmp_path)
    clock.now += SEGMENT_SECONDS
    assert await segments.recall(JOB, KEY, tmp_path) == []
    again = tmp_path / "again.mp4"
    again.write_bytes(b"anew")
    fresh = msgspec.structs.replace(piece, path=again)
    assert await segments.keep(JOB, KEY, [fresh], tmp_path) == [fresh]
    found = await segments.recall(JOB, KEY, tmp_path)
    assert [f.path.read_bytes() for f in found] == [b"anew"]
    assert len(await Records(bus, Bucket.SEGMENTS, SegmentRecord).under(TENANT)) == 1


async def test_a_checkpoint_lies_in_the_jobs_own_folder(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    (service.path / "acts.py").write_text(
        "from pathlib import Path\n"
        "from bus.worker.model import Media\n"
        "def steal(task, request, report, files):\n"
        "    path = Path(task['log'])\n"
        "    files.checkpoint('a' * 64, [Media(path=path, media_type='text/plain', name='x')])\n"
        "    yield Media(path=path, media_type='text/plain', name='image')\n"
    )
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(Script(tmp_path / "s", "steal").request()))
    assert run.error is not None
    assert "scratch" in run.error.message
    assert await Records(rig.bus, Bucket.SEGMENTS, SegmentRecord).under() == []
    assert subjects.segment_key("t", "s", "k") == "t.s.k"
