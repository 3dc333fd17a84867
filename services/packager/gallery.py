"""What is looked at and listened to: films, stills, sound, the product's form."""

from __future__ import annotations

from contracts.requests import PackageItem
from services.packager.contents import Words
from services.packager.markup import (
    attributes,
    link,
    seconds_of,
    size_of,
    spoken_in,
    switched_by,
    text,
)
from services.packager.section import Section
from services.packager.view import Film, View, placement_title, ratio_title

TIMES = "\N{MULTIPLICATION SIGN}"
_WIDE, _UNKNOWN = 16 / 9, 4 / 3


def films(view: View) -> Section:
    """Return the films, grouped by ratio."""
    groups = []
    for ratio, group in view.films.items():
        cards = "".join(_film(film) for film in group)
        title = f"{text(ratio)} <span>{text(ratio_title(ratio))}</span>"
        groups.append(f'<div class="group"><h3>{title}</h3><div class="reel">{cards}</div></div>')
    body = f'<div class="reels">{"".join(groups)}</div>' if groups else ""
    return Section("films", "Films", body)


def _film(film: Film) -> str:
    item, ref = film.item, film.item.artifact
    ratio = ref.width / ref.height if ref.width and ref.height else _WIDE
    name = _name(item)
    source = f'<source src="{link(item.path)}" type="video/mp4">'
    if film.captions:
        path = link(film.captions.path)
        tags = attributes(kind="captions", src=path, srclang=item.locale, label="Captions")
        source += f"<track{tags}>"
    looks = attributes(
        style=f"aspect-ratio:{ratio:.4f}",
        poster=link(film.poster.path) if film.poster else "",
        aria_label=f"Film: {name}",
    )
    files = {"MP4": item, "SRT": film.subtitles, "VTT": film.captions, "Poster": film.poster}
    downloads = "".join(
        f'<a download href="{link(file.path)}">{label}</a>' for label, file in files.items() if file
    )
    facts = _facts(_pixels(item), _length(item), size_of(ref.size_bytes))
    return (
        f'<figure class="film" style="--r:{ratio:.4f}"{switched_by(item.locale, item.variant)}>'
        f'<video controls playsinline preload="none"{looks}>{source}'
        f'<a href="{link(item.path)}">{text(name)}</a></video>'
        f"<figcaption>{_tags(item)}<strong>{text(_places(item))}</strong>{facts}"
        f'<span class="files">{downloads}</span></figcaption></figure>'
    )


def stills(view: View, words: Words) -> Section:
    """Return the stills in their true proportions, one after another by placement."""
    described = {
        (deck.locale, place.placement): place.alt_text
        for deck in words.decks
        for place in deck.placements
    }
    cards = [
        _still(placement, item, described.get((item.locale, placement), ""))
        for placement, group in view.stills.items()
        for item in group
    ]
    return Section("stills", "Stills", f'<div class="wall">{"".join(cards)}</div>' if cards else "")


def _still(placement: str, item: PackageItem, described: str) -> str:
    title = placement_title(placement)
    ratio = item.artifact.width / item.artifact.height if _pixels(item) else _UNKNOWN
    width = f";--w:{item.artifact.width}px" if _pixels(item) else ""
    alt = described or f"{title}: {item.title or 'still'}"
    picture = _picture(item, alt, spoken_in(item.locale if described else ""))
    facts = _facts(_pixels(item), size_of(item.artifact.size_bytes))
    return (
        f'<figure class="still" style="--r:{ratio:.4f}{width}"'
        f"{switched_by(item.locale, item.variant)}>{picture}"
        f"<figcaption>{_tags(item)}<strong>{text(title)}</strong>{facts}</figcaption></figure>"
    )


def sound(view: View) -> Section:
    """Return music and voices with players."""
    rows = "".join(_sound(item) for item in view.sound)
    return Section("sound", "Sound", f'<ul class="tracks">{rows}</ul>' if rows else "")


def _sound(item: PackageItem) -> str:
    player = attributes(aria_label=_name(item), src=link(item.path), preload="none")
    facts = _facts(_length(item), size_of(item.artifact.size_bytes))
    return (
        f"<li{switched_by(item.locale, item.variant)}>"
        f"<div><strong>{text(item.title or item.path)}</strong>{_tags(item)}{facts}</div>"
        f"<audio controls{player}></audio></li>"
    )


def models(view: View) -> Section:
    """Return the product's form to download, beside the pictures that belong to it."""
    if not view.models and not view.model_pictures:
        return Section("form", "Product model", "")
    pictures = "".join(
        f'<figure class="plain">{_picture(i, i.title or i.path)}'
        f"<figcaption><strong>{text(i.title or i.path)}</strong></figcaption></figure>"
        for i in view.model_pictures
    )
    downloads = "".join(
        f'<a class="button" download href="{link(i.path)}">'
        f"Download {text(i.path.rpartition('.')[2].upper())} "
        f"<small>{size_of(i.artifact.size_bytes)}</small></a>"
        for i in view.models
    )
    about = "<p>In metres, Y up. Opens in Blender and in any glTF viewer.</p>" if downloads else ""
    body = f'<div class="form">{pictures}<div>{about}{downloads}</div></div>'
    return Section("form", "Product model", body)


def _picture(item: PackageItem, alt: str, language: str = "") -> str:
    """Return a picture that links to its file; its size is told so that nothing jumps."""
    ref = item.artifact
    size = {"width": str(ref.width), "height": str(ref.height)} if _pixels(item) else {}
    image = f"<img{language}{attributes(src=link(item.path), alt=alt, **size)}>"
    return f'<a href="{link(item.path)}">{image}</a>'


def _facts(*facts: str) -> str:
    return f'<span class="facts">{text(" · ".join(fact for fact in facts if fact))}</span>'


def _pixels(item: PackageItem) -> str:
    ref = item.artifact
    return f"{ref.width} {TIMES} {ref.height}" if ref.width and ref.height else ""


def _length(item: PackageItem) -> str:
    return seconds_of(item.artifact.seconds) if item.artifact.seconds else ""


def _tags(item: PackageItem) -> str:
    tags = [item.locale, f"Variant {item.variant.upper()}" if item.variant else ""]
    shown = "".join(f"<i>{text(tag)}</i>" for tag in tags if tag)
    return f'<span class="tags">{shown}</span>' if shown else ""


def _places(item: PackageItem) -> str:
    return ", ".join(placement_title(p) for p in item.placements) or item.title or item.path


def _name(item: PackageItem) -> str:
    parts = [item.title, _places(item), item.locale]
    return ", ".join(dict.fromkeys(p for p in parts if p))
