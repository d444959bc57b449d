"""`check_config`: what it passes can be read by the loader, and what it refuses it refuses for every reason at once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embergate.engine.backends.selection import require_backend
from embergate.engine.loading.check import check_config
from embergate.engine.loading.config_reader import ConfigReader, parse_json
from embergate.engine.loading.folder import read_sizes
from embergate.errors import ModelError
from tests.random_models import CASES, JUDGES, RERANKERS, Case

BERT: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
KEYS = [*BERT, "hidden_act", "layer_norm_eps", "type_vocab_size", "position_embedding_type", "matryoshka_dimensions"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200), st.floats(allow_nan=False), st.sampled_from(["bert", "gelu", "x"]),
    st.lists(st.integers(0, 60), max_size=3),
)  # fmt: skip


def problems(**changes: Any) -> list[str]:
    return check_config(json.dumps({**BERT, **changes}))


def test_good_configuration_has_no_problem() -> None:
    assert problems() == []
    assert (
        check_config(json.dumps(BERT), json.dumps({"model_max_length": 10**30, "tokenizer_class": "BertTokenizer"}))
        == []
    )


@pytest.mark.parametrize("case", [*CASES, *RERANKERS, *JUDGES], ids=lambda case: case.name)
def test_every_model_that_is_served_passes(case: Case) -> None:
    config = {**case.config, "model_type": case.architecture, "vocab_size": 100}
    assert check_config(json.dumps(config)) == []


def test_every_wrong_value_is_named_at_once() -> None:
    found = problems(hidden_size="wide", vocab_size=-1, hidden_act="mish", layer_norm_eps=None, num_hidden_layers=10**9)
    assert [one.split(" is ")[0] for one in found] == [
        "config.json: hidden_size",
        "config.json: vocab_size",
        "config.json: num_hidden_layers",
        "config.json: hidden_act",
    ]


def test_heads_that_do_not_divide_are_told_with_the_rest() -> None:
    found = problems(num_attention_heads=5, hidden_act="mish")
    assert len(found) == 2
    assert "48 hidden units do not divide into 5 attention heads" in found[0]


def test_both_files_are_told_of() -> None:
    found = check_config(json.dumps({**BERT, "vocab_size": 0}), json.dumps({"model_max_length": "long"}))
    assert [one.partition(":")[0] for one in found] == ["config.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config.json is not JSON"),
        ("{", "config.json is not JSON"),
        ("[]", "config.json must hold a JSON object"),
        ('{"model_type": 1e400}', "config.json is not JSON"),
        ("\ud800", "config.json is not JSON"),
        ("[" * 100_000, "config.json is not JSON"),
        ('{"a":' * 400 + "1" + "}" * 400, "nested too deeply"),
        (json.dumps({str(number): 1 for number in range(10_000)}), "has 10000 keys, more than 1000"),
        ("{}", "model_type is missing"),
        ('{"model_type": "mamba"}', "architecture 'mamba' is not built in"),
        (json.dumps({**BERT, "quantization_config": {"bits": 4}}), "quantization_config is"),
    ],
)
def test_what_cannot_be_served_says_why(text: str, message: str) -> None:
    (found,) = check_config(text)
    assert message in found


def refusal_of(text: str) -> str | None:
    """Return what the loader says against a configuration, which is the first that it finds."""
    try:
        config = ConfigReader.from_values(parse_json(text.encode(), "config.json"), source="config.json")
        model_type = config.string("model_type")
        require_backend(model_type)
        read_sizes(model_type, config)
    except ModelError as error:
        return error.message
    return None


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
@example({"model_type": math.inf})  # written as Infinity, which is no JSON
def test_it_refuses_exactly_what_the_loader_refuses(changes: dict[str, Any]) -> None:
    text = json.dumps({**BERT, **changes})
    found, refusal = check_config(text), refusal_of(text)
    assert found == [] if refusal is None else refusal in found
