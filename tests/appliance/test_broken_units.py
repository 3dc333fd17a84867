"""A test of the test: a box that was broken on purpose fails the check that is there for it.

`make appliance-test` (as root).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import checks
import pytest
from box import Box
from checks import ROUTER
from conftest import Boxes, unusable

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(unusable()), reason=f"NOT CHECKED: {unusable()}"),
]

SETTLE_SECONDS = 60.0
UNITS = "etc/systemd/system"
HARDENING = f"{UNITS}/adgenx-.service.d/10-hardening.conf"
PLAIN = f"{UNITS}/{ROUTER}"


class Broken(NamedTuple):
    """A file of the box, what to replace in it, by what, and the check that must fail then.

    Without anything to replace the file is taken away. `says` stands in what the check complains
    of: that it fails for another reason would prove nothing.
    """

    file: str
    old: str
    new: str
    check: Callable[[Box], None]
    says: str


ROUTER_RETURNS = partial(checks.comes_back, unit=ROUTER)
MUTATIONS = {
    "no-watchdog": Broken(
        PLAIN,
        "WatchdogSec=60\n",
        "",
        partial(checks.watchdog_catches, unit=ROUTER),
        "has no watchdog",
    ),
    "no-restart": Broken(PLAIN, "Restart=always", "Restart=no", ROUTER_RETURNS, "to come back"),
    "no-part-of": Broken(
        PLAIN, "PartOf=adgenx.target\n", "", checks.moves_with_the_target, "to stop with"
    ),
    "no-order": Broken(
        PLAIN,
        "After=adgenx-nats.service adgenx-provision.service ",
        "After=",
        checks.starts_in_order,
        "router.service was started .*(too early|in vain)",
    ),
    "no-secret": Broken(
        "etc/adgenx/secrets/router/nats.nk",
        "",
        "",
        checks.everything_is_active,
        "router.* to be active",
    ),
    "no-credential": Broken(
        PLAIN,
        "LoadCredential=nats.nk:/etc/adgenx/secrets/router/nats.nk\n",
        "",
        checks.everything_is_active,
        "router.* to be active",
    ),
    "not-wanted-by-the-target": Broken(
        f"{UNITS}/adgenx.target.wants/{ROUTER}", "", "", ROUTER_RETURNS, "does not run"
    ),
    "no-hardening": Broken(HARDENING, "", "", checks.is_little_exposed, ROUTER),
    "a-misspelt-key": Broken(
        PLAIN, "WatchdogSec=", "WatchdogSecs=", checks.reads_clean, "WatchdogSecs"
    ),
}


def break_it(box: Box, broken: Broken) -> None:
    """Break a box that runs, and start it anew."""
    file = box.machine.root / broken.file
    if broken.old:
        text = file.read_text(encoding="utf-8")
        assert broken.old in text, f"{broken.file} does not say {broken.old!r}"
        file.write_text(text.replace(broken.old, broken.new), encoding="utf-8")
    else:
        file.unlink()
    with contextlib.suppress(TimeoutError):  # what never comes up keeps the boot from ending
        box.machine.reboot(SETTLE_SECONDS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_box_is_noticed(boxes: Boxes, name: str) -> None:
    broken = MUTATIONS[name]
    with boxes(name) as box:
        box.machine.boot()
        break_it(box, broken)
        with pytest.raises((AssertionError, TimeoutError), match=broken.says):
            broken.check(box)
