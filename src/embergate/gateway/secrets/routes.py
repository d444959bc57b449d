"""Secrets: list, create, get, update, delete. Values are never answered; every call, also a read, is in the audit trail."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ReadQuery, UnorderedListQuery, UpdateQuery, answer_page
from embergate.gateway.secrets import service, store
from embergate.gateway.secrets.schemas import ListSecretsResponse, Secret
from embergate.gateway.secrets.store import SECRETS
from embergate.storage.tables.credentials import SecretRow

ADMIN: Final = Permission.ADMIN
LIST: Final = Operation("ListSecrets", ListSecretsResponse, needs=ADMIN, audited=True)
CREATE: Final = Operation("CreateSecret", Secret, needs=ADMIN, takes=Secret, writes=True)
GET: Final = Operation("GetSecret", Secret, needs=ADMIN, audited=True)
UPDATE: Final = Operation("UpdateSecret", Secret, needs=ADMIN, takes=Secret, takes_part=True, writes=True)
DELETE: Final = Operation("DeleteSecret", Empty, needs=ADMIN, writes=True)

router = APIRouter(prefix="/accounts/{account_id}/secrets", tags=["secrets"])


@router.get("", **LIST.route("List the secrets of an account"))
async def list_secrets(call: CurrentCall, query: UnorderedListQuery) -> Response:
    """Return one page of secrets, in the order of their names."""
    page = await SECRETS.page(call, query, SecretRow.account_id == call.account_id)
    return answer_page("secrets", page, Secret, query.read_mask)


@router.post("", **CREATE.route("Keep a secret"))
async def create_secret(call: CurrentCall, secret: Annotated[Secret, body_of(Secret)]) -> Response:
    """Encrypt and keep a value under the name that the body gives."""
    return answer(await service.create(call, secret))


@router.get("/{secret_id}", **GET.route("Describe a secret"))
async def get_secret(call: CurrentCall, secret_id: str, query: ReadQuery) -> Response:
    """Return one secret without its value."""
    return answer(SECRETS.message_of(await store.get(call.db, call.account_id, secret_id)), query.read_mask)


@router.patch("/{secret_id}", **UPDATE.route("Change a secret"))
async def update_secret(
    call: CurrentCall, secret_id: str, secret: Annotated[Secret, body_of(Secret)], query: UpdateQuery
) -> Response:
    """Change the fields that the body holds, or those that `updateMask` names."""
    return answer(await service.update(call, secret_id, secret, query.update_mask))


@router.delete("/{secret_id}", **DELETE.route("Forget a secret"))
async def delete_secret(call: CurrentCall, secret_id: str) -> Response:
    """Delete a secret and its value."""
    await store.delete(call.db, call.account_id, secret_id)
    return answer(Empty())
