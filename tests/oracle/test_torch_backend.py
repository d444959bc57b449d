"""The torch backend: architectures that are not built in, and the same network through both backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from embergate.engine.backends.openvino import OpenVinoBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.backends.torch import TorchBackend
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.folder import read_folder
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.engine.loading.weights import Weights
from embergate.errors import ModelError
from tests.backend_contract import COMPUTE, BackendContract, OpenedBackend
from tests.random_models import TEXTS, cases_of, write_model

MEAN = SourceOptions(pooling=PoolingMode.MEAN)


@pytest.fixture
def electra(tmp_path: Path, seed: int) -> Path:
    """A random ELECTRA, which is not built in, with the tokenizer of a random BERT."""
    write_model(cases_of("bert")[0], tmp_path / "bert", seed)
    vocab_size = read_folder(tmp_path / "bert").spec.vocab_size
    torch.manual_seed(seed)
    config = transformers.ElectraConfig(
        vocab_size=vocab_size,
        embedding_size=24,
        hidden_size=36,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=50,
        max_position_embeddings=256,
        initializer_range=0.5,
    )
    folder = tmp_path / "electra"
    transformers.ElectraModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((tmp_path / "bert" / "tokenizer.json").read_bytes())
    return folder


def test_architecture_that_is_not_built_in_equals_transformers(electra: Path) -> None:
    model = LoadedModel.open(electra, precision=Precision.F32, source=MEAN)
    reference = transformers.ElectraModel.from_pretrained(electra).eval()
    texts = [text for text in TEXTS if len(text) < 200]
    vectors = model.encode(texts)
    for vector, row in zip(vectors, model.tokenizer.encode_texts(texts), strict=True):
        with torch.inference_mode():
            states = reference(input_ids=torch.from_numpy(row.input_ids[None].astype(np.int64))).last_hidden_state[0]
        # Weights are random, vectors not normalised, and sums in a batch are made in another order than alone.
        np.testing.assert_allclose(vector, states.mean(dim=0).numpy(), atol=5e-5)
    model.close()


def test_bf16_stays_close_to_f32(electra: Path) -> None:
    exact = LoadedModel.open(electra, precision=Precision.F32, source=MEAN)
    rounded = LoadedModel.open(electra, precision=Precision.BF16, source=MEAN)
    texts = TEXTS[:8]
    one, other = exact.encode(texts, normalize=True), rounded.encode(texts, normalize=True)
    assert 0.99 < (one * other).sum(axis=1).min() < 1.0
    exact.close()
    rounded.close()


def test_int8_is_refused(electra: Path) -> None:
    with pytest.raises(ModelError, match="f32 or bf16"):
        LoadedModel.open(electra, precision=Precision.INT8, source=MEAN)


def test_checkpoint_that_lacks_tensors_is_refused(electra: Path) -> None:
    config = (electra / "config.json").read_text()
    (electra / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(ModelError, match=r"layer\.2"):
        LoadedModel.open(electra, precision=Precision.F32, source=MEAN)


def test_both_backends_give_the_same_states(tmp_path: Path, seed: int) -> None:
    write_model(cases_of("bert")[0], tmp_path, seed)
    found = read_folder(tmp_path)
    assert found.network is not None
    compute = ComputeOptions()
    ours = OpenVinoBackend(found.network, Weights(found.spec.folder), Precision.F32, compute)
    theirs = TorchBackend(found.spec, Precision.F32, compute)
    lengths = np.array([9, 4, 12], np.int32)
    ids = np.random.default_rng(seed).integers(0, found.spec.vocab_size, (3, 12)).astype(np.int32)
    one, other = ours.forward(ids, lengths), theirs.forward(ids, lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(one[row, :length], other[row, :length], atol=1e-4)


@pytest.fixture(params=[Precision.F32, Precision.BF16], ids=str)
def opened(request: pytest.FixtureRequest, tmp_path: Path, seed: int) -> Iterator[OpenedBackend]:
    write_model(cases_of("bert")[0], tmp_path, seed)
    spec = read_folder(tmp_path).spec
    backend = TorchBackend(spec, request.param, COMPUTE)
    yield OpenedBackend(backend, spec.hidden_size, spec.vocab_size, 1e-4 if request.param is Precision.F32 else 0.1)
    backend.close()


class TestTorchBackend(BackendContract):
    """The contract, over `opened`."""
