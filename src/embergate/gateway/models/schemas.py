"""What models are on the wire."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from embergate.aip.message import IMMUTABLE, OUTPUT_ONLY, REQUIRED, Message, ProtoEnum
from embergate.aip.scalars import Bool, Double, Int32, Int64, Timestamp
from embergate.aip.status import Status
from embergate.gateway.answers import ListResponse
from embergate.gateway.resource_type import QueryParameters

MAX_FILES: Final = 200


class ModelState(ProtoEnum):
    """Whether a model's files are there and were found to be a model."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    UPLOADING = "UPLOADING"
    READY = "READY"


class Kind(ProtoEnum):
    """What a model is."""

    KIND_UNSPECIFIED = "KIND_UNSPECIFIED"
    HF_BASE_MODEL = "HF_BASE_MODEL"
    HF_PEFT_ADDON = "HF_PEFT_ADDON"
    HF_TEFT_ADDON = "HF_TEFT_ADDON"
    FLUMINA_BASE_MODEL = "FLUMINA_BASE_MODEL"
    FLUMINA_ADDON = "FLUMINA_ADDON"
    DRAFT_ADDON = "DRAFT_ADDON"
    FIRE_AGENT = "FIRE_AGENT"
    LIVE_MERGE = "LIVE_MERGE"
    CUSTOM_MODEL = "CUSTOM_MODEL"
    EMBEDDING_MODEL = "EMBEDDING_MODEL"
    SNAPSHOT_MODEL = "SNAPSHOT_MODEL"


class CheckpointFormat(ProtoEnum):
    """How a base model's files are laid out."""

    CHECKPOINT_FORMAT_UNSPECIFIED = "CHECKPOINT_FORMAT_UNSPECIFIED"
    NATIVE = "NATIVE"
    HUGGINGFACE = "HUGGINGFACE"
    UNINITIALIZED = "UNINITIALIZED"


class SnapshotType(ProtoEnum):
    """Whether a snapshot holds all weights."""

    FULL_SNAPSHOT = "FULL_SNAPSHOT"
    INCREMENTAL_SNAPSHOT = "INCREMENTAL_SNAPSHOT"


class DeployedModelState(ProtoEnum):
    """Whether a model is in memory."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    UNDEPLOYING = "UNDEPLOYING"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    UPDATING = "UPDATING"


class BaseModelDetails(Message):
    """What a model's files hold; the server says it of what it has checked."""

    world_size: Int32 = 0
    checkpoint_format: CheckpointFormat = CheckpointFormat.CHECKPOINT_FORMAT_UNSPECIFIED
    huggingface_files: Annotated[list[str], Field(max_length=MAX_FILES)] = []
    parameter_count: Int64 = 0
    moe: Bool = False
    tunable: Bool = False
    model_type: Annotated[str, Field(max_length=100)] = ""
    supports_fireattention: Bool = False
    default_precision: Annotated[str, OUTPUT_ONLY] = "PRECISION_UNSPECIFIED"
    supports_mtp: Bool = False


class PeftDetails(Message):
    """What an adapter belongs to."""

    base_model: Annotated[str, Field(max_length=256)] = ""
    r: Int32 = 0
    target_modules: Annotated[list[str], Field(max_length=100)] = []
    base_model_type: Annotated[str, OUTPUT_ONLY] = ""
    merge_addon_model_name: Annotated[str, Field(max_length=256)] = ""


class TeftDetails(Message):
    """Nothing."""


class ConversationConfig(Message):
    """How chats are written; of no use to embeddings."""

    style: Annotated[str, Field(max_length=100)] = ""
    system: Annotated[str, Field(max_length=10_000)] = ""
    template: Annotated[str, Field(max_length=10_000)] = ""


class DeployedModelRef(Message):
    """Where a model runs."""

    name: str = ""
    deployment: str = ""
    state: DeployedModelState = DeployedModelState.STATE_UNSPECIFIED
    default: bool = False
    public: bool = False


class EmbeddingDetails(Message):
    """What of an embedding model no field of Fireworks says; read from its files."""

    dimensions: Annotated[Int32, OUTPUT_ONLY] = 0
    # As sentence-transformers names the modes, several joined with `+`.
    pooling: Annotated[str, OUTPUT_ONLY] = ""
    normalize_default: Annotated[bool, OUTPUT_ONLY] = False
    resizable: Annotated[bool, OUTPUT_ONLY] = False


class DeploymentPrecision(ProtoEnum):
    """What matrix products are computed in. INT8 and F32 are ours; most of the others are for GPUs, and not offered."""

    PRECISION_UNSPECIFIED = "PRECISION_UNSPECIFIED"
    FP16 = "FP16"
    FP8 = "FP8"
    FP8_MM = "FP8_MM"
    FP8_AR = "FP8_AR"
    FP8_MM_KV_ATTN = "FP8_MM_KV_ATTN"
    FP8_KV = "FP8_KV"
    FP8_MM_V2 = "FP8_MM_V2"
    FP8_V2 = "FP8_V2"
    FP8_MM_KV_ATTN_V2 = "FP8_MM_KV_ATTN_V2"
    NF4 = "NF4"
    FP4 = "FP4"
    BF16 = "BF16"
    FP4_BLOCKSCALED_MM = "FP4_BLOCKSCALED_MM"
    FP4_MX_MOE = "FP4_MX_MOE"
    INT8 = "INT8"
    F32 = "F32"


class PrecisionState(ProtoEnum):
    """Whether a precision was found to be near enough to f32."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    READY = "READY"
    REFUSED = "REFUSED"


class ModelPrecision(Message):
    """A precision that a model was prepared in, and what was measured then. Fireworks has no such field."""

    precision: Annotated[DeploymentPrecision, OUTPUT_ONLY] = DeploymentPrecision.PRECISION_UNSPECIFIED
    state: Annotated[PrecisionState, OUTPUT_ONLY] = PrecisionState.STATE_UNSPECIFIED
    min_cosine: Annotated[Double, OUTPUT_ONLY] = 0.0
    mean_cosine: Annotated[Double, OUTPUT_ONLY] = 0.0
    # Of a reranker, whose scores are compared and not vectors.
    max_score_difference: Annotated[Double, OUTPUT_ONLY] = 0.0
    tokens_per_second: Annotated[Double, OUTPUT_ONLY] = 0.0
    f32_tokens_per_second: Annotated[Double, OUTPUT_ONLY] = 0.0
    # What the machine that measured really multiplied in.
    computes_in: Annotated[str, OUTPUT_ONLY] = ""
    weights_bytes: Annotated[Int64, OUTPUT_ONLY] = 0
    # Empty where it is refused.
    fingerprint: Annotated[str, OUTPUT_ONLY] = ""
    prepare_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None


class Date(Message):
    """A day."""

    year: Int32 = 0
    month: Int32 = 0
    day: Int32 = 0


class Model(Message):
    """A model: of the catalogue, or one that an account has uploaded."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    description: Annotated[str, Field(max_length=1000)] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    state: Annotated[ModelState, OUTPUT_ONLY] = ModelState.STATE_UNSPECIFIED
    status: Annotated[Status, OUTPUT_ONLY] = Status()
    kind: Annotated[
        Kind,
        IMMUTABLE,
        Field(
            description="EMBEDDING_MODEL, or HF_BASE_MODEL for a reranker; HF_PEFT_ADDON, if left out, is not served."
        ),
    ] = Kind.KIND_UNSPECIFIED
    github_url: Annotated[str, Field(max_length=2000)] = ""
    hugging_face_url: Annotated[str, Field(max_length=2000)] = ""
    base_model_details: Annotated[BaseModelDetails | None, IMMUTABLE] = None
    peft_details: Annotated[PeftDetails | None, IMMUTABLE] = None
    teft_details: Annotated[TeftDetails | None, IMMUTABLE] = None
    public: Annotated[Bool, Field(description="Whether other accounts may embed or rerank with it.")] = False
    conversation_config: Annotated[ConversationConfig | None, IMMUTABLE] = None
    context_length: Annotated[
        Int32, Field(ge=0, description="The most tokens of a text; read from the files once they are checked.")
    ] = 0
    supports_image_input: Bool = False
    supports_tools: Bool = False
    imported_from: Annotated[str, OUTPUT_ONLY] = ""
    fine_tuning_job: Annotated[str, OUTPUT_ONLY] = ""
    default_draft_model: Annotated[str, Field(max_length=256)] = ""
    default_draft_token_count: Int32 = 0
    deployed_model_refs: Annotated[list[DeployedModelRef], OUTPUT_ONLY] = []
    cluster: Annotated[str, OUTPUT_ONLY] = ""
    deprecation_date: Date | None = None
    calibrated: Annotated[bool, OUTPUT_ONLY] = False
    tunable: Annotated[bool, OUTPUT_ONLY] = False
    supports_lora: Bool = False
    use_hf_apply_chat_template: Bool = False
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    default_sampling_params: Annotated[dict[str, Double], OUTPUT_ONLY] = {}
    rl_tunable: Annotated[bool, OUTPUT_ONLY] = False
    training_context_length: Int32 = 0
    snapshot_type: SnapshotType = SnapshotType.FULL_SNAPSHOT
    supports_serverless: Annotated[bool, OUTPUT_ONLY] = False
    supervised_lora_tunable: Annotated[bool, OUTPUT_ONLY] = False
    supervised_full_parameter_tunable: Annotated[bool, OUTPUT_ONLY] = False
    rl_lora_tunable: Annotated[bool, OUTPUT_ONLY] = False
    rl_full_parameter_tunable: Annotated[bool, OUTPUT_ONLY] = False
    embedding_details: Annotated[EmbeddingDetails | None, OUTPUT_ONLY] = None
    precisions: Annotated[list[ModelPrecision], OUTPUT_ONLY] = []


class CreateModelBody(Message):
    """The body of CreateModel."""

    model: Annotated[Model | None, REQUIRED] = None
    model_id: Annotated[str, REQUIRED, Field(description="1 to 63 of a-z, 0-9 and -, from a letter on.")] = ""
    cluster: Annotated[str, Field(max_length=256, description="Not offered: models run on this server.")] = ""


class ListModelsResponse(ListResponse):
    """One page of models."""

    models: list[Model] = []


class GetModelUploadEndpointBody(Message):
    """The body of GetModelUploadEndpoint."""

    filename_to_size: Annotated[
        dict[str, Int64], REQUIRED, Field(max_length=MAX_FILES, description="The exact size of each file, in bytes.")
    ] = {}
    enable_resumable_upload: Annotated[Bool, Field(description="Not needed: every upload can be resumed.")] = False
    read_mask: str = ""


class ModelUploadUrls(Message):
    """Where each file is to be sent to."""

    filename_to_signed_urls: dict[str, str] = {}
    filename_to_unsigned_uris: dict[str, str] = {}


class ModelUrls(Message):
    """Where each file is to be fetched from."""

    filename_to_signed_urls: dict[str, str] = {}


class PrepareModelBody(Message):
    """The body of PrepareModel."""

    precision: Annotated[
        DeploymentPrecision,
        Field(description="BF16, and as this server has it besides INT8 and F32; left out, the server's own."),
    ] = DeploymentPrecision.PRECISION_UNSPECIFIED
    read_mask: Annotated[str, Field(description="Changes nothing: the answer is empty.")] = ""


class ValidateParameters(QueryParameters):
    """The query of ValidateModelUpload."""

    skip_hf_config_validation: bool = Field(False, description="Changes nothing: what is served must be right.")
    trust_remote_code: bool = Field(False, description="Refused: a model's own code is never run.")
    config_only: bool = Field(False, description="Look at the configuration alone; the model stays UPLOADING.")


class ValidateModelUploadResponse(Message):
    """What is odd about a model that can be served."""

    warnings: list[str] = []
