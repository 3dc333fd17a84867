"""Speech at another tempo: its length changes, its pitch does not."""

import numpy as np
import pytest

from media.tempo import at_tempo

pytestmark = pytest.mark.unit

HERTZ = 44_100
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * HERTZ) / HERTZ)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.7, 1.2, 1.6, 2.0])
def test_it_is_as_much_shorter_and_as_high_as_before(factor: float) -> None:
    made = at_tempo(TONE, HERTZ, factor)
    pitch = np.argmax(np.abs(np.fft.rfft(made))) * HERTZ / len(made)
    assert len(made) == pytest.approx(len(TONE) / factor, rel=0.005)
    assert pitch == pytest.approx(440, rel=0.005)
    assert made.tobytes() == at_tempo(TONE, HERTZ, factor).tobytes()


def test_its_own_tempo_is_the_very_same_sound() -> None:
    assert at_tempo(TONE, HERTZ, 1.0) is TONE


def test_next_to_nothing_stays_next_to_nothing() -> None:
    assert len(at_tempo(TONE[:0], HERTZ, 1.5)) == 0
    assert len(at_tempo(TONE[:50], HERTZ, 1.5)) < 50


@pytest.mark.parametrize("factor", [0.4, 2.1, float("nan")])
def test_what_one_pass_cannot_do_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="is not between"):
        at_tempo(TONE, HERTZ, factor)
