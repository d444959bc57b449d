"""What ImportModel takes on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import INPUT_ONLY, REQUIRED, Message

# INPUT_ONLY although it is but a name: who mistakes it for the secret itself must not find that in the audit trail.
Secret = Annotated[
    str, INPUT_ONLY, Field(max_length=200, description="The name of a secret of the account, `accounts/A/secrets/S`.")
]


class AwsS3ModelSource(Message):
    """A folder of a bucket of Amazon's, or of a store that speaks as theirs does."""

    s3_bucket: Annotated[str, REQUIRED] = ""
    s3_path: Annotated[str, Field(max_length=1000, description="The folder that holds config.json.")] = ""
    role_arn: Annotated[str, Field(max_length=2048, description="Not offered: this server has no role of its own.")] = (
        ""
    )
    access_key_id: Annotated[str, Field(max_length=128)] = ""
    access_secret: Secret = ""
    region: Annotated[str, Field(max_length=32, description="Ours; `us-east-1` if it is left out.")] = ""
    endpoint: Annotated[
        str, Field(max_length=300, description="Ours: a store that the operator allows, instead of Amazon's.")
    ] = ""


class AzureBlobModelSource(Message):
    """A folder of a container of Azure Blob Storage."""

    storage_account: Annotated[str, REQUIRED] = ""
    container: Annotated[str, REQUIRED] = ""
    path: Annotated[str, Field(max_length=1000, description="The folder that holds config.json.")] = ""
    sas_token_secret: Secret = ""
    client_id: Annotated[str, Field(max_length=100, description="Not offered, as this server has no identity.")] = ""
    tenant_id: Annotated[str, Field(max_length=100, description="Not offered, as this server has no identity.")] = ""


class HuggingFaceModelSource(Message):
    """A model of the Hugging Face Hub. Fireworks has no such source."""

    repo: Annotated[str, REQUIRED, Field(description="`organisation/name`")] = ""
    revision: Annotated[str, Field(max_length=128, description="A branch, tag or commit; `main` if left out.")] = ""
    token_secret: Secret = ""


class ImportModelBody(Message):
    """The body of ImportModel: exactly one source."""

    aws_s3_source: AwsS3ModelSource | None = None
    azure_blob_source: AzureBlobModelSource | None = None
    hugging_face_source: HuggingFaceModelSource | None = None
