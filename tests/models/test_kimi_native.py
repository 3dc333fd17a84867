"""Kimi in process: real classes, random weights (the worst writer there is), and the grammar alone
between them and a campaign.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from kimi_jobs import BRIEF, Scratch, Ticks
from model_suite import ModelSuite, Runner
from samples import Sample

from bus.weights import WeightsError
from bus.worker import process
from bus.worker.folder import SERVICES, ServiceFolder, open_folder
from bus.worker.process import ModelProcess
from contracts.brief import Variants
from contracts.errors import JobCancelledError, ModelFailedError, TooLargeError
from contracts.locale import LANGUAGES
from contracts.requests import GenerateText
from contracts.script import CopyDeck, Script
from services.coordinator.script_check import check_script
from services.kimi import schema, wording
from services.kimi.model import Model
from services.kimi.prompt import Message
from services.kimi.script_task import ScriptTask
from services.kimi.tokens import Tokens
from services.kimi.writing import Question

for _library in ("torch", "transformers", "llguidance"):
    pytest.importorskip(
        _library, reason=f"NOT CHECKED: Kimi in process ({_library}): pip install '.[models]'"
    )
import torch  # noqa: E402 - it was just looked for
from tiny import kimi  # noqa: E402 - it stands on torch
from transformers import PreTrainedTokenizerFast  # noqa: E402 - it was just looked for

from services.kimi.grammar import Grammar  # noqa: E402 - it stands on llguidance

pytestmark = pytest.mark.models

SERVICE = open_folder(SERVICES / "kimi", "kimi_native")
SHORT = msgspec.structs.replace(
    BRIEF, length_seconds=6.0, placements=["tiktok"], variants=Variants()
)
SCRIPT = GenerateText(task="script", brief=SHORT, seed=1)
DECK = GenerateText(task="copy", brief=SHORT, locale="de-DE", seed=1)
PROMPT_CHARACTERS = 40


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as on the hub, whose vocabulary knows the prompts: they take few tokens."""
    root = tmp_path_factory.mktemp("models")
    folder = root / SERVICE.manifest.model.weights.replace("/", "--")
    task = ScriptTask(SHORT, PROMPT_CHARACTERS)
    outline = msgspec.json.encode(schema.outline(task.schema)).decode()
    kimi.save(folder, [turn.content for turn in task.opening()] + [outline] * 3)
    return root


@pytest.fixture(autouse=True)
def surroundings(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ADGENX_MODELS_DIR", str(models_dir))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only waits for further ones
    yield
    torch.set_num_threads(threads)


def service_with(**parameters: object) -> ServiceFolder:
    section = SERVICE.manifest.model
    given = {**section.parameters, "prompt_characters": PROMPT_CHARACTERS, **parameters}
    section = msgspec.structs.replace(section, parameters=given)
    return ServiceFolder(SERVICE.path, msgspec.structs.replace(SERVICE.manifest, model=section))


def loaded(**parameters: object) -> Model:
    model = Model(service_with(**parameters).manifest)
    model.load()
    return model


@pytest.fixture(scope="module")
def kept(models_dir: Path) -> Model:
    """One loaded model for the tests that only ask it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADGENX_MODELS_DIR", str(models_dir))
        return loaded()


@pytest.mark.asyncio(loop_scope="class")
class TestPromises(ModelSuite):
    """The contract suite through the real child process; one child serves them all."""

    @pytest.fixture
    def service(self) -> ServiceFolder:
        return SERVICE

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(DECK, msgspec.structs.replace(DECK, locale="fr-FR"))

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    async def child(self, models_dir: Path) -> AsyncIterator[ModelProcess]:
        told = {"ADGENX_MODELS_DIR": str(models_dir), "OMP_NUM_THREADS": "1"}
        child = await process.start(SERVICE, environment=told)
        yield child
        await child.end()

    @pytest.fixture
    def runner(self, child: ModelProcess, tmp_path: Path) -> Runner:
        return Runner(child, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_random_weights_write_a_script_that_can_be_planned_on(
    kept: Model, tmp_path: Path, seed: int
) -> None:
    request = msgspec.structs.replace(SCRIPT, seed=seed)
    (media,) = kept.run(request, Ticks(), Scratch(tmp_path))
    script = msgspec.json.decode(media.path.read_bytes(), type=Script)
    check_script(script, SHORT)
    assert media.metadata["decoding"] == "grammar"
    assert media.metadata["revision"]
    assert media.metadata["asked"] == "1", "the grammar lets nothing through that must be mended"


def test_random_weights_write_a_deck_within_the_limits(kept: Model, tmp_path: Path) -> None:
    made = {m.name: m for m in kept.run(DECK, Ticks(), Scratch(tmp_path))}
    deck = msgspec.json.decode(made["copy"].path.read_bytes(), type=CopyDeck)
    assert [p.placement for p in deck.placements] == SHORT.placements


def test_without_the_grammar_the_same_weights_write_nothing_of_use(kept: Model) -> None:
    writer = kept._writer
    ids = writer._tokenizer("{", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        made = writer._model.generate(ids, max_new_tokens=60, do_sample=True)
    with pytest.raises(json.JSONDecodeError):
        json.loads(writer._tokenizer.decode(made[0], skip_special_tokens=True))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_grammar_and_the_judge_read_the_same_expressions_alike(
    kept: Model, language: str
) -> None:
    known = ["K&K", "C++ [a-b] ^c~d (e|f) $3 {x}", "1,5 l or 18 h or 180", "نور", "Ž"]
    pattern = wording.line(language, known)
    expressions = [pattern, wording.direction(), wording.hashtag(language)]
    shape = schema.mapping(
        {str(n): schema.text(30, expression, "") for n, expression in enumerate(expressions)}
    )
    vocabulary = kept._writer._vocabulary
    draw = torch.Generator().manual_seed(5)
    for _ in range(12):
        text = walk(vocabulary.grammar(shape), kept._writer._tokenizer, draw)
        assert list(schema.violations(json.loads(text), shape)) == []


def walk(grammar: Grammar, tokenizer: PreTrainedTokenizerFast, draw: torch.Generator) -> str:
    """Return a text that the grammar allows, every token drawn from all that may follow."""
    ids = torch.zeros((1, 1), dtype=torch.long)
    while True:
        scores = grammar(ids, torch.zeros((1, len(tokenizer) + 5)))
        chosen = torch.multinomial(torch.exp(scores), 1, generator=draw)
        if int(chosen) == tokenizer.eos_token_id:
            return str(tokenizer.decode(ids[0, 1:]))
        ids = torch.cat([ids, chosen], dim=1)


def test_a_cancel_stops_within_a_token(kept: Model, tmp_path: Path) -> None:
    said: list[int] = []

    def report(done: int, _total: int, _phase: str, _preview: bytes | None = None) -> None:
        said.append(done)
        if done == 5:
            raise JobCancelledError("the job was cancelled")

    with pytest.raises(JobCancelledError):
        list(kept.run(DECK, report, Scratch(tmp_path)))
    assert said == [0, 1, 2, 3, 4, 5]
    assert list(tmp_path.iterdir()) == []
    assert list(kept.run(DECK, Ticks(), Scratch(tmp_path)))


def test_an_answer_cut_off_at_the_limit_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ModelFailedError, match="cut off after 12 tokens"):
        list(loaded(max_tokens=12).run(DECK, Ticks(), Scratch(tmp_path)))


@pytest.mark.parametrize("window", [100, 0], ids=["told", "the model's own"])
def test_a_prompt_longer_than_the_window_is_refused_before_a_token(
    tmp_path: Path, window: int
) -> None:
    brief = SHORT
    if not window:
        long = "an answer to mornings; " * 24
        brief = msgspec.structs.replace(
            SHORT, brand=msgspec.structs.replace(SHORT.brand, voice=long * (kimi.WINDOW // 24))
        )
    ticks = Ticks()
    request = msgspec.structs.replace(DECK, brief=brief)
    with pytest.raises(TooLargeError) as caught:
        list(loaded(window=window).run(request, ticks, Scratch(tmp_path)))
    assert caught.value.field == "brief"
    assert {done for done, *_ in ticks} == {0}


def test_the_vocabulary_is_read_as_it_is_published(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tiktoken", reason="NOT CHECKED: tiktoken.model: pip install '.[models]'")
    shutil.copytree(models_dir, tmp_path / "models")
    (folder,) = (tmp_path / "models").iterdir()
    kimi.with_its_own_vocabulary_file(folder)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path / "models"))
    model = loaded()
    text = "<|im_user|>Zwölf Uhr: 18 h, „wach“.<|im_end|>"
    ids = model._writer._tokenizer(text)["input_ids"]
    assert model._writer._tokenizer.decode(ids) == text
    assert len(ids) < len(text.encode()), "special tokens and words are one token each"
    assert not (tmp_path / "kept").exists(), "a copy would outlive the file that it was made of"
    made = {m.name for m in model.run(DECK, Ticks(), Scratch(tmp_path))}
    assert made == {"copy", "copy_md"}


def test_greedy_decoding_needs_no_seed(tmp_path: Path) -> None:
    model = loaded(temperature=0.0)
    bodies = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        request = msgspec.structs.replace(DECK, seed=seed)
        media, _ = model.run(request, Ticks(), Scratch(folder))
        bodies.append(media.path.read_bytes())
    assert bodies[0] == bodies[1]


def test_the_caller_keeps_its_own_random_numbers(kept: Model) -> None:
    shape = schema.mapping({"mood": schema.choice(["warm", "cold", "loud"])})
    question = Question("mood", [Message("user", "How is it?")], shape, 3)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    kept._writer.answer(question, Tokens(Ticks(), 100))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("gone", ["tokenizer.json", "model.safetensors", "config.json"])
def test_weights_that_cannot_be_read_are_named(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    (found,) = (tmp_path / "models").glob(f"*/{gone}")
    found.write_bytes(b"\x00")
    monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path / "models"))
    with pytest.raises(WeightsError, match="Kimi-Linear-48B-A3B-Instruct cannot be loaded"):
        loaded()
