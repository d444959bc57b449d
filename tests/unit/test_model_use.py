"""Whether a folder's model embeds or reranks: what its files say, and what is refused because they say nothing or too much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from embergate.engine.architectures.heads import HEADS
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.catalog import ModelKind, load_catalog
from embergate.engine.loading.check import check_config
from embergate.engine.loading.folder import read_folder
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import ContrastStage, ModelSpec, PoolingMode, Precision
from embergate.engine.loading.use import Asked
from embergate.errors import ModelError
from tests.random_models import JUDGES, RERANKERS, Case, cases_of, write_model

BERT, JUDGE = RERANKERS[0], JUDGES[0]


def write(folder: Path, case: Case, **changes: Any) -> Path:
    """Write a model, its config.json with changes; None takes a key away."""
    write_model(case, folder, 0)
    edit(folder / "config.json", changes)
    return folder


def edit(path: Path, changes: Mapping[str, Any]) -> None:
    values = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({key: value for key, value in {**values, **changes}.items() if value is not None}))


def spec_of(folder: Path, **asked: Any) -> ModelSpec:
    return read_folder(folder, asked=Asked(**asked)).spec


@pytest.mark.parametrize("case", [*RERANKERS, *JUDGES], ids=lambda case: case.name)
def test_reranker_says_so_in_its_files(case: Case, tmp_path: Path) -> None:
    spec = spec_of(write(tmp_path, case))
    assert (spec.kind, spec.judges) == (ModelKind.RERANKER, case in JUDGES)
    assert spec.has_segments == (spec.architecture == "bert")
    assert spec.dimensions == spec.hidden_size


def test_number_of_labels_may_be_said_in_two_ways(tmp_path: Path) -> None:
    assert spec_of(write(tmp_path, BERT, id2label=None, label2id=None, num_labels=1)).kind is ModelKind.RERANKER


@pytest.mark.parametrize("changes", [{"id2label": {"0": "a", "1": "b"}}, {"id2label": None}, {"num_labels": 3}])
def test_classifier_of_several_labels_is_no_reranker(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, BERT, **{"id2label": None, **changes})
    with pytest.raises(ModelError, match=r"tells [23] labels apart .id2label, num_labels.; a reranker has one"):
        spec_of(tmp_path)
    assert spec_of(tmp_path, pooling=PoolingMode.MEAN).kind is ModelKind.EMBEDDING_MODEL


def test_folder_that_may_be_either_is_refused_until_its_owner_says_which(tmp_path: Path) -> None:
    write(tmp_path, cases_of("bert")[0], **{key: BERT.config[key] for key in ("architectures", "id2label")})
    with pytest.raises(ModelError, match=r"may be an embedding model .* or a reranker"):
        spec_of(tmp_path)
    assert spec_of(tmp_path, pooling=PoolingMode.MEAN).kind is ModelKind.EMBEDDING_MODEL
    (tmp_path / "modules.json").unlink()
    assert spec_of(tmp_path).kind is ModelKind.RERANKER


def test_named_pooling_makes_an_embedding_model_of_a_bare_classifier(tmp_path: Path) -> None:
    assert spec_of(write(tmp_path, BERT), pooling=PoolingMode.CLS).kind is ModelKind.EMBEDDING_MODEL


def test_catalogues_reranker_has_no_pooling_and_is_no_other_architecture(tmp_path: Path) -> None:
    asked = {"kind": ModelKind.RERANKER}
    with pytest.raises(ModelError, match="is a reranker, which is not pooled by cls"):
        spec_of(write(tmp_path / "a", BERT), pooling=PoolingMode.CLS, **asked)
    with pytest.raises(ModelError, match=r"by the catalogue, and its config\.json is not one's"):
        spec_of(write(tmp_path / "b", cases_of("bert")[0]), **asked)


def test_qwen_without_the_judges_template_is_one_by_the_catalogue_alone(tmp_path: Path) -> None:
    write(tmp_path, JUDGE)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="does not say how token states become one vector"):
        spec_of(tmp_path)
    assert spec_of(tmp_path, kind=ModelKind.RERANKER).judges


def test_judges_template_may_be_in_the_tokenizers_configuration(tmp_path: Path) -> None:
    write(tmp_path, JUDGE)
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").unlink()
    edit(tmp_path / "tokenizer_config.json", {"chat_template": template})
    assert spec_of(tmp_path).judges


def write_cross_encoder(folder: Path, *modules: str) -> None:
    """Write what sentence-transformers 6 puts around a cross-encoder's files."""
    listed = [
        {"idx": index, "name": str(index), "path": "" if index == 0 else f"{index}_{kind}", "type": f"modules.{kind}"}
        for index, kind in enumerate(("Transformer", *modules))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    edit(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder", "prompts": {}})


@pytest.mark.parametrize(("case", "modules"), [(BERT, ()), (JUDGE, ("LogitScore",))], ids=["encoder", "judge"])
def test_folder_that_sentence_transformers_saved_is_read(tmp_path: Path, case: Case, modules: tuple[str, ...]) -> None:
    write_cross_encoder(write(tmp_path, case), *modules)
    assert spec_of(tmp_path).kind is ModelKind.RERANKER
    with pytest.raises(ModelError, match="is a reranker, by its files; leave the pooling out"):
        spec_of(tmp_path, pooling=PoolingMode.MEAN)


def test_cross_encoder_of_an_unknown_form_is_refused(tmp_path: Path) -> None:
    write_cross_encoder(write(tmp_path, cases_of("qwen2")[0]), "LogitScore")
    with pytest.raises(ModelError, match="says that it is a cross-encoder, and not of a kind that is built"):
        spec_of(tmp_path)


def test_module_behind_the_logits_is_refused(tmp_path: Path) -> None:
    write_cross_encoder(write(tmp_path, JUDGE), "LogitScore", "Dense")
    with pytest.raises(ModelError, match="modules of type LogitScore are not supported"):
        spec_of(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"architectures": "Bert"}, {"id2label": ["a"]}, {"id2label": None, "num_labels": "1"}]
)
def test_wrong_type_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, BERT, **changes)
    with pytest.raises(ModelError, match=rf"^config\.json: {[*changes][-1]} is .*, expected"):
        spec_of(tmp_path)
    assert len(check_config((tmp_path / "config.json").read_text())) == 1


def test_template_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, JUDGE)
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "chat_template.jinja":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(ModelError, match=r"chat_template\.jinja cannot be read: Permission denied"):
        spec_of(tmp_path)


def test_classifier_without_a_built_head_is_refused_with_those_that_are(tmp_path: Path) -> None:
    labels = {"architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    with pytest.raises(ModelError, match=r"model_type 'qwen3' is built; these are: bert, camembert, .*xlm-roberta"):
        spec_of(write(tmp_path, JUDGE, **labels))


def test_segments_are_told_unless_the_tokenizer_or_the_network_has_none(tmp_path: Path) -> None:
    assert not spec_of(write(tmp_path / "a", BERT, type_vocab_size=1)).has_segments
    write(tmp_path / "b", BERT)
    edit(tmp_path / "b" / "tokenizer_config.json", {"model_input_names": ["input_ids", "attention_mask"]})
    assert not spec_of(tmp_path / "b").has_segments


def test_every_reranker_of_the_catalogue_has_a_head(tmp_path: Path) -> None:
    for entry in load_catalog():
        if entry.kind is ModelKind.RERANKER:
            assert entry.architecture in {*HEADS, "qwen3"}
    (head,) = spec_of(write(tmp_path, JUDGE)).pooling.dense
    assert isinstance(head, ContrastStage)
    assert head.tensor == "model.embed_tokens.weight"  # which the head is tied to


def test_head_that_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path, BERT, architectures=["RobertaForSequenceClassification"], model_type="roberta", pad_token_id=0)
    with pytest.raises(ModelError, match=r"classifier\.dense\.weight is missing, expected shape .48, 48."):
        LoadedModel.open(tmp_path, precision=Precision.F32, source=SourceOptions(offline=True))


def test_judge_whose_tokenizer_knows_no_verdict_is_refused(tmp_path: Path) -> None:
    write(tmp_path, JUDGE)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["yea"] = tokenizer["model"]["vocab"].pop("yes")
    tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"] if "".join(pair) != "yes"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="has no token 'yes', which this model answers with"):
        LoadedModel.open(tmp_path, precision=Precision.F32, source=SourceOptions(offline=True))
