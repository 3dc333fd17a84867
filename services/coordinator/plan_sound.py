"""Steps that sound: the voice of each locale, and one music bed for each cut."""

from __future__ import annotations

from contracts.campaign import Step
from contracts.requests import GenerateMusic, GenerateSpeech, SpeechLine
from services.coordinator.cuts import Cut
from services.coordinator.step import Kind, StepName
from services.coordinator.treatment import Treatment
from services.coordinator.wiring import freeze

LEAD_SECONDS = 0.25
"""The voice begins a little after the picture."""
TAIL_SECONDS = 0.10
LEAST_SECONDS = 0.4
CHARACTERS_PER_SECOND = 19.0
"""Faster than this nobody follows: in a shortened cut such a line is not spoken."""


def cuts_of(treatment: Treatment) -> list[Cut]:
    """Return every cut once, in the order of the formats."""
    return list({film.cut.name: film.cut for film in treatment.formats}.values())


def music_name(cut: Cut) -> StepName:
    """Name the step of a cut's music."""
    return StepName(Kind.MUSIC, target=cut.name)


def music_steps(treatment: Treatment) -> list[Step]:
    """Return one bed for each cut; all ratios, locales and variants share it."""
    script = treatment.script
    return [
        freeze(
            music_name(cut),
            GenerateMusic(
                seconds=cut.seconds,
                mood=script.mood,
                bpm=script.bpm,
                cuts=cut.starts,
                seed=treatment.seed(music_name(cut)),
                tier=treatment.brief.tier,
            ),
        )
        for cut in cuts_of(treatment)
    ]


def spoken(cut: Cut, locale: str, variant: str) -> list[SpeechLine]:
    """Return what is said in a cut, and when: each line within its shot."""
    lines = []
    for timed in cut.shots:
        words = timed.shot.text(locale, variant).voice
        lead = LEAD_SECONDS if timed.seconds > LEAD_SECONDS + LEAST_SECONDS else 0.0
        room = max(timed.seconds - lead - TAIL_SECONDS, timed.seconds / 2)
        hurried = bool(cut.name) and len(words) / CHARACTERS_PER_SECOND > room
        if words and not hurried:
            start = round(timed.start + lead, 4)
            lines.append(SpeechLine(text=words, start_seconds=start, max_seconds=round(room, 4)))
    return lines


def speech_name(treatment: Treatment, cut: Cut, locale: str, variant: str) -> StepName | None:
    """Name the step of a voice track; None where nothing is said.

    Variants that say the same share one track, whose name then carries no variant.
    """
    lines = spoken(cut, locale, variant)
    if not lines:
        return None
    same = all(spoken(cut, locale, v) == lines for v in treatment.variants)
    return StepName(Kind.SPEECH, locale=locale, variant="" if same else variant, target=cut.name)


def speech_steps(treatment: Treatment) -> list[Step]:
    """Return the voice tracks of all cuts, locales and (where they differ) variants."""
    steps: dict[StepName, Step] = {}
    for cut in cuts_of(treatment):
        for locale in treatment.brief.locales:
            for variant in treatment.variants:
                name = speech_name(treatment, cut, locale, variant)
                if name is None or name in steps:
                    continue
                request = GenerateSpeech(
                    locale=locale,
                    lines=spoken(cut, locale, variant),
                    seconds=cut.seconds,
                    seed=treatment.seed(name),
                    tier=treatment.brief.tier,
                )
                steps[name] = freeze(name, request)
    return list(steps.values())
