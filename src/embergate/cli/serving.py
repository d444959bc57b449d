"""`embergate serve`: the first key, the logs, and a uvicorn server that exits when its models cannot be loaded."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from typing import Final

import structlog
import uvicorn

from embergate.app.asgi import create_app
from embergate.app.engine import build_deps, check_models, serving_lifespan
from embergate.app.gateway import open_gateway, prepare_gateway
from embergate.app.tracing import open_tracer
from embergate.errors import ConfigurationError, EmbergateError
from embergate.settings import Settings
from embergate.web.protocol import JSONErrorProtocol

# A process may usually have 1,024 files open; the models and the logs need some of them.
MAX_CONNECTIONS: Final = 900
# A page of a list of a million rows takes a tenth of a second.
STATEMENT_TIMEOUT_S: Final = 10.0


def run_server(settings: Settings) -> int:
    """Serve until a signal; return the process's exit code."""
    configure_logs(settings.log_level)
    check_models(settings)
    tracer = open_tracer(settings)
    sockets = listen(settings.host, settings.port)
    new_key = asyncio.run(prepare_gateway(settings))
    if new_key is not None:  # before anything else can fail: it is committed, and nobody knows it
        print(f"The first API key, shown only now: {new_key}", file=sys.stderr, flush=True)
    gateway = open_gateway(settings, statement_timeout_s=STATEMENT_TIMEOUT_S)
    deps = build_deps(settings, gateway)
    deps.tracer = tracer
    failures: list[EmbergateError] = []

    def on_failure(error: EmbergateError) -> None:
        failures.append(error)
        server.should_exit = True

    server = _AnnouncingServer(
        uvicorn.Config(
            create_app(deps, gateway, serving_lifespan(deps, gateway, settings, on_failure)),
            loop="auto",
            http=JSONErrorProtocol,
            ws="none",
            access_log=False,
            server_header=False,
            log_config=None,
            log_level="warning",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=settings.shutdown_grace_s,
        )
    )
    # uvicorn raises the signal again once requests in flight are answered; this is where it ends, with exit code 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets)
    if failures:
        print(f"embergate: {failures[0].message}", file=sys.stderr)
        return 1
    return 0 if server.started else 1


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens, once it really does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers if self.started else []:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                address = f"[{host}]" if listening.family == socket.AF_INET6 else host
                print(f"Embergate listens on http://{address}:{port}", file=sys.stderr, flush=True)


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to every address of `host` that this machine has; port 0 takes a free one.

    Raises: ConfigurationError if there is no such address, or the port is taken.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                sockets.append(socket.create_server(address[:2], family=family))
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:  # `localhost` on a host without IPv6
                    raise
                failure = error
        if failure is not None and not sockets:
            raise failure
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise ConfigurationError(
            f"EMBERGATE_HOST and EMBERGATE_PORT: cannot listen on {host}:{port}: {reason}; name an address of this "
            "machine and a port that is free"
        ) from error
    return sockets


def configure_logs(level: str) -> None:
    """Log JSON lines to stderr, from `level` up; the libraries' own loggers and warnings included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(render, foreign_pre_chain=processors))
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler])
    logging.captureWarnings(True)
