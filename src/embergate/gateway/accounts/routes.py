"""ListAccounts and GetAccount. Accounts are made by an operator, on the command line."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from sqlalchemy import true
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.accounts import store
from embergate.gateway.accounts.schemas import Account, ListAccountsResponse
from embergate.gateway.accounts.store import ACCOUNTS
from embergate.gateway.answers import answer
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ReadQuery, UnorderedListQuery, answer_page
from embergate.storage.tables.accounts import AccountRow

LIST: Final = Operation("ListAccounts", ListAccountsResponse, needs=Permission.READ)
GET: Final = Operation("GetAccount", Account, needs=Permission.READ)

router = APIRouter(tags=["accounts"])


@router.get("/accounts", **LIST.route("List the accounts that the caller can see"))
async def list_accounts(call: CurrentCall, query: UnorderedListQuery) -> Response:
    """Return the one account of an API key; an operator's session sees all of them."""
    sees_all = call.caller.is_operator and not call.caller.key_id
    mine = true() if sees_all else AccountRow.id == call.caller.account
    page = await ACCOUNTS.page(call, query, mine)
    return answer_page("accounts", page, Account, query.read_mask)


@router.get("/accounts/{account_id}", **GET.route("Describe an account"))
async def get_account(call: CurrentCall, account_id: str, query: ReadQuery) -> Response:
    """Return one account."""
    return answer(ACCOUNTS.message_of(await store.get(call.db, account_id)), query.read_mask)
