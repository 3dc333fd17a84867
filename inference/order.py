"""What a request asks of a picture model: the prompt, and the pictures it shall look at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import InvalidRequestError
from contracts.requests import EditImage, GenerateImage
from inference import direction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.artifacts import ArtifactRef

Asked = GenerateImage | EditImage


class Shown(NamedTuple):
    """A picture that the model is shown: `field` is where the request names it."""

    ref: ArtifactRef
    field: str
    what: str


def pictures_of(request: Asked) -> list[Shown]:
    """Return every picture that a request wants looked at, the most important first, each once.

    The coordinator names the product's picture twice: as the subject, and among the references.
    """
    seen: dict[str, Shown] = {}
    for shown in _pictures(request):
        seen.setdefault(shown.ref.sha256, shown)
    return list(seen.values())


def _pictures(request: Asked) -> Iterator[Shown]:
    if isinstance(request, EditImage):
        yield Shown(request.image, "image", "the picture to change")
    elif request.art.subject is not None:
        subject = request.art.subject
        if subject.picture is not None:
            yield Shown(subject.picture, "art.subject.picture", "the product")
        if subject.label is not None:
            what = f"the label that is wrapped around the {subject.form.value}, laid flat"
            yield Shown(subject.label, "art.subject.label", what)
    for number, ref in enumerate(request.references):
        yield Shown(ref, f"references[{number}]", "what the picture shall be like")


def prompt_of(request: Asked, pictures: list[Shown]) -> str:
    """Return what the model is told; an edit's instruction stays as it was written.

    Raises InvalidRequestError(field) for nothing said, or an art direction that cannot be.
    """
    if isinstance(request, EditImage):
        prompt, field = request.instruction.strip(), "instruction"
    else:
        what = tuple(shown.what for shown in pictures)
        prompt, field = direction.prompt_of(request.prompt, request.art, pictures=what), "prompt"
    if not prompt:
        raise InvalidRequestError("it says nothing to paint", field=field)
    return prompt


def refuse_pictures(model: str, pictures: list[Shown]) -> None:
    """Refuse, for a model that reads text alone, a request that shows it something."""
    if pictures:
        raise InvalidRequestError(
            f"{model} cannot look at pictures: {pictures[0].what} would be invented",
            field=pictures[0].field,
        )
