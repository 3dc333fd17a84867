"""What the Grafana dashboard shows: `python -m services.observer.dashboard` writes it.

The names of metrics come from bus/metrics.py, so that a panel cannot ask for what is not exported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bus import metrics as m
from services.observer.panel import Panel, Query, Row, dashboard

TARGET = Path(__file__).parents[2] / "deploy/grafana/dashboards/adgenx.json"

_OF = 'provider=~"$provider"'
"""The reader's choice of providers."""
_REQUESTS, _DEAD = 'queue="REQUESTS"', 'queue="DEAD"'
_OPEN = 'state="open"'
_OPEN_OF, _HALF_OPEN_OF = f"{_OF}, {_OPEN}", f'{_OF}, state="half_open"'


def _sum(name: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({name}{{{labels}}}[$__rate_interval]))"


def _now(name: str, by: str, labels: str = "") -> str:
    """Return a gauge; of two observers that show the same, one."""
    return f"max by ({by}) ({name}{{{labels}}})"


def _glance() -> Row:
    """Return what is looked at first: whether all is well, and what it costs."""
    errors = f'sum(rate({m.OUTCOMES.name}{{outcome="service"}}[5m]))'
    panels = [
        Panel(
            title="Jobs in flight",
            queries=[Query(f"sum({_now(m.JOBS_IN_FLIGHT.name, 'provider')})")],
            kind="stat",
        ),
        Panel(
            title="Waiting requests",
            queries=[Query(f"sum({_now(m.QUEUE_DEPTH.name, 'kind', _REQUESTS)})")],
            kind="stat",
        ),
        Panel(
            title="Errors of ours, 5 min",
            queries=[Query(f"{errors} / (sum(rate({m.OUTCOMES.name}[5m])) > 0) or vector(0)")],
            unit="percentunit",
            kind="stat",
            alarm=0.01,
            decimals=1,
        ),
        Panel(
            title="Cost today",
            queries=[Query(f"sum({_now(m.LEDGER_TODAY.name, 'provider')}) or vector(0)")],
            unit="currencyUSD",
            kind="stat",
            decimals=2,
        ),
        Panel(
            title="Breakers open",
            queries=[Query(f"sum({_now(m.BREAKER.name, 'provider', _OPEN)})")],
            kind="stat",
            warn=1,
        ),
        Panel(
            title="Dead letters",
            queries=[Query(f"sum({_now(m.QUEUE_DEPTH.name, 'kind', _DEAD)})")],
            kind="stat",
            warn=1,
        ),
        Panel(
            title="Memory available",
            queries=[Query(f"max({m.MEMORY_AVAILABLE.name})")],
            unit="decbytes",
            kind="stat",
        ),
        Panel(
            title="Alerts firing",
            queries=[
                Query('count(ALERTS{alertstate="firing", alertname=~"Adgenx.*"}) or vector(0)')
            ],
            kind="stat",
            alarm=1,
        ),
    ]
    return Row(panels=panels, height=4)


def _work() -> list[Row]:
    results = Panel(
        title="Throughput by provider",
        about="Results a second: made, taken from the cache, or shared with an equal request.",
        queries=[Query(_sum(m.RESULTS.name, "provider", f'{_OF}, status="ok"'), "{{provider}}")],
        unit="reqps",
        stacked=True,
    )
    flight = Panel(
        title="Jobs in flight",
        queries=[Query(_now(m.JOBS_IN_FLIGHT.name, "provider", _OF), "{{provider}}")],
        stacked=True,
    )
    latency = [
        Panel(
            title=f"Latency p{share}",
            about="From acceptance to a good result, of what was made anew.",
            queries=[
                Query(f"provider:adgenx_latency_seconds:p{share}_10m{{{_OF}}}", "{{provider}}")
            ],
            unit="s",
        )
        for share in (50, 95, 99)
    ]
    return [Row(title="Work", panels=[results, flight]), Row(panels=latency)]


def _trouble() -> list[Row]:
    errors = Panel(
        title="Errors by code",
        queries=[Query(_sum(m.ERRORS.name, "provider, code", _OF), "{{provider}} {{code}}")],
        unit="reqps",
        stacked=True,
    )
    again = Panel(
        title="Retries and fallbacks",
        about="Starts that were tried again, and requests that another provider took over.",
        queries=[
            Query(_sum(m.RETRIES.name, "provider", _OF), "{{provider}} retried"),
            Query(_sum(m.FALLBACKS.name, "provider", _OF), "{{provider}} given up"),
        ],
        unit="reqps",
    )
    breakers = Panel(
        title="Breakers",
        about="2 is open, 1 half-open, 0 closed.",
        queries=[
            Query(
                f"2 * {_now(m.BREAKER.name, 'provider', _OPEN_OF)}"
                f" + {_now(m.BREAKER.name, 'provider', _HALF_OPEN_OF)}",
                "{{provider}}",
            )
        ],
        kind="state-timeline",
        warn=1,
        alarm=2,
    )
    return [Row(title="Trouble", panels=[errors, again, breakers])]


def _queues() -> list[Row]:
    age = Panel(
        title="Age of the oldest",
        about="Requests until they are told, jobs until they are done, commands until taken.",
        queries=[
            Query(_now(m.QUEUE_OLDEST.name, "queue, kind") + " > 0", "{{queue}} {{kind}}"),
        ],
        unit="s",
    )
    depth = Panel(
        title="Waiting and in hand",
        queries=[Query(_now(m.QUEUE_DEPTH.name, "queue, kind") + " > 0", "{{queue}} {{kind}}")],
        stacked=True,
    )
    stuck = Panel(
        title="Stuck, and not taken",
        about="What no consumer will be given, and what consumers have before them.",
        queries=[
            Query(_now(m.STUCK.name, "stream"), "{{stream}} stuck"),
            Query(_now(m.CONSUMER_PENDING.name, "stream, consumer"), "{{stream}} {{consumer}}"),
        ],
    )
    return [Row(title="Queues", panels=[age, depth, stuck])]


def _money() -> list[Row]:
    day = Panel(
        title="Cost per day",
        about="From the ledger; the last 24 hours at each moment.",
        queries=[
            Query(
                f"max by (provider) (increase({m.LEDGER_COST.name}{{{_OF}}}[1d]))", "{{provider}}"
            )
        ],
        unit="currencyUSD",
        stacked=True,
        decimals=2,
    )
    tenants = Panel(
        title="Cost by tenant, last hour",
        queries=[
            Query(f"sum by (tenant) (increase({m.TENANT_COST.name}{{{_OF}}}[1h]))", "{{tenant}}")
        ],
        unit="currencyUSD",
        stacked=True,
        decimals=2,
    )
    budgets = Panel(
        title="Budgets spent or reserved",
        queries=[
            Query(
                f"({_now(m.BUDGET_SPENT.name, 'tenant, scope')}"
                f" + {_now(m.BUDGET_RESERVED.name, 'tenant, scope')})"
                f" / ({_now(m.BUDGET_LIMIT.name, 'tenant, scope')} > 0)",
                "{{tenant}} {{scope}}",
            )
        ],
        unit="percentunit",
        kind="bargauge",
        warn=0.9,
        alarm=1,
        most=1,
    )
    return [Row(title="Money", panels=[day, tenants, budgets])]


def _machine() -> list[Row]:
    memory = Panel(
        title="Resident models",
        about="What each provider's loaded models take, and what the machine could still give.",
        queries=[
            Query(_now(m.RESIDENT_MEMORY.name, "provider", _OF) + " > 0", "{{provider}}"),
            Query(f"max({m.MEMORY_AVAILABLE.name})", "available"),
        ],
        unit="decbytes",
    )
    workers = Panel(
        title="Places and how many are busy",
        queries=[
            Query(_now(m.BUSY_WORKERS.name, "provider", _OF), "{{provider}} busy"),
            Query(_now(m.READY_WORKERS.name, "provider", _OF), "{{provider}} places"),
        ],
    )
    disk = Panel(
        title="Disk",
        queries=[Query(_now(m.DISK_USED.name, "folder"), "{{folder}}")],
        unit="percentunit",
        warn=0.8,
        alarm=0.9,
        most=1,
    )
    streams = Panel(
        title="Streams, of what they may hold",
        queries=[
            Query(
                f"topk(8, {_now(m.STREAM_BYTES.name, 'stream')}"
                f" / ({_now(m.STREAM_LIMIT.name, 'stream')} > 0))",
                "{{stream}}",
            )
        ],
        unit="percentunit",
        kind="bargauge",
        warn=0.8,
        alarm=0.95,
        most=1,
    )
    return [Row(title="Machine", panels=[memory, workers, disk, streams])]


def _processes() -> list[Row]:
    up = Panel(
        title="Processes",
        queries=[Query('max by (service) (up{job="adgenx"})', "{{service}}")],
        kind="state-timeline",
        about="1 while it answers.",
    )
    store = Panel(
        title="Publications and compare-and-sets, p99",
        queries=[
            Query(
                "histogram_quantile(0.99, sum by (target, le)"
                f" (rate({m.STORE_SECONDS.name}_bucket[$__rate_interval])))",
                "{{target}}",
            )
        ],
        unit="s",
    )
    router = Panel(
        title="Router decisions, p99",
        queries=[
            Query(
                "histogram_quantile(0.99, sum by (step, le)"
                f" (rate({m.ROUTER_DECISION_SECONDS.name}_bucket[$__rate_interval])))",
                "{{step}}",
            )
        ],
        unit="s",
    )
    connection = Panel(
        title="Reconnections and refusals",
        queries=[
            Query(_sum(m.BUS_RECONNECTS.name, "service"), "{{service}} reconnected"),
            Query(_sum(m.PERMISSION_DENIED.name, "service"), "{{service}} refused"),
        ],
        unit="reqps",
    )
    return [Row(title="Processes", panels=[up, store, router, connection])]


def rows() -> list[Row]:
    """Return the whole dashboard, from what matters most to what explains it."""
    return [
        _glance(),
        *_work(),
        *_trouble(),
        *_queues(),
        *_money(),
        *_machine(),
        *_processes(),
    ]


def text() -> str:
    """Return the dashboard's file."""
    made = dashboard("adgenx", "AdGenX", rows())
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file."""
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
