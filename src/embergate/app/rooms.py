"""The gateway's rooms on an application: all that the gateway needs of one, and nothing of the inference plane."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import EmbergateError
from embergate.gateway.accounts import routes as accounts
from embergate.gateway.api_keys import routes as api_keys
from embergate.gateway.audit import routes as audit
from embergate.gateway.batch_jobs import routes as batch_jobs
from embergate.gateway.billing import routes as billing
from embergate.gateway.credits import routes as credits_
from embergate.gateway.datasets import routes as datasets
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.ended_keys import EndedKeyError, EndedKeys
from embergate.gateway.files import routes as files
from embergate.gateway.models import config_routes as model_configs
from embergate.gateway.models import routes as models
from embergate.gateway.openai import routes as openai
from embergate.gateway.operations import routes as operations
from embergate.gateway.policy_settings import routes as policy_settings
from embergate.gateway.pricing_plans import routes as pricing_plans
from embergate.gateway.quotas import routes as quotas
from embergate.gateway.secrets import routes as secrets
from embergate.gateway.sessions import routes as sessions
from embergate.gateway.usage import routes as usage
from embergate.gateway.usage import serverless
from embergate.gateway.users import routes as users
from embergate.web.errors import handle_error, handle_http_exception

ROOMS: Final = (
    accounts,
    users,
    api_keys,
    sessions,
    credits_,
    audit,
    secrets,
    policy_settings,
    quotas,
    usage,
    serverless,
    billing,
    pricing_plans,
    model_configs,
    models,
    datasets,
    batch_jobs,
    operations,
)


def add_gateway(app: FastAPI, gateway: GatewayDeps) -> None:
    """Add the gateway's routes, and the bodies that errors have."""
    app.state.gateway = gateway
    for error in (EmbergateError, InvalidArgumentError, RequestValidationError):
        app.add_exception_handler(error, handle_error)
    app.add_exception_handler(EndedKeyError, EndedKeys(gateway.database, gateway.keyring).handle)
    app.add_exception_handler(HTTPException, handle_http_exception)
    for room in ROOMS:
        app.include_router(room.router, prefix="/v1")
    for prefix, variant in (("/v1", ""), ("/inference/v1", "Inference")):
        app.include_router(openai.router(variant), prefix=prefix)
    app.include_router(models.of_inference, prefix="/inference/v1")
    app.include_router(files.router)
