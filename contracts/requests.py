"""Every capability's request: what is asked, never who does it.

Inputs are ArtifactRefs anywhere in the request; the runtime finds them, brings the files and counts
their hashes (not their keys) in the cache key. Sizes in pixels, durations in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.brief import Brief, Form, Palette
from contracts.capability import Tier
from contracts.envelope import Envelope
from contracts.script import EndCard, ShotKind, Stat

Prompt = Annotated[str, msgspec.Meta(max_length=8000)]
Side = Annotated[int, msgspec.Meta(ge=16, le=8192)]
KeptSide = Annotated[int, msgspec.Meta(ge=0, le=8192)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]
Fps = Annotated[int, msgspec.Meta(ge=1, le=120)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_SEEDS = 2**31  # from 0 on
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Part(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A part of a request: unknown fields are refused."""


class Box(Part, frozen=True, kw_only=True):
    """A rectangle in fractions of the frame, origin top left."""

    x: Fraction
    y: Fraction
    w: Fraction
    h: Fraction


class Subject(Part, frozen=True, kw_only=True):
    """The product in a picture: a modelled form with its label art, or the user's own picture."""

    form: Form = Form.SERVICE
    name: str = ""
    label: ArtifactRef | None = None
    picture: ArtifactRef | None = None


class ArtDirection(Part, frozen=True, kw_only=True):
    """How a picture shall look, for engines that can follow it more exactly than a prompt.

    `focus` is where the subject goes; `quiet` must stay calm, of one tone: type will stand there.
    """

    scene: str = ""
    palette: Palette = Palette()
    subject: Subject | None = None
    focus: Box | None = None
    quiet: Box | None = None
    mood: str = ""


class GenerateText(Envelope, frozen=True, kw_only=True, tag="generate_text.v1"):
    """Write a campaign's script (`script.json`) or one locale's copy deck (`copy.json`)."""

    task: Literal["script", "copy"]
    brief: Brief
    locale: str = ""
    seed: Seed = 0


class GenerateImage(Envelope, frozen=True, kw_only=True, tag="generate_image.v1"):
    """Make one picture (output `image`), or a set of `count` (`image`, `image_2` and so on).

    The nth picture of a set is of the seed `seed` + n - 1, which begins at 0 again after the last.
    """

    prompt: Prompt
    width: Side
    height: Side
    negative_prompt: Prompt = ""
    art: ArtDirection = ArtDirection()
    references: Annotated[list[ArtifactRef], msgspec.Meta(max_length=8)] = []
    seed: Seed = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1

    @property
    def pictures(self) -> dict[str, int]:
        """The seed of each picture by its output's name."""
        names = ["image", *(f"image_{n}" for n in range(2, self.count + 1))]
        return {name: (self.seed + n) % _SEEDS for n, name in enumerate(names)}


class EditImage(Envelope, frozen=True, kw_only=True, tag="edit_image.v1"):
    """Change a picture as the instruction says (output `image`); 0 keeps the picture's own side.

    `references` are further pictures that the instruction may speak of.
    """

    image: ArtifactRef
    instruction: Annotated[str, msgspec.Meta(min_length=1, max_length=8000)]
    negative_prompt: Prompt = ""
    width: KeptSide = 0
    height: KeptSide = 0
    references: Annotated[list[ArtifactRef], msgspec.Meta(max_length=8)] = []
    seed: Seed = 0


class VideoSegment(Part, frozen=True, kw_only=True):
    """What happens in a part of a film. With 0 `seconds` it is as long as the others leave it:
    those without a length share what is left equally.
    """

    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=8000)]
    seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0


class GenerateVideo(Envelope, frozen=True, kw_only=True, tag="generate_video.v1"):
    """Make one shot (output `video`), without type and without sound.

    It may have to begin or end on a given picture, or to go on from the end of another video.
    `segments` tell, one after the other, what happens in one unbroken take; the prompt then is what
    holds for all of them.
    """

    prompt: Prompt
    width: Side
    height: Side
    seconds: Seconds
    fps: Fps = 30
    negative_prompt: Prompt = ""
    art: ArtDirection = ArtDirection()
    references: Annotated[list[ArtifactRef], msgspec.Meta(max_length=8)] = []
    first_frame: ArtifactRef | None = None
    last_frame: ArtifactRef | None = None
    continue_from: ArtifactRef | None = None
    segments: Annotated[list[VideoSegment], msgspec.Meta(max_length=128)] = []
    seed: Seed = 0


class EditVideo(Envelope, frozen=True, kw_only=True, tag="edit_video.v1"):
    """Change a video as the instruction says (output `video`), its size and length kept.

    `mask` is a video as long, white where it may change; without it everything may. `strength` 1
    follows the instruction most, 0 the video.
    """

    video: ArtifactRef
    instruction: Annotated[str, msgspec.Meta(min_length=1, max_length=8000)]
    negative_prompt: Prompt = ""
    mask: ArtifactRef | None = None
    references: Annotated[list[ArtifactRef], msgspec.Meta(max_length=8)] = []
    strength: Fraction = 1.0
    seed: Seed = 0


class AnimateCharacter(Envelope, frozen=True, kw_only=True, tag="animate_character.v1"):
    """Let the person of a picture move as in a driving video (output `video`).

    `animate` keeps the picture's own background; `replace` puts the person into the driving video.
    `pose`, `face`, `background` and `mask` are what a tracker made of the driving video, each as
    long as it, for models that do not read it raw. The output is as long as the driving video.
    """

    character: ArtifactRef
    driving: ArtifactRef
    mode: Literal["animate", "replace"] = "animate"
    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    width: Side
    height: Side
    fps: Fps = 30
    pose: ArtifactRef | None = None
    face: ArtifactRef | None = None
    background: ArtifactRef | None = None
    mask: ArtifactRef | None = None
    seed: Seed = 0


class GenerateMesh(Envelope, frozen=True, kw_only=True, tag="generate_mesh.v1"):
    """Make a product model as GLB (output `mesh`), in metres, Y up."""

    prompt: Prompt
    form: Form
    palette: Palette = Palette()
    label: ArtifactRef | None = None
    references: Annotated[list[ArtifactRef], msgspec.Meta(max_length=8)] = []
    seed: Seed = 0


class RigMesh(Envelope, frozen=True, kw_only=True, tag="rig_mesh.v1"):
    """Give a model bones and a skin, so that it can be moved (output `mesh`, GLB)."""

    mesh: ArtifactRef
    seed: Seed = 0


class GenerateWorld(Envelope, frozen=True, kw_only=True, tag="generate_world.v1"):
    """Make a world of `rows` x `columns` blocks: outputs `world` (GLB, metres, Y up) and `points`
    (a Gaussian point cloud, PLY); without `mesh` the points alone, which takes less time.
    """

    rows: Annotated[int, msgspec.Meta(ge=1, le=40)] = 3
    columns: Annotated[int, msgspec.Meta(ge=1, le=40)] = 3
    mesh: bool = True
    seed: Seed = 0


class GenerateMusic(Envelope, frozen=True, kw_only=True, tag="generate_music.v1"):
    """Make a music bed (output `music`, WAV 48 kHz stereo) of exactly this length.

    `cuts` are the film's cuts in seconds; the last one begins the end card.
    """

    seconds: Seconds
    mood: Annotated[str, msgspec.Meta(max_length=300)]
    bpm: Annotated[float, msgspec.Meta(ge=40, le=220)] = 100.0
    cuts: Annotated[list[float], msgspec.Meta(max_length=256)] = []
    seed: Seed = 0


class SpeechLine(Part, frozen=True, kw_only=True):
    """One line: what is said, when it begins and how long it may last."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=600)]
    start_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)]
    max_seconds: Seconds


class GenerateSpeech(Envelope, frozen=True, kw_only=True, tag="generate_speech.v1"):
    """Speak lines into one track as long as the film.

    Outputs `voice` (WAV 48 kHz) and `timings` (SpeechTimings as JSON).
    """

    locale: str
    lines: Annotated[list[SpeechLine], msgspec.Meta(min_length=1, max_length=256)]
    seconds: Seconds
    voice: Annotated[str, msgspec.Meta(max_length=64)] = ""
    seed: Seed = 0


class FilmShot(Part, frozen=True, kw_only=True):
    """One shot of a film: the textless plate, and the type over it inside the given boxes.

    The plate is at least `seconds` long. `enter` is how the shot comes in over the one before.
    """

    name: str
    kind: ShotKind
    seconds: Seconds
    plate: ArtifactRef
    type_box: Box
    focus: Box | None = None
    kicker: str = ""
    headline: str = ""
    support: str = ""
    stats: Annotated[list[Stat], msgspec.Meta(max_length=8)] = []
    enter: Literal["cut", "wipe_up", "wipe_left"] = "wipe_up"


class Look(Part, frozen=True, kw_only=True):
    """The brand as the composer needs it. `safe` is the box inside which all type stays."""

    palette: Palette
    locale: str
    brand: str
    safe: Box
    logo: ArtifactRef | None = None
    draft: bool = True


class FilmWork(Part, frozen=True, kw_only=True, tag_field="kind", tag="film"):
    """A finished film: outputs `film` (MP4), `captions_srt`, `captions_vtt`, `poster` (JPEG)."""

    width: Side
    height: Side
    look: Look
    shots: Annotated[list[FilmShot], msgspec.Meta(min_length=1, max_length=64)]
    end_card: EndCard
    caption_box: Box
    music: ArtifactRef | None = None
    voice: ArtifactRef | None = None
    timings: ArtifactRef | None = None
    fps: Fps = 30
    title: str = ""
    frame_scale: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class StillWork(Part, frozen=True, kw_only=True, tag_field="kind", tag="still"):
    """A finished still (output `still`): PNG or JPEG, at most `max_bytes`."""

    width: Side
    height: Side
    look: Look
    picture: ArtifactRef
    type_box: Box
    headline: str
    end_card: EndCard
    max_bytes: Annotated[int, msgspec.Meta(ge=10_000)]
    focus: Box | None = None
    banner: bool = False
    title: str = ""


class LabelWork(Part, frozen=True, kw_only=True, tag_field="kind", tag="label"):
    """Flat label art for a product form (output `label`, PNG), seamless from right to left."""

    form: Form
    palette: Palette
    locale: str
    brand: str
    product: str
    detail: str = ""
    logo: ArtifactRef | None = None
    width: Side = 2048
    height: Side = 1024


class ComposeMedia(Envelope, frozen=True, kw_only=True, tag="compose_media.v1"):
    """Set type: a film, a still or a label."""

    work: FilmWork | StillWork | LabelWork
    seed: Seed = 0


class PackageItem(Part, frozen=True, kw_only=True):
    """One file of the package: where it lies in it, and where it came from.

    `left_out` tells what was asked for in it and not done, each with the reason.
    """

    path: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")]
    artifact: ArtifactRef
    step: str
    title: str = ""
    service: str = ""
    model: str = ""
    revision: str = ""
    seed: int = 0
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    licence: str = ""
    territory: list[str] = []
    tier: Tier = Tier.DRAFT
    placements: list[str] = []
    locale: str = ""
    variant: str = ""
    left_out: list[str] = []


class PackageSource(Part, frozen=True, kw_only=True):
    """What a file of the package was made from and that is none itself: a step, or an asset.

    `inputs` and `outputs` are hashes, by which files and sources lead to one another. An asset has
    the step `asset.<role>`, the `licence` of its rights, who holds them and until when (ISO date).
    """

    step: str
    outputs: list[str]
    service: str = ""
    model: str = ""
    revision: str = ""
    seed: int = 0
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    licence: str = ""
    territory: list[str] = []
    tier: Tier = Tier.DRAFT
    holder: str = ""
    expires: str = ""


class PackageCampaign(Envelope, frozen=True, kw_only=True, tag="package_campaign.v1"):
    """Pack a campaign: outputs `package` (ZIP), `manifest` (JSON) and `index` (HTML).

    `left_out` names what was to be a file and is none, each with the reason.
    """

    title: str
    palette: Palette
    items: Annotated[list[PackageItem], msgspec.Meta(min_length=1, max_length=4000)]
    sources: Annotated[list[PackageSource], msgspec.Meta(max_length=4000)] = []
    left_out: list[str] = []
    tier: Tier = Tier.DRAFT
    seed: Seed = 0


Request = (
    GenerateText
    | GenerateImage
    | EditImage
    | GenerateVideo
    | EditVideo
    | AnimateCharacter
    | GenerateMesh
    | RigMesh
    | GenerateWorld
    | GenerateMusic
    | GenerateSpeech
    | ComposeMedia
    | PackageCampaign
)
