"""`service.toml`: everything the system reads about a model service, and what it announces."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from contracts.capability import Capability, Tier, capability_of
from contracts.endpoint import EndpointSection
from contracts.errors import InvalidRequestError

VariantName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_]{0,19}\Z")]
ServiceName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]{0,39}\Z")]


class _Section(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A table of service.toml: unknown keys are refused."""


class WeightsPart(_Section, frozen=True, kw_only=True):
    """Further weights that a model needs, a LoRA or another encoder: as in ModelSection."""

    weights: str
    revision: str = ""
    files: list[str] = []
    size_gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    gated: bool = False


class ModelSection(_Section, frozen=True, kw_only=True):
    """What is run. `weights` is a repository, `revision` its commit or tag; empty, the commit is
    resolved by the first pull, recorded and held to from then on. An engine without weights has
    neither: its revision is a digest of its own code (`packages`) and of what it stands on
    (`distributions`). `territory` lists where its licence forbids use: ISO 3166-1 codes, or `EU`.

    `files` are the patterns of what is needed of the repository (empty: all that is loaded from),
    `size_gb` what they weigh, `gated` says that a token is needed. `parts` are further weights by
    their folder's name. `parameters` are the model's own defaults: steps, guidance, sizes.
    """

    name: str
    licence: str
    commercial_use: bool
    weights: str = ""
    revision: str = ""
    files: list[str] = []
    size_gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    gated: bool = False
    parts: dict[str, WeightsPart] = {}
    parameters: dict[str, bool | int | float | str] = {}
    packages: list[str] = []
    distributions: list[str] = []
    territory: list[str] = []


class Feature(StrEnum):
    """What a service can do beyond its capability's plain form, and a request may need."""

    PLAIN = "plain"
    """Nothing beyond it: for a service that has none of the others, as no list means no limit."""
    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    CONTINUATION = "continuation"
    REFERENCES = "references"
    RAW_DRIVING = "raw_driving"
    """Take a motion from the driving video itself, not from what a tracker made of it."""
    REPLACEMENT = "replacement"
    """Put a person into the driving video, in the place of the one who is there."""
    SETS = "sets"
    """Make several pictures for one request."""
    SEGMENTS = "segments"
    """Follow one prompt after another within one film."""


class LimitSection(_Section, frozen=True, kw_only=True):
    """What a request may ask of it; 0 and empty mean no limit. Sides in pixels. `needs_picture`: it
    works from a picture, and is refused for a request that shows it none.
    """

    features: list[Feature] = []
    max_side: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_pixels: Annotated[int, msgspec.Meta(ge=0)] = 0
    min_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_references: Annotated[int, msgspec.Meta(ge=0)] = 0
    languages: list[str] = []
    needs_picture: bool = False


class ResourceSection(_Section, frozen=True, kw_only=True):
    """What it needs. `stall_seconds` without progress and the child is taken for hung; a request
    should be done within `target_seconds` (what the latency alert compares with).
    """

    memory_gb: Annotated[float, msgspec.Meta(gt=0)]
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    load_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    stall_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    keep_receipt: bool = False
    target_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0


class RuntimeSection(_Section, frozen=True, kw_only=True):
    """How the weights are run; each means of speed or memory by its name in diffusers.

    `attention` is a backend's name, empty for the library's own choice. `drop_text_encoder` gives
    its memory back once a prompt is encoded, at the price of loading it again.
    """

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: str = ""
    cache: Literal["", "first_block", "taylor_seer", "mag", "pyramid", "faster"] = ""
    quantise: Literal["", "fp8_storage", "int8", "fp8", "nvfp4", "nf4"] = ""
    offload: Literal["", "model", "group"] = ""
    compile: bool = False
    vae_tiling: bool = False
    drop_text_encoder: bool = False


class EnvironmentSection(_Section, frozen=True, kw_only=True):
    """A Python of its own, for a model whose pins cannot be ours: `adgenx models install`.

    `python` is its version. `requirements` is a lock file in the service's folder, `steps` are
    commands that come after it, each a list of words: `{python}`, `{environment}` and `{service}`
    stand for the interpreter, the environment's folder and the service's. `child` is the module
    that runs there: bus/worker/foreign_child.py says what it looks like. Variants share the one of
    their folder, unless they give theirs a `name`.
    """

    python: Annotated[str, msgspec.Meta(pattern=r"\A3\.\d{1,2}\Z")]
    requirements: Annotated[str, msgspec.Meta(pattern=r"\A[\w.-]+\Z")] = "requirements.lock"
    steps: list[list[str]] = []
    child: Annotated[str, msgspec.Meta(pattern=r"\A[\w-]+\.py\Z")] = "child.py"
    name: Annotated[str, msgspec.Meta(pattern=r"\A([a-z0-9][a-z0-9_]{0,39})?\Z")] = ""


class TariffStep(_Section, frozen=True, kw_only=True):
    """What a run costs whose output is at most so many seconds long."""

    seconds: Annotated[float, msgspec.Meta(gt=0)]
    price: Annotated[float, msgspec.Meta(ge=0)]


class CostSection(_Section, frozen=True, kw_only=True):
    """What it costs, US dollars: an API's price per run, per second of output or per megapixel of
    output, and the device's price `per_second` of its work. `tariff` is for an API that sells fixed
    lengths: the first step that holds the output counts, the last one for anything longer.
    `expected_seconds` of work, and `expected_ratio` more for every second of output, are what an
    estimate counts with.
    """

    per_run: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    tariff: list[TariffStep] = []
    per_second: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    per_output_second: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    per_megapixel: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    expected_seconds: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    expected_ratio: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    @property
    def paid(self) -> bool:
        """Say whether somebody else is paid for a run."""
        return bool(self.per_run or self.tariff or self.per_output_second or self.per_megapixel)


class Manifest(_Section, frozen=True, kw_only=True):
    """One service. `accepts` holds request tags such as `generate_video.v1`. `quality` 0 to 100
    orders services of one tier: the better one is preferred where money and time allow it.

    `estimated` names the figures here that nobody has measured or published, as dotted keys. Each
    table of `variants` is laid over the rest and makes a service of its own, `<name>_<variant>`;
    in it an empty table takes one away.
    """

    name: ServiceName
    version: Annotated[str, msgspec.Meta(pattern=r"\A\d+\.\d+\.\d+\Z")]
    tier: Tier
    accepts: Annotated[list[str], msgspec.Meta(min_length=1)]
    model: ModelSection
    resources: ResourceSection
    quality: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50
    limits: LimitSection = LimitSection()
    cost: CostSection = CostSection()
    runtime: RuntimeSection = RuntimeSection()
    endpoint: EndpointSection | None = None
    environment: EnvironmentSection | None = None
    estimated: list[str] = []
    variants: dict[VariantName, dict[str, Any]] = {}

    @property
    def capabilities(self) -> list[Capability]:
        """Capabilities behind `accepts`."""
        return [c for c in map(capability_of, self.accepts) if c is not None]


def parse_manifests(text: str, folder: str) -> list[Manifest]:
    """Parse service.toml: the service named as its folder, then one for each of its variants.

    Raises InvalidRequestError naming what is wrong.
    """
    try:
        tables = msgspec.toml.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"{folder}/service.toml: {error}", field="service.toml") from None
    base = _manifest(tables, folder, folder)
    plain = {key: value for key, value in tables.items() if key != "variants"}
    return [base] + [
        _manifest(
            _laid_over(plain, table) | {"name": f"{folder}_{name}"}, folder, f"{folder}_{name}"
        )
        for name, table in base.variants.items()
    ]


def parse_manifest(text: str, folder: str) -> Manifest:
    """Parse service.toml for the service named as its folder; raises as parse_manifests does."""
    return parse_manifests(text, folder)[0]


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` with what `above` says instead, table by table; parts are never mixed, and an
    empty table takes away what is there.
    """
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if value == {}:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(under, dict) and key != "parts":
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged


def _manifest(tables: dict[str, Any], folder: str, name: str) -> Manifest:
    try:
        manifest = msgspec.convert(tables, Manifest)
    except msgspec.ValidationError as error:
        where = "" if name == folder else f" ({name})"
        raise InvalidRequestError(
            f"{folder}/service.toml{where}: {error}", field="service.toml"
        ) from None
    if manifest.name != name:
        raise InvalidRequestError(
            f"{folder}/service.toml: name is {manifest.name!r}, the folder is {folder!r}",
            field="name",
        )
    unknown = [tag for tag in manifest.accepts if capability_of(tag) is None]
    if unknown:
        raise InvalidRequestError(
            f"{folder}/service.toml: accepts unknown request {unknown[0]!r}", field="accepts"
        )
    return manifest


class ServiceState(StrEnum):
    """Whether a service takes jobs."""

    READY = "ready"
    UNAVAILABLE = "unavailable"


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one worker of a service announces; key `<service>.<worker>`. `revision` identifies what
    makes its bytes; `workers` counts the jobs that it can do at once, `busy` those that it does.
    `resident`: the model is loaded, since `resident_since`, in `memory_gb`.
    """

    manifest: Manifest
    revision: str
    state: ServiceState
    workers: int
    announced_at: float
    worker: str = ""
    reason: str = ""
    busy: int = 0
    resident: bool = False
    resident_since: float = 0.0
    memory_gb: float = 0.0
