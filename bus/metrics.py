"""Every metric of the product, in one place. Units stand in the names: seconds, bytes, dollars.

`service` is no label here: the scrape target says which process it is (bus/exposition.py).
`provider` is the model service, as the events call it. What is told of the bus as a whole
(everything below the second heading) is measured by the observer alone.
"""

from __future__ import annotations

from bus.metric import Counter, Gauge, Histogram, Metric

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: what the bus and the router do."""
LONG = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0),
)
"""Seconds: what a request takes, from a cache hit to an hour's film."""

# Of every process, about itself.

PROCESS_STARTED = Gauge("adgenx_process_started_timestamp_seconds", "When this process was ready.")
BUS_CONNECTED = Gauge("adgenx_bus_connected", "1 while the connection to NATS stands.")
BUS_RECONNECTS = Counter("adgenx_bus_reconnects_total", "Reconnections to NATS.")
PERMISSION_DENIED = Counter(
    "adgenx_bus_permission_denied_total", "Publications and subscriptions that NATS refused."
)
STORE_SECONDS = Histogram(
    "adgenx_bus_store_seconds",
    "From a publication or a compare-and-set to its answer, by stream.",
    "target",
    buckets=QUICK,
)
STORE_OUTCOMES = Counter(
    "adgenx_bus_store_outcomes_total",
    "Answers to publications and compare-and-sets: stored, conflict, unknown or refused.",
    "target",
    "outcome",
)
DELIVERIES = Counter(
    "adgenx_bus_deliveries_total",
    "Messages handled: ok, abandoned (they come again) or failed.",
    "consumer",
    "outcome",
)
REDELIVERIES = Counter(
    "adgenx_bus_redeliveries_total", "Messages that had been delivered before.", "consumer"
)
HANDLE_SECONDS = Histogram(
    "adgenx_bus_handle_seconds", "How long a message was in hand.", "consumer", buckets=LONG
)
WORK_SECONDS = Histogram(
    "adgenx_work_seconds", "Units of work, as the canonical log lines name them.",
    "event", "outcome", buckets=LONG,
)  # fmt: skip
WORKER_JOBS = Counter(
    "adgenx_worker_jobs_total", "Jobs a worker has settled, by the state of their run.", "state"
)
WORKER_ATTEMPTS = Counter("adgenx_worker_attempts_total", "Attempts that a worker has begun.")
WORKER_RUN_SECONDS = Histogram(
    "adgenx_worker_run_seconds", "How long the model worked on one job.", buckets=LONG
)
WORKER_HEARTBEAT_GAP = Histogram(
    "adgenx_worker_heartbeat_gap_ratio",
    "Time between two heartbeats of a job in hand, as a share of ack_wait.",
    buckets=(0.1, 0.2, 0.4, 0.5, 0.7, 1.0, 2.0),
)
WORKER_CHILD_STARTS = Counter(
    "adgenx_worker_child_starts_total", "Starts of a model's own process."
)
WORKER_SPOOL_BYTES = Gauge(
    "adgenx_worker_spool_bytes", "Finished outputs and kept inputs on the worker's disk."
)
ROUTER_DECISION_SECONDS = Histogram(
    "adgenx_router_decision_seconds",
    "From taking a job up to where it rests: take_in or advance.",
    "step",
    buckets=QUICK,
)
ROUTER_JOBS = Counter(
    "adgenx_router_jobs_total", "Jobs whose record this router has ended.", "provider", "state"
)
ROUTER_RELEASES = Counter(
    "adgenx_router_releases_total", "Jobs put into JOBS, repeats included.", "provider"
)
WEBHOOK_DELIVERIES = Counter(
    "adgenx_webhook_deliveries_total", "Tries to deliver a result over HTTP.", "outcome"
)

# Of the bus as a whole, measured by the observer.

REQUESTS = Counter(
    "adgenx_requests_total", "Requests that were given to a provider.",
    "capability", "provider", "tier",
)  # fmt: skip
RESULTS = Counter(
    "adgenx_results_total", "Requests that are over.",
    "capability", "provider", "tier", "status", "made",
)  # fmt: skip
OUTCOMES = Counter(
    "adgenx_outcomes_total",
    "Requests that are over: ok, cancelled, or whose fault it was: service, request, operator.",
    "provider",
    "outcome",
)
ERRORS = Counter("adgenx_errors_total", "Requests that failed, by code.", "provider", "code")
LATENCY_SECONDS = Histogram(
    "adgenx_request_latency_seconds",
    "From acceptance to a good result.",
    "provider",
    "made",
    buckets=LONG,
)
RUN_SECONDS = Histogram(
    "adgenx_run_seconds",
    "From the start of the run that made it to the result.",
    "provider",
    buckets=LONG,
)
RETRIES = Counter("adgenx_retries_total", "Starts that were tried again.", "provider", "code")
FALLBACKS = Counter(
    "adgenx_fallbacks_total", "Requests that another provider had to take over.", "provider", "code"
)
COST_ESTIMATE = Counter(
    "adgenx_cost_estimate_dollars_total", "What was expected of requests as they came.", "provider"
)
TENANT_COST = Counter(
    "adgenx_cost_dollars_total", "What results were charged with.", "provider", "tenant"
)
LEDGER_COST = Counter(
    "adgenx_ledger_dollars_total", "The sum of the ledger since its first day.", "provider"
)
LEDGER_TODAY = Gauge(
    "adgenx_ledger_today_dollars", "The sum of the ledger since midnight UTC.", "provider"
)
JOBS_IN_FLIGHT = Gauge("adgenx_jobs_in_flight", "Jobs in the hands of workers.", "provider")
QUEUE_DEPTH = Gauge(
    "adgenx_queue_depth",
    "Messages in a queue: unfinished requests by capability, jobs by provider, commands, dead.",
    "queue",
    "kind",
)
QUEUE_OLDEST = Gauge(
    "adgenx_queue_oldest_seconds", "Age of the oldest message in a queue.", "queue", "kind"
)
QUEUE_TARGET = Gauge(
    "adgenx_queue_target_seconds",
    "How soon a message of the queue should be gone, by the manifests.",
    "queue",
    "kind",
)
CONSUMER_PENDING = Gauge(
    "adgenx_consumer_pending", "Messages not delivered yet.", "stream", "consumer"
)
CONSUMER_IN_HAND = Gauge(
    "adgenx_consumer_ack_pending", "Messages not acknowledged yet.", "stream", "consumer"
)
CONSUMER_DELIVERED = Gauge(
    "adgenx_consumer_delivered_sequence", "The consumer's last delivery.", "stream", "consumer"
)
STUCK = Gauge(
    "adgenx_stuck_messages", "Messages of a work queue that no consumer will be given.", "stream"
)
STREAM_MESSAGES = Gauge("adgenx_stream_messages", "Messages in a stream.", "stream")
STREAM_BYTES = Gauge("adgenx_stream_bytes", "Size of a stream.", "stream")
STREAM_LIMIT = Gauge("adgenx_stream_limit_bytes", "At this size a stream refuses.", "stream")
CAMPAIGNS_OPEN = Gauge("adgenx_campaigns_open", "Campaigns that are not over.")
BREAKER = Gauge("adgenx_breaker", "1 for the state that a breaker is in.", "provider", "state")
ENABLED = Gauge("adgenx_provider_enabled", "0 when a flag or USE_<PROVIDER>=0 is set.", "provider")
READY_WORKERS = Gauge("adgenx_provider_workers", "Jobs that can be done at once.", "provider")
BUSY_WORKERS = Gauge("adgenx_provider_busy", "Jobs being done, as announced.", "provider")
RESIDENT = Gauge("adgenx_provider_resident", "Workers whose model is in memory.", "provider")
RESIDENT_MEMORY = Gauge(
    "adgenx_provider_memory_bytes", "What the resident models take, as announced.", "provider"
)
TARGET_SECONDS = Gauge(
    "adgenx_provider_target_seconds", "How soon a request should be done.", "provider"
)
HEARTBEAT_AGE = Gauge(
    "adgenx_provider_heartbeat_age_seconds", "Since any of its workers was heard of.", "provider"
)
SILENT_WORKERS = Gauge(
    "adgenx_provider_silent_workers", "Workers that went silent without a word.", "provider"
)
BUDGET_LIMIT = Gauge("adgenx_budget_limit_dollars", "What may be spent.", "tenant", "scope")
BUDGET_SPENT = Gauge("adgenx_budget_spent_dollars", "What was spent.", "tenant", "scope")
BUDGET_RESERVED = Gauge(
    "adgenx_budget_reserved_dollars", "What unfinished jobs may still cost.", "tenant", "scope"
)
MEMORY_AVAILABLE = Gauge("adgenx_memory_available_bytes", "The machine's MemAvailable.")
DISK_USED = Gauge("adgenx_disk_used_ratio", "How full a folder's volume is.", "folder")
STORAGE_REFUSING = Gauge(
    "adgenx_storage_refusing", "1 while new requests are refused for want of room."
)
ARTIFACTS_BAD = Gauge(
    "adgenx_artifacts_bad", "Stored files found damaged, or missing, by the last scrub.", "kind"
)
DEPENDENCY_UP = Gauge("adgenx_dependency_up", "1 when it answers: nats, s3.", "dependency")
OBSERVED = Gauge(
    "adgenx_observed_timestamp_seconds", "When the observer last saw everything it looks at."
)

ALL: tuple[Metric, ...] = tuple(m for m in list(globals().values()) if isinstance(m, Metric))
OF_PROCESS: tuple[Metric, ...] = ALL[: ALL.index(REQUESTS)]
"""What every process shows."""
OF_BUS: tuple[Metric, ...] = ALL[ALL.index(REQUESTS) :]
"""What only the observer shows."""


def target_of(subject: str) -> str:
    """Return the stream or bucket behind a subject: a label with few values."""
    parts = subject.split(".", 2)
    return f"{parts[0]}.{parts[1]}" if len(parts) > 1 else subject
