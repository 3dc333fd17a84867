"""A Grafana dashboard as data: panels in rows, and how they become Grafana's JSON. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

COLUMNS = 24
"""Grafana's grid."""
SCHEMA = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

Kind = Literal["stat", "timeseries", "bargauge", "state-timeline"]
Unit = Literal["s", "short", "reqps", "percentunit", "currencyUSD", "decbytes"]


class Query(msgspec.Struct, frozen=True):
    """One PromQL expression and what its lines are called."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel. `warn` and `alarm` colour what lies above them, as the alerts do."""

    title: str
    queries: list[Query]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    about: str = ""
    stacked: bool = False
    warn: float | None = None
    alarm: float | None = None
    most: float | None = None
    decimals: int | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Panels side by side, as wide as each other; `title` heads a section."""

    panels: list[Panel]
    height: int = 8
    title: str = ""


def dashboard(uid: str, title: str, rows: list[Row]) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        if row.title:
            place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
            panels.append(
                {
                    "type": "row",
                    "title": row.title,
                    "gridPos": place,
                    "collapsed": False,
                    "panels": [],
                }
            )
            top += 1
        width = COLUMNS // len(row.panels)
        for number, panel in enumerate(row.panels):
            place = {"h": row.height, "w": width, "x": number * width, "y": top}
            panels.append(_panel(panel, place))
        top += row.height
    for number, made in enumerate(panels):
        made["id"] = number + 1
    return {
        "uid": uid,
        "title": title,
        "tags": ["adgenx"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _provider()]},
        "annotations": {"list": [_alerts()]},
        "panels": panels,
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    options, custom = _looks(panel)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind in ("stat", "bargauge"),
                "range": panel.kind not in ("stat", "bargauge"),
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel, custom), "overrides": []},
        "options": options,
    }


def _defaults(panel: Panel, custom: dict[str, Any]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    for colour, limit in (("orange", panel.warn), ("red", panel.alarm)):
        if limit is not None:
            steps.append({"color": colour, "value": limit})
    judged = len(steps) > 1
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": steps if judged else [{"color": "text", "value": None}],
        },
        "custom": custom,
    }
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return defaults


def _looks(panel: Panel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a panel's options and its field's custom ones."""
    if panel.kind == "timeseries":
        judged = panel.warn is not None or panel.alarm is not None
        custom: dict[str, Any] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 6,
            "showPoints": "never",
            "spanNulls": 60_000,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if judged else "off"},
        }
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}, custom
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}, {}
    if panel.kind == "bargauge":
        bars = {"orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
        return {"reduceOptions": reduce, **bars}, {}
    return {"showValue": "never", "mergeValues": True, "rowHeight": 0.8}, {"fillOpacity": 80}


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
        "hide": 0,
    }


def _provider() -> dict[str, Any]:
    query = "label_values(adgenx_provider_workers, provider)"
    return {
        "name": "provider",
        "label": "Provider",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "providers"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing", alertname=~"Adgenx.*"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{provider}} {{service}} {{queue}} {{stream}}",
    }
