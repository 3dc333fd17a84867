"""What work costs, in US dollars: an estimate before it is done, and the charge after. Pure.

    cost = per_run + the tariff's price for its seconds of output
           + per_output_second x seconds of output + per_megapixel x megapixels of output
           + per_second x seconds of work

Only the last term is not known beforehand. It is reserved with a margin, and charged as it was, at
most what was reserved.
"""

from __future__ import annotations

from contracts.manifest import CostSection, Manifest
from contracts.requests import ComposeMedia, FilmWork, GenerateImage, Request

WORK_MARGIN = 3.0
"""How much longer than expected work may take before it is charged no further."""
_PIXELS = 1_000_000


def output_seconds(request: Request) -> float:
    """Return how many seconds of sound or film are asked for; 0 for anything else."""
    if isinstance(request, ComposeMedia):
        if isinstance(request.work, FilmWork):
            return float(sum(shot.seconds for shot in request.work.shots))
        return 0.0
    return float(getattr(request, "seconds", 0.0))


def megapixels(request: Request) -> float:
    """Return the size of what is asked for, in millions of pixels; 0 for no picture."""
    sized = request.work if isinstance(request, ComposeMedia) else request
    width, height = getattr(sized, "width", 0), getattr(sized, "height", 0)
    return float(width * height) * _pictures(request) / _PIXELS


def _pictures(request: Request) -> int:
    return request.count if isinstance(request, GenerateImage) else 1


def expected_work_seconds(manifest: Manifest, request: Request) -> float:
    """Return how long a service is expected to work on a request, in seconds."""
    cost = manifest.cost
    work = cost.expected_seconds * _pictures(request)
    return work + cost.expected_ratio * output_seconds(request)


def estimate(manifest: Manifest, request: Request) -> float:
    """Return what a request is expected to cost."""
    work = expected_work_seconds(manifest, request)
    return charge(manifest, request, work)


def price(manifest: Manifest, request: Request) -> float:
    """Return the most that a request can cost: what gets reserved."""
    work = expected_work_seconds(manifest, request) * WORK_MARGIN
    return charge(manifest, request, work)


def charge(manifest: Manifest, request: Request, work_seconds: float) -> float:
    """Return what a request cost after so many seconds of work."""
    return _fixed(manifest.cost, request) + manifest.cost.per_second * work_seconds


def _fixed(cost: CostSection, request: Request) -> float:
    return (
        cost.per_run
        + _listed(cost, request)
        + cost.per_output_second * output_seconds(request)
        + cost.per_megapixel * megapixels(request)
    )


def _listed(cost: CostSection, request: Request) -> float:
    """Return the tariff's price for a length of output."""
    seconds = output_seconds(request)
    held = [step.price for step in cost.tariff if seconds <= step.seconds]
    return held[0] if held else cost.tariff[-1].price if cost.tariff else 0.0
