"""Whatever is sent ends well or in a typed error; `make fuzz` sends a million to each contract."""

from __future__ import annotations

import os
import random

import pytest
from mutation import RAW, mutant
from targets import Target, UntypedError, refusals, targets

pytestmark = pytest.mark.unit

SEED = int(os.environ.get("ADGENX_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
MESSAGES = 500
SHARE_OF_BOTH = 0.02
"""Good ones and bad ones must both be among the mutants, or nothing is shown."""


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
def test_mutants_end_well_or_in_a_typed_error(target: Target) -> None:
    print(f"ADGENX_FUZZ_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(SEED)  # noqa: S311 - a fuzzer's choices, not a secret
    codes: dict[str, int] = {}
    for _ in range(MESSAGES):
        code = refusals(target.take, mutant(dice.choice(target.samples), dice))
        codes[code] = codes.get(code, 0) + 1
    if target.name != "record.job":
        assert codes["ok"] > MESSAGES * SHARE_OF_BOTH
        assert MESSAGES - codes["ok"] > MESSAGES * SHARE_OF_BOTH


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("body", RAW, ids=lambda b: repr(b[:12]))
def test_what_is_no_message_at_all_is_refused(target: Target, body: bytes) -> None:
    code = refusals(target.take, body)
    if target.name != "record.job":
        assert code in ("MALFORMED_JSON", "UNSUPPORTED_TYPE", "INVALID_PARAMS", "TOO_LARGE")


def test_an_untyped_error_is_noticed() -> None:
    def broken(_: bytes) -> None:
        raise KeyError("a bug")

    with pytest.raises(UntypedError, match="KeyError"):
        refusals(broken, b"{}")
