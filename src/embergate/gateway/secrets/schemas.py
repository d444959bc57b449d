"""What a secret is on the wire: all but its value, which goes in and never comes out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from embergate.aip.message import IMMUTABLE, INPUT_ONLY, NEVER_SHOWN, REQUIRED, Message
from embergate.gateway.answers import ListResponse


class Secret(Message):
    """A secret, such as the password of a bucket, that the server uses on the account's behalf."""

    name: Annotated[str, REQUIRED, IMMUTABLE, Field(max_length=200, description="`accounts/A/secrets/S`")] = ""
    key_name: Annotated[
        str, REQUIRED, Field(max_length=256, description="What the secret is called where it is used.")
    ] = ""
    # NOTE: no bound here: an error of the field itself must not be the place that quotes it.
    value: Annotated[SecretStr, INPUT_ONLY, NEVER_SHOWN] = SecretStr("")


class ListSecretsResponse(ListResponse):
    """One page of secrets, without their values."""

    secrets: list[Secret] = []
