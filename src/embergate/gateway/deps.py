"""What the gateway is handed by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, cast

from fastapi import Request

from embergate.aip.paging import PageTokens
from embergate.gateway.files.urls import UrlSigner
from embergate.gateway.metrics import GatewayMetrics
from embergate.gateway.models.imports.sources import ImportRules
from embergate.gateway.moving_window import MovingWindow
from embergate.gateway.quotas.known import QuotaDefaults
from embergate.gateway.sessions.parts import SessionParts
from embergate.gateway.usage.retention import DEFAULT_RETENTION
from embergate.storage.database import Database
from embergate.storage.objects.protocol import Objects
from embergate.web.bulk import BulkAnswerer
from embergate.web.caller import Authenticator
from embergate.web.keyring import Keyring
from embergate.web.limits import Limiter
from embergate.web.metering import Meter
from embergate.web.policy import ModelPolicies

if TYPE_CHECKING:
    from embergate.gateway.models.serving import ModelParts
    from embergate.gateway.usage.suspension import Reviews
    from embergate.gateway.webhooks.webhook import Webhook


class ForgetfulAuthenticator(Authenticator, Protocol):
    """An authenticator that remembers callers for a moment, and how lately their keys were used."""

    def forget(self) -> None:
        """Look every credential up again: one of them may have been revoked, or its user changed."""
        ...

    def take_used(self) -> Mapping[str, datetime]:
        """Return the keys used since the last call of this, each with the time of its last use."""
        ...

    def put_back_used(self, used: Mapping[str, datetime]) -> None:
        """Keep what could not be written down for the next time."""
        ...


class ForgetfulPolicies(ModelPolicies, Protocol):
    """Policies that are remembered for a moment."""

    def forget(self) -> None:
        """Look every policy up again: one of them may have changed."""
        ...


class ForgetfulMeter(Meter, Protocol):
    """A meter that remembers accounts' terms for a moment."""

    def forget(self) -> None:
        """Look every account's terms up again: one of them may have changed."""
        ...

    async def close(self) -> None:
        """Wait until every charge is written."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """The parts that gateway rooms use."""

    database: Database
    keyring: Keyring
    page_tokens: PageTokens
    authenticator: ForgetfulAuthenticator
    sessions: SessionParts
    policies: ForgetfulPolicies
    meter: ForgetfulMeter
    # What the meter counts limits with, and what counts for accounts without quotas of their own.
    limiter: Limiter
    quota_defaults: QuotaDefaults
    reviews: Reviews
    metrics: GatewayMetrics
    # By account: credit codes that were tried and that there are not.
    code_guesses: MovingWindow
    # Where files are, and the URLs that clients reach them by.
    objects: Objects
    signer: UrlSigner
    # What is served, and what accounts have uploaded to be served.
    models: ModelParts
    # How long the records of calls are kept.
    usage_retention: timedelta = DEFAULT_RETENTION
    # Where warnings are sent to, if anywhere.
    webhook: Webhook | None = None
    # Where models may be imported from.
    import_rules: ImportRules = field(default_factory=ImportRules)
    # What batch jobs are done with, where there is an engine.
    bulk: BulkAnswerer | None = None
    # Told when there may be jobs to do: the workers of this process.
    job_listeners: list[Callable[[], None]] = field(default_factory=list)

    def tell_workers(self) -> None:
        """Have the workers of this process look at once; those of others find by themselves what has changed."""
        for listener in self.job_listeners:
            listener()


def gateway_of(request: Request) -> GatewayDeps:
    """Return the parts of the application that handles the request."""
    return cast(GatewayDeps, request.app.state.gateway)
