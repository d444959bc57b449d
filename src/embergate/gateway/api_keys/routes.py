"""API keys: list, create, get (in both of its paths), delete, rotate. All of them are written into the audit trail."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields
from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer, answer_secret
from embergate.gateway.api_keys import service, store
from embergate.gateway.api_keys.schemas import (
    ApiKey,
    CreateApiKeyRequest,
    DeleteApiKeyRequest,
    ListApiKeysResponse,
    RotateApiKeyRequest,
)
from embergate.gateway.api_keys.store import API_KEYS
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListQuery, Page, ReadParameters, ReadQuery, answer_page

OWN: Final = Permission.OWN_KEYS
LIST: Final = Operation("ListApiKeys", ListApiKeysResponse, needs=OWN, audited=True)
CREATE: Final = Operation("CreateApiKey", ApiKey, needs=OWN, takes=CreateApiKeyRequest, writes=True)
GET: Final = Operation("GetApiKey", ApiKey, needs=OWN, audited=True)
DELETE: Final = Operation("DeleteApiKey", Empty, needs=OWN, takes=DeleteApiKeyRequest, writes=True)
ROTATE: Final = Operation("RotateApiKey", ApiKey, needs=OWN, takes=RotateApiKeyRequest, writes=True)


class GetApiKeyParameters(ReadParameters):
    """The query of GetApiKey's literal path."""

    key_id: str = Field("", description="The key, as `keyId` in a list.")


router = APIRouter(prefix="/accounts/{account_id}/users/{user_id}", tags=["api keys"])


@router.get("/apiKeys", **LIST.route("List a user's API keys"))
async def list_api_keys(call: CurrentCall, user_id: str, query: ListQuery) -> Response:
    """Return one page of a user's keys, never the keys themselves."""
    user = await service.owner(call, user_id)
    page = await API_KEYS.page(call, query, *service.live_keys(call.account_id, user_id))
    named = [key.model_copy(update={"email": user.email}) for key in page.items]
    return answer_page("apiKeys", Page(named, page.next_page_token, page.total_size), ApiKey, query.read_mask)


@router.post("/apiKeys", **CREATE.route("Make an API key"))
async def create_api_key(
    call: CurrentCall, user_id: str, request: Annotated[CreateApiKeyRequest, body_of(CreateApiKeyRequest)]
) -> Response:
    """Make a key and show it, this once."""
    return answer_secret(await service.create(call, user_id, request))


@router.post("/apiKeys:delete", **DELETE.route("Delete an API key"))
async def delete_api_key(
    call: CurrentCall, user_id: str, request: Annotated[DeleteApiKeyRequest, body_of(DeleteApiKeyRequest)]
) -> Response:
    """End a key at once."""
    require_fields(request)
    await service.delete(call, user_id, request.key_id)
    return answer(Empty())


@router.post("/apiKeys/{key_id}:rotate", **ROTATE.route("Replace an API key"))
async def rotate_api_key(
    call: CurrentCall, user_id: str, key_id: str, request: Annotated[RotateApiKeyRequest, body_of(RotateApiKeyRequest)]
) -> Response:
    """Make a key like the old one and show it; the old one goes on for the grace period."""
    return answer_secret(await service.rotate(call, user_id, key_id, request.grace_period))


# NOTE: the published document of the API has this path, with its parameters twice; it is served as it stands there.
@router.get("/apiKeys/accounts/{account_id_again}/users/{user_id_again}", **GET.route("Describe an API key, by query"))
async def get_api_key_by_query(
    call: CurrentCall,
    user_id: str,
    account_id_again: str,
    user_id_again: str,
    query: Annotated[GetApiKeyParameters, Query()],
) -> Response:
    """Return one key; `keyId` names it."""
    if (account_id_again, user_id_again) != (call.account_id, user_id):
        raise InvalidArgumentError("the path names two different users")
    if not query.key_id:
        raise InvalidArgumentError("keyId is required", field="keyId")
    return await _described(call, user_id, query.key_id, query.read_mask)


@router.get("/apiKeys/{key_id}", **GET.route("Describe an API key", variant="ByPath"))
async def get_api_key(call: CurrentCall, user_id: str, key_id: str, query: ReadQuery) -> Response:
    """Return one key."""
    return await _described(call, user_id, key_id, query.read_mask)


async def _described(call: CurrentCall, user_id: str, key_id: str, read_mask: str) -> Response:
    user = await service.owner(call, user_id)
    row = await store.get(call.db, call.account_id, user_id, key_id)
    return answer(service.shown(row, user), read_mask)
