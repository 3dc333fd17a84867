"""Units in their place: copied from the release, enabled by links, with what this box adds to them.

A unit is enabled by the link that `systemctl enable` would make, so that it works in an image where
no systemd runs. Whatever of ours lies there and is wanted no more goes away.
"""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import rendering, roles
from appliance.config import StoreKind
from appliance.layout import ROOT
from appliance.steps import File, Folder, Gone, Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from appliance.config import Config
    from appliance.layout import Layout
    from appliance.plan import Step

PATTERN = "adgenx*"
DROP_IN = "[0-4][0-9]-*.conf"
"""Names of drop-ins that we make."""
BACKUP_TIMER = "adgenx-backup.timer"
EVERY_SERVICE = "adgenx-.service"
"""What systemd takes for the common beginning of our services' names."""
SUFFIXES = frozenset({".service", ".socket", ".timer", ".target", ".path", ".conf"})
STORE_UNITS = (roles.STORE, roles.STORE_PROXY, "adgenx-s3-proxy.service")


def steps(
    layout: Layout, texts: Mapping[str, str], config: Config, services: Iterable[str]
) -> list[Step]:
    """Return the steps that lay units and drop-ins down, by their path below the units' folder."""
    texts = {name: _placed(text, layout) for name, text in texts.items()}
    links = {
        f"{target}.wants/{unit}": _file_of(unit)
        for unit in enabled(texts, config, services)
        for target in _wanted_by(texts[_file_of(unit)])
    }
    kept = {*texts, *links}
    own = {name.partition("/")[0] for name in kept if "/" in name and name.startswith("adgenx")}
    return [
        Folder(layout.units),
        *(Folder(layout.units / name) for name in sorted(own)),
        *(File(layout.units / name, text.encode) for name, text in texts.items()),
        *_links(layout, links),
        *(
            Gone(path)
            for path in _ours(layout.units)
            if _name(path, layout.units) not in kept | own
        ),
    ]


def _links(layout: Layout, links: dict[str, str]) -> Iterator[Step]:
    for name, unit in sorted(links.items()):
        yield Link(layout.units / name, Path("..") / unit)


def enabled(texts: Mapping[str, str], config: Config, services: Iterable[str]) -> list[str]:
    """Return every unit that the box starts by itself: instances for templates, no foreign store's.

    `texts` are unit files by name; one without an [Install] section is started by another unit.
    """
    left_out = {*STORE_UNITS} if config.store.kind is StoreKind.EXTERNAL else set()
    if not config.backup.target:
        left_out.add(BACKUP_TIMER)
    plain = [
        name
        for name, text in texts.items()
        if not {"/", "@"} & set(name) and _wanted_by(text) and name not in left_out
    ]
    return sorted({*plain, *map(roles.unit_of, services)})


def read(deploy: Path) -> dict[str, str]:
    """Return every unit file and drop-in of a release by its name."""
    folder = deploy / "systemd"
    return {
        _name(path, folder): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in SUFFIXES
    }


def rests_on(unit: str, path: Path, layout: Layout) -> bool:
    """Say whether a unit that runs must be started again when this file has changed."""
    if path.is_relative_to(layout.units):
        base, *below = path.relative_to(layout.units).parts
        of = base.removesuffix(".d") if below else base
        everyone = of == EVERY_SERVICE and unit.endswith(".service")
        return everyone or of in {unit, _file_of(unit)}
    if unit == roles.NATS and path == layout.nats_config:
        return True
    if unit == roles.STORE and (
        path == layout.s3_identities or path.parent == layout.secrets_of(rendering.STORE)
    ):
        return True
    return path == layout.env_file(roles.process_of(unit))


def strays(active: Iterable[str], texts: Mapping[str, str], wanted: Iterable[str]) -> list[str]:
    """Return the units that run though the box wants them no more."""
    kept = set(wanted)
    return [
        unit for unit in active if unit not in kept and ("@" in unit or _file_of(unit) not in texts)
    ]


def _placed(text: str, layout: Layout) -> str:
    """Return a unit's text for a box below a prefix: what it names lies there, too."""
    if layout.prefix == ROOT:
        return text
    moved = {"/opt/adgenx": layout.opt, "/etc/adgenx": layout.etc, "%S/adgenx": layout.state}
    for place, below in moved.items():
        text = text.replace(place, str(below))
    return text


def _file_of(unit: str) -> str:
    """Return the file of a unit: an instance's is its template."""
    stem, at, rest = unit.partition("@")
    return f"{stem}@.{rest.rpartition('.')[2]}" if at else unit


def _wanted_by(text: str) -> list[str]:
    """Return the targets that a unit is to be started with."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    parser.read_string(text)
    return parser.get("Install", "wantedby", fallback="").split()


def _ours(units: Path) -> list[Path]:
    """Return every unit file, drop-in and link of ours; what lies in a folder before the folder.

    What `systemctl edit` has made is the operator's, and any drop-in that begins with 50 or more.
    """
    files = [path for path in units.glob(PATTERN) if not path.is_dir()]
    drop_ins = list(units.glob(f"{PATTERN}.d/{DROP_IN}"))
    folders = [f for f in units.glob(f"{PATTERN}.d") if set(f.iterdir()) <= set(drop_ins)]
    links = [path for folder in units.glob("*.wants") for path in folder.glob(PATTERN)]
    return sorted({*files, *drop_ins, *folders, *links}, reverse=True)


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))
