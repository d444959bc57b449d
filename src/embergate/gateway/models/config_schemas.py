"""What ValidateModelConfig takes and answers on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import REQUIRED, Message


class ValidateModelConfigRequest(Message):
    """The body of ValidateModelConfig."""

    config_json: Annotated[str, REQUIRED, Field(description="The text of the model's config.json.")] = ""
    tokenizer_config_json: Annotated[str, Field(description="The text of its tokenizer_config.json.")] = ""


class ValidateModelConfigResponse(Message):
    """Nothing: the model's configuration is one that can be served."""
