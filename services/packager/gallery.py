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


def films(view: View) -> Section:
    """Return the films, grouped by ratio."""
    groups = []
    for ratio, group in view.films.items():
        cards = "".join(_film(film) for film in group)
        title = f"{text(ratio)} <span>{text(ratio_title(ratio))}</span>"
        groups.append(f'<h3>{title}</h3><div class="reel">{cards}</div>')
    return Section("films", "Films", "\n".join(groups), "Captions are set in the picture.")


def _film(film: Film) -> str:
    item, ref = film.item, film.item.artifact
    shape = f"{ref.width} / {ref.height}" if ref.width and ref.height else "16 / 9"
    poster = link(film.poster.path) if film.poster else ""
    name = _name(item)
    track = (
        f'<track kind="captions"{attributes(src=link(film.captions.path), srclang=item.locale, label="Captions")}>'
        if film.captions
        else ""
    )
    files = [("MP4", item), ("SRT", film.subtitles), ("VTT", film.captions), ("Poster", film.poster)]
    downloads = "".join(
        f'<a download href="{link(file.path)}">{label}</a>' for label, file in files if file
    )
    facts = [f"{ref.width} × {ref.height}" if ref.width else "", _length(item), size_of(ref.size_bytes)]  # noqa: RUF001 - a multiplication sign
    ratio = f"{ref.width / ref.height:.4f}" if ref.height else "1.7778"
    return (
        f'<figure class="film" style="--r:{ratio}"{switched_by(item.locale, item.variant)}>'
        f'<video controls playsinline preload="none"{attributes(style=f"aspect-ratio:{shape}", poster=poster, aria_label=f"Film: {name}")}>'
        f'<source src="{link(item.path)}" type="video/mp4">{track}'
        f'<a href="{link(item.path)}">{text(name)}</a></video>'
        f"<figcaption>{_tags(item)}<strong>{text(_places(item))}</strong>"
        f'<span class="facts">{text(" · ".join(f for f in facts if f))}</span>'
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
    ref = item.artifact
    width, height = ref.width or 4, ref.height or 3
    title = placement_title(placement)
    alt = described or f"{title}: {item.title or 'still'}"
    picture = (
        f'<img loading="lazy" decoding="async"{spoken_in(item.locale if described else "")}'
        f'{attributes(src=link(item.path), width=str(width), height=str(height), alt=alt)}>'
    )
    facts = f"{width} × {height} · {size_of(ref.size_bytes)}"  # noqa: RUF001 - a multiplication sign
    return (
        f'<figure class="still" style="--r:{width / height:.4f};--w:{width}px"'
        f"{switched_by(item.locale, item.variant)}>"
        f'<a href="{link(item.path)}">{picture}</a><figcaption>{_tags(item)}<strong>{text(title)}</strong>'
        f'<span class="facts">{text(facts)}</span></figcaption></figure>'
    )


def sound(view: View) -> Section:
    """Return music and voices with players."""
    rows = "".join(
        f'<li{switched_by(item.locale, item.variant)}><div><strong>{text(item.title or item.path)}</strong>'
        f'{_tags(item)}<span class="facts">{text(" · ".join(p for p in (_length(item), size_of(item.artifact.size_bytes)) if p))}</span></div>'
        f'<audio controls preload="none"{attributes(aria_label=_name(item))} src="{link(item.path)}"></audio></li>'
        for item in view.sound
    )
    return Section("sound", "Sound", f'<ul class="tracks">{rows}</ul>' if rows else "")


def models(view: View) -> Section:
    """Return the product's form to download, beside the pictures that belong to it."""
    if not view.models and not view.model_pictures:
        return Section("form", "Product model", "")
    pictures = "".join(
        f'<figure class="plain"><a href="{link(i.path)}"><img loading="lazy" decoding="async"'
        f'{attributes(src=link(i.path), alt=i.title or i.path, width=str(i.artifact.width), height=str(i.artifact.height))}></a>'
        f"<figcaption><strong>{text(i.title or i.path)}</strong></figcaption></figure>"
        for i in view.model_pictures
    )
    downloads = "".join(
        f'<a class="button" download href="{link(i.path)}">Download {text(i.path.rpartition(".")[2].upper())}'
        f" <small>{size_of(i.artifact.size_bytes)}</small></a>"
        for i in view.models
    )
    about = "<p>In metres, Y up. Opens in Blender and in any glTF viewer.</p>" if view.models else ""
    return Section(
        "form", "Product model", f'<div class="form">{pictures}<div>{about}{downloads}</div></div>'
    )


def _tags(item: PackageItem) -> str:
    tags = [item.locale, f"Variant {item.variant.upper()}" if item.variant else ""]
    shown = "".join(f"<i>{text(tag)}</i>" for tag in tags if tag)
    return f'<span class="tags">{shown}</span>' if shown else ""


def _places(item: PackageItem) -> str:
    return ", ".join(placement_title(p) for p in item.placements) or item.title or item.path


def _name(item: PackageItem) -> str:
    parts = [item.title, _places(item), item.locale]
    return ", ".join(dict.fromkeys(p for p in parts if p))


def _length(item: PackageItem) -> str:
    return seconds_of(item.artifact.seconds) if item.artifact.seconds else ""
