"""Counting events: each request and each result once, as the router told it."""

from __future__ import annotations

import msgspec

from bus import metrics
from contracts.events import GenerationRequest, GenerationResult
from contracts.jobs import Made
from services.observer.outcome import Outcome, outcome_of

MOST_TENANTS = 50
"""So many tenants are told apart; the others are one. A label must not grow without bound."""
OTHER = "other"
UNROUTED = "none"
"""The provider of a request that was refused before anybody was chosen."""

_event = msgspec.json.Decoder(GenerationRequest | GenerationResult)


class Tally:
    """Turns events into counts. An event that is delivered twice counts twice, which is rare."""

    def __init__(self) -> None:
        self._tenants: set[str] = set()

    def see(self, subject: str, data: bytes) -> None:
        """Count one event; one that cannot be read, of a newer version, is passed over."""
        tenant = subject.split(".", 3)[2]
        try:
            event = _event.decode(data)
        except msgspec.DecodeError:
            return
        if isinstance(event, GenerationRequest):
            self._request(event)
        else:
            self._result(self._named(tenant), event)

    def expect(self, providers: list[str]) -> None:
        """Begin at 0 what the alerts ask of every provider."""
        for provider in (*providers, UNROUTED):
            for outcome in Outcome:
                metrics.OUTCOMES.begin(provider, outcome.value)
            metrics.LATENCY_SECONDS.begin(provider, Made.RUN.value)
            metrics.RUN_SECONDS.begin(provider)

    def _named(self, tenant: str) -> str:
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) >= MOST_TENANTS:
            return OTHER
        self._tenants.add(tenant)
        return tenant

    def _request(self, event: GenerationRequest) -> None:
        provider = event.provider or UNROUTED
        metrics.REQUESTS.add(event.capability, provider, event.tier)
        metrics.COST_ESTIMATE.add(provider, by=max(0.0, event.cost_estimate))

    def _result(self, tenant: str, event: GenerationResult) -> None:
        provider = event.provider or UNROUTED
        metrics.RESULTS.add(event.capability, provider, event.tier, event.status, event.made)
        metrics.TENANT_COST.add(provider, tenant, by=max(0.0, event.cost_estimate))
        code = event.error.code if event.error is not None else ""
        outcome = outcome_of(event.status, code)
        metrics.OUTCOMES.add(provider, outcome.value)
        if code:
            metrics.ERRORS.add(provider, code)
        if outcome is Outcome.OK:
            metrics.LATENCY_SECONDS.observe(provider, event.made, value=event.latency_ms / 1000)
            if event.run_ms:
                metrics.RUN_SECONDS.observe(provider, value=event.run_ms / 1000)
        for attempt in event.attempts:
            for failure in attempt.retried:
                metrics.RETRIES.add(attempt.service, failure.code)
            if attempt.error is not None and attempt.service != event.provider:
                metrics.FALLBACKS.add(attempt.service, attempt.error.code)
