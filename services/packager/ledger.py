"""Where everything comes from: one table, and what the licences say."""

from __future__ import annotations

from contracts.requests import PackageCampaign, PackageItem, PackageSource
from services.packager.contents import left_out
from services.packager.markup import link, size_of, text
from services.packager.section import Section


def provenance(items: list[PackageItem], request: PackageCampaign) -> Section:
    """Return the table of all files, and of what they were made from, with maker and licence."""
    rows = "".join(_row(item) for item in items)
    rows += "".join(_source(source) for source in request.sources)
    limits = sorted({place for item in items for place in item.territory})
    licences = sorted({item.licence for item in items if item.licence})
    missing = left_out(request, items)
    about = f"<p>Licences of the engines: {text(', '.join(licences))}.</p>" if licences else ""
    if limits:
        about += f"<p>Territory limits: {text(', '.join(limits))}.</p>"
    if missing:
        about += f"<p>Asked for and left out: {text('; '.join(missing))}.</p>"
    table = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Origin of every file"><table>'
        "<thead><tr><th scope=col>File<th scope=col>Step<th scope=col>Made by"
        "<th scope=col>Revision<th scope=col>Seed<th scope=col>Licence<th scope=col>SHA-256</tr>"
        "</thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
    return Section("origin", "Origin", about + table, "The whole of it is in manifest.json.")


def _source(source: PackageSource) -> str:
    """Return the row of a source: it is no file of the package, so that it has no link."""
    maker = " · ".join(p for p in (source.service, source.model, source.holder) if p)
    tier = f' <i class="tier">{text(source.tier.value)}</i>' if source.service else ""
    limits = [*source.territory, f"until {source.expires}" if source.expires else ""]
    limit = ", ".join(p for p in limits if p)
    return (
        f'<tr><th scope="row">not in the package</th>'
        f"<td>{text(source.step)}</td><td>{text(maker) or '–'}{tier}</td>"  # noqa: RUF001 - a dash stands for nothing
        f"<td><code>{text(source.revision[:12])}</code></td><td>{source.seed}</td>"
        f"<td>{text(source.licence + (f' ({limit})' if limit else ''))}</td>"
        f"<td><code>{source.outputs[0][:12] if source.outputs else ''}</code></td></tr>\n"
    )


def _row(item: PackageItem) -> str:
    maker = " · ".join(p for p in (item.service, item.model) if p)
    tier = f' <i class="tier">{text(item.tier.value)}</i>'
    territory = f" ({', '.join(item.territory)})" if item.territory else ""
    return (
        f'<tr><th scope="row"><a href="{link(item.path)}">{text(item.path)}</a>'
        f"<small>{text(item.artifact.media_type)}, {size_of(item.artifact.size_bytes)}</small></th>"
        f"<td>{text(item.step)}</td><td>{text(maker) or '–'}{tier}</td>"  # noqa: RUF001 - a dash stands for nothing
        f"<td><code>{text(item.revision[:12])}</code></td><td>{item.seed}</td>"
        f"<td>{text(item.licence + territory)}</td>"
        f"<td><code>{item.artifact.sha256[:12]}</code></td></tr>\n"
    )
