"""Models in memory as the gateway tells of them: those that the server was started with, and where uploaded ones run."""

from __future__ import annotations

from embergate.engine.loading.catalog import load_catalog
from embergate.engine.model_pool import ModelPool
from embergate.engine.registry import Registry, ServedModel
from embergate.errors import ModelNotFoundError
from embergate.gateway.models.kinds import KIND_OF
from embergate.gateway.models.schemas import (
    BaseModelDetails,
    CheckpointFormat,
    DeployedModelRef,
    DeployedModelState,
    Model,
    ModelState,
)
from embergate.storage.tables.models import ModelRow


def find(registry: Registry, account_id: str, model_id: str) -> ServedModel | None:
    """Return a model that the server was started with, None if it is none of those."""
    try:
        return registry.get(f"accounts/{account_id}/models/{model_id}")
    except ModelNotFoundError:
        return None


def in_account(registry: Registry, account_id: str) -> list[ServedModel]:
    """Return the models that the server was started with and serves in an account."""
    return [served for served in registry.list() if served.account == account_id]


def describe(served: ServedModel) -> Model:
    """Return a model that the server was started with, as a resource."""
    spec, entry = served.model.spec, load_catalog().find(served.model.spec.name)
    return Model(
        name=served.id,
        display_name=served.slug,
        create_time=served.loaded_at,
        update_time=served.loaded_at,
        state=ModelState.READY,
        kind=KIND_OF[spec.kind],
        hugging_face_url=f"https://huggingface.co/{entry.id}" if entry is not None else "",
        base_model_details=BaseModelDetails(
            world_size=1,
            checkpoint_format=CheckpointFormat.HUGGINGFACE,
            parameter_count=entry.num_parameters if entry is not None else 0,
            model_type=spec.architecture,
        ),
        public=True,
        context_length=spec.max_tokens,
        supports_serverless=True,
        deployed_model_refs=[_ref(served.account, served.slug, DeployedModelState.DEPLOYED, is_public=True)],
    )


def refs_of_uploaded(row: ModelRow, pool: ModelPool) -> list[DeployedModelRef]:
    """Return where an uploaded model runs at this moment; nowhere until it is used, and when nobody has used it for long."""
    pooled = pool.find(row.content_sha256) if row.state == ModelState.READY else None
    if pooled is None:
        return []
    state = DeployedModelState.DEPLOYED if pooled.loading.done() else DeployedModelState.DEPLOYING
    return [_ref(row.account_id, row.id, state, is_public=row.public)]


def _ref(account_id: str, model_id: str, state: DeployedModelState, *, is_public: bool) -> DeployedModelRef:
    parent = f"accounts/{account_id}"
    return DeployedModelRef(
        name=f"{parent}/deployedModels/{model_id}",
        deployment=f"{parent}/deployments/{model_id}",
        state=state,
        default=True,
        public=is_public,
    )
