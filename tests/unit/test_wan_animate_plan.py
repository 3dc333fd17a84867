"""Wan-Animate: how a film is cut into runs, and that the pipelines' own rounding loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker.folder import SERVICES, ServiceFolder, open_all
from services.wan_animate.plan import Rules, rules_of, runs_of

pytestmark = pytest.mark.unit

RULES = Rules(
    steps=40,
    guidance=3.0,
    fps=24,
    segment_frames=81,
    carried_frames=1,
    multiple=16,
    max_pixels=512000,
    min_side=256,
)


@given(frames=st.integers(1, 2000))
def test_the_runs_make_every_frame(frames: int) -> None:
    runs = runs_of(frames, RULES)
    made = runs.runs * (runs.segment_frames - RULES.carried_frames) + RULES.carried_frames
    assert made >= frames
    assert made - runs.segment_frames < frames, "no run is made in vain"
    assert runs.segment_frames % 4 == 1
    assert 5 <= runs.segment_frames <= RULES.segment_frames
    assert runs.driving_frames >= frames


@given(frames=st.integers(1, 2000))
def test_the_driving_video_is_never_so_short_that_mirroring_it_is_not_enough(frames: int) -> None:
    """Both pipelines mirror the end of the driving video to whole runs, once."""
    runs = runs_of(frames, RULES)
    effective = runs.segment_frames - RULES.carried_frames
    left_over = (runs.driving_frames - RULES.carried_frames) % effective
    padding = effective - left_over if left_over else 0
    assert padding <= runs.driving_frames
    assert (runs.driving_frames + padding - RULES.carried_frames) == runs.runs * effective


@pytest.mark.parametrize(
    ("frames", "runs", "length"), [(1, 1, 5), (5, 1, 5), (6, 1, 9), (81, 1, 81), (82, 2, 81)]
)
def test_what_fits_into_one_run_is_one_as_short_as_can_be(
    frames: int, runs: int, length: int
) -> None:
    found = runs_of(frames, RULES)
    assert (found.runs, found.segment_frames) == (runs, length)


@pytest.mark.parametrize("service", open_all(SERVICES / "wan_animate"), ids=lambda s: s.name)
def test_every_manifest_has_what_a_run_needs(service: ServiceFolder) -> None:
    rules = rules_of(service.manifest)
    assert rules.segment_frames % 4 == 1
    assert service.manifest.limits.features, "an empty list would mean that it can do everything"


@given(width=st.integers(1, 80), height=st.integers(1, 80))
def test_the_area_that_is_asked_for_comes_out_at_the_size_that_is_meant(
    width: int, height: int
) -> None:
    """As the pipeline reckons it: the square root of an area, rounded down to a multiple of 16."""
    wide, high = width * 16, height * 16
    area, aspect = (wide + 1) * (high + 1), high / wide
    if not 1 / 8 <= aspect <= 8:
        return
    assert int(math.sqrt(area * aspect)) // 16 * 16 == high
    assert int(math.sqrt(area / aspect)) // 16 * 16 == wide
