"""From settings to whoever gathers spans."""

from __future__ import annotations

import re
from typing import Final

from embergate.errors import ConfigurationError
from embergate.settings import Settings
from embergate.web.tracing import Tracer

COLLECTOR: Final = re.compile(r"https?://[^/?#]+[^?#]*")


def open_tracer(settings: Settings) -> Tracer | None:
    """Return what sends spans to the collector, None where there is none; nothing is imported for it then.

    Raises: ConfigurationError if the URL is none, or the extra is not installed.
    """
    if not settings.otlp_endpoint:
        return None
    if not COLLECTOR.fullmatch(settings.otlp_endpoint):
        raise ConfigurationError(
            "EMBERGATE_OTLP_ENDPOINT must be the base URL of a collector that takes OTLP over HTTP, such as "
            "http://localhost:4318"
        )
    try:
        from embergate.web.otel import OtelTracer  # an extra
    except ModuleNotFoundError:
        raise ConfigurationError("EMBERGATE_OTLP_ENDPOINT needs the extra: pip install 'embergate[otel]'") from None
    return OtelTracer(settings.otlp_endpoint)
