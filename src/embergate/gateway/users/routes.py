"""Users: list, create, get, update, end the sessions. There is no delete: the trail and the bills go on naming them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListQuery, QueryParameters, ReadQuery, UpdateQuery, answer_page
from embergate.gateway.sessions import service as sessions
from embergate.gateway.sessions.schemas import EndSessionsRequest
from embergate.gateway.users import service, store
from embergate.gateway.users.schemas import ListUsersResponse, User
from embergate.gateway.users.store import USERS
from embergate.storage.tables.accounts import UserRow

LIST: Final = Operation("ListUsers", ListUsersResponse, needs=Permission.READ)
CREATE: Final = Operation("CreateUser", User, needs=Permission.ADMIN, takes=User, writes=True)
GET: Final = Operation("GetUser", User, needs=Permission.READ)
UPDATE: Final = Operation("UpdateUser", User, needs=Permission.ADMIN, takes=User, takes_part=True, writes=True)
# Whose sessions: one's own, or as an admin.
END_SESSIONS: Final = Operation("EndSessions", Empty, needs=Permission.ITSELF, takes=EndSessionsRequest, writes=True)


class CreateUserQuery(QueryParameters):
    """The query of CreateUser."""

    user_id: str = Field("", description="The last part of the user's name.")


router = APIRouter(prefix="/accounts/{account_id}/users", tags=["users"])


@router.get("", **LIST.route("List the users of an account"))
async def list_users(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of users."""
    page = await USERS.page(call, query, UserRow.account_id == call.account_id)
    return answer_page("users", page, User, query.read_mask)


@router.post("", **CREATE.route("Add a user"))
async def create_user(
    call: CurrentCall, user: Annotated[User, body_of(User)], query: Annotated[CreateUserQuery, Query()]
) -> Response:
    """Add a user; without `userId` the id is made from the email."""
    return answer(await service.create(call, query.user_id, user))


@router.get("/{user_id}", **GET.route("Describe a user"))
async def get_user(call: CurrentCall, user_id: str, query: ReadQuery) -> Response:
    """Return one user."""
    return answer(USERS.message_of(await store.get(call.db, call.account_id, user_id)), query.read_mask)


@router.patch("/{user_id}", **UPDATE.route("Change a user"))
async def update_user(
    call: CurrentCall, user_id: str, user: Annotated[User, body_of(User)], query: UpdateQuery
) -> Response:
    """Change the fields that the body holds, or those that `updateMask` names."""
    return answer(await service.update(call, user_id, user, query.update_mask))


@router.post("/{user_id}:endSessions", **END_SESSIONS.route("End a user's sessions"))
async def end_sessions(
    call: CurrentCall, user_id: str, _request: Annotated[EndSessionsRequest, body_of(EndSessionsRequest)]
) -> Response:
    """End every session of the user, the one that calls included. API keys go on working."""
    await sessions.end_all(call, user_id)
    return answer(Empty())
