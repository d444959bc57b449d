"""Prometheus metrics of metering: what is charged, what waits to be, and what is refused.

They are for graphs and alarms. What an account owes is in the ledger, to the billionth of a dollar.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from embergate.engine.registry import UPLOADED, Registry
from embergate.errors import ModelNotFoundError
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.usage.charging import Charged
from embergate.gateway.usage.records import UsageRecord

WAIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COMMIT_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
CATALOG: Final = "accounts/fireworks/models/"


class UsageMetrics:
    """Metrics of the meter and its writer. Labels are models that are served, quotas' ids and states: never an account."""

    def __init__(self, registry: CollectorRegistry, models: Registry | None = None) -> None:
        """Declare the metrics; `models` are those that the server was started with."""
        self._models = models or Registry()
        self._declare_charges(registry)
        self._declare_calls(registry)
        # What calls under way are going to cost.
        self.reserved_nanos = 0
        reserved = Gauge("embergate_reserved_usd", "US dollars that calls under way will cost.", registry=registry)
        reserved.set_function(lambda: self.reserved_nanos / NANOS_PER_UNIT)

    def _declare_charges(self, registry: CollectorRegistry) -> None:
        self._charged = (
            Counter("embergate_charged_requests_total", "Requests charged.", ["model"], registry=registry),
            Counter("embergate_charged_tokens_total", "Prompt tokens charged.", ["model"], registry=registry),
            Counter("embergate_charged_usd_total", "US dollars charged.", ["model"], registry=registry),
        )
        # The same by model, found once: to look them up takes longer than to count.
        self._charged_of: dict[str, tuple[Counter, ...]] = {}
        self._charge_seconds = Histogram(
            "embergate_charge_seconds",
            "Seconds from when a charge is handed in until it is committed.",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self.commit_charges = Histogram(
            "embergate_commit_charges", "Charges in one commit.", buckets=COMMIT_BUCKETS, registry=registry
        )
        self.waiting_charges = Gauge(
            "embergate_waiting_charges", "Charges that wait to be written, or written again.", registry=registry
        )
        self.failed_charges = Counter(
            "embergate_failed_charges_total", "Charges that were not written, at each attempt.", registry=registry
        )
        self.lost_charges = Counter(
            "embergate_lost_charges_total", "Charges of answered calls that were given up.", registry=registry
        )

    def _declare_calls(self, registry: CollectorRegistry) -> None:
        self.repeated_requests = Counter(
            "embergate_repeated_requests_total",
            "Requests answered and not charged, since one with their idempotency key was.",
            registry=registry,
        )
        self.dry_runs = Counter("embergate_dry_runs_total", "Dry runs.", registry=registry)
        self._limited_requests = Counter(
            "embergate_limited_requests_total", "Requests refused by a limit.", ["quota"], registry=registry
        )
        self._suspended_requests = Counter(
            "embergate_suspended_requests_total",
            "Requests refused because their account is suspended, or would be.",
            ["state"],
            registry=registry,
        )

    def note_limit(self, quota_id: str) -> None:
        """Count a request that a limit refused."""
        self._limited_requests.labels(quota_id).inc()

    def note_suspension(self, state: SuspendState) -> None:
        """Count a request that was refused for what its account's state is, or would be."""
        self._suspended_requests.labels(state.value).inc()

    def note_charge(self, record: UsageRecord, charged: Charged, waited_s: float) -> None:
        """Count what came of a record."""
        self._charge_seconds.observe(waited_s)
        if charged.refused is not None:
            self.note_suspension(charged.refused)
        elif charged.is_written:
            requests, tokens, usd = self._counters_of(record.dimensions.model)
            requests.inc()
            tokens.inc(record.prompt_tokens)
            usd.inc(record.cost_nanos / NANOS_PER_UNIT)
        elif not charged.is_other_body:
            self.repeated_requests.inc()

    def _counters_of(self, model: str) -> tuple[Counter, ...]:
        found = self._charged_of.get(model)
        if found is None:
            found = tuple(counter.labels(self._public_name_of(model)) for counter in self._charged)
            self._charged_of[model] = found
        return found

    def _public_name_of(self, model: str) -> str:
        """Return a name that tells nothing of an account; models that accounts have uploaded have one between them."""
        if model.startswith(CATALOG):
            return f"fireworks/{model.removeprefix(CATALOG)}"
        try:
            return self._models.get(model).public_name
        except ModelNotFoundError:
            return UPLOADED
