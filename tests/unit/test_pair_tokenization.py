"""A query and a document to one row: what stands around them, what is cut, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embergate.engine.pair_tokenization import JUDGE_PREFIX, JUDGE_SUFFIX, PairTokenizer, longest_first
from embergate.engine.tokenization import TextTokenizer, TokenizedText
from embergate.errors import InvalidRequestError, ModelError
from tests.loaded import found_model
from tests.random_models import JUDGES, RERANKERS, TEXTS, Case, write_model

QUERY = "the quick brown fox"
MAX_TOKENS = 40
CROSS_ENCODERS = [case for case in RERANKERS if not case.name.endswith(("-f16", "-mean"))]


def opened(folder: Path, case: Case, **changes: Any) -> PairTokenizer:
    spec = found_model(folder / case.name, case, **changes).spec
    return PairTokenizer(spec, TextTokenizer(spec))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def bert(folder: Path) -> PairTokenizer:
    """[CLS] query [SEP] document [SEP], 40 tokens at most."""
    return opened(folder, RERANKERS[0], max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def judge(folder: Path) -> PairTokenizer:
    return opened(folder, JUDGES[0])


def library_of(folder: Path, case: Case) -> Tokenizer:
    """The tokenizer's own library, which cuts pairs by itself."""
    tokenizer = Tokenizer.from_file(str(folder / case.name / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def ids_of(row: TokenizedText) -> list[int]:
    return [int(token_id) for token_id in row.input_ids]


@pytest.mark.parametrize("case", CROSS_ENCODERS, ids=lambda case: case.name)
def test_rows_are_what_the_tokenizer_makes_of_two_texts(folder: Path, case: Case) -> None:
    pairs, library = opened(folder, case, max_tokens=2000), library_of(folder, case)
    for query in (QUERY, TEXTS[5]):
        rows = pairs.encode(pairs.begin(query), TEXTS)
        for text, row in zip(TEXTS, rows, strict=True):
            expected = library.encode(query, text)
            assert ids_of(row) == expected.ids
            if row.second_start is not None:
                assert [int(column >= row.second_start) for column in range(len(row.input_ids))] == expected.type_ids


@pytest.mark.parametrize("case", CROSS_ENCODERS, ids=lambda case: case.name)
def test_cut_rows_are_what_the_tokenizer_makes_of_them(folder: Path, case: Case) -> None:
    pairs, library = opened(folder, case, max_tokens=MAX_TOKENS), library_of(folder, case)
    library.enable_truncation(MAX_TOKENS, strategy="longest_first")
    for query in (QUERY, TEXTS[10], TEXTS[11]):
        rows = pairs.encode(pairs.begin(query, truncate=True), TEXTS, truncate=True)
        assert [ids_of(row) for row in rows] == [library.encode(query, text).ids for text in TEXTS]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
def test_the_longer_of_two_is_cut_until_they_are_equal(first: int, second: int, room: int) -> None:
    if first + second <= room:
        return
    kept = longest_first(first, second, room)
    assert sum(kept) == room
    assert 0 <= kept[0] <= first
    assert 0 <= kept[1] <= second
    if kept != (first, kept[1]) and kept != (kept[0], second):
        assert abs(kept[0] - kept[1]) <= 1


def test_receipt_says_how_long_a_pair_was(bert: PairTokenizer) -> None:
    side = bert.begin(QUERY)
    whole, cut = bert.encode(side, ["the fox", TEXTS[11]], truncate=True)
    assert len(whole.input_ids) == whole.num_tokens_before_cut == 3 + 4 + 2
    assert len(cut.input_ids) == MAX_TOKENS < cut.num_tokens_before_cut
    assert bert.count(side, ["the fox", TEXTS[11]]) == [9, cut.num_tokens_before_cut]
    assert bert.count(side, ["the fox", TEXTS[11]], truncate=True) == [9, MAX_TOKENS]


def refused(pairs: PairTokenizer, query: str, documents: list[str], **options: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        pairs.encode(pairs.begin(query), documents, **options)
    return caught.value


def test_document_that_is_too_long_is_named_with_its_length_and_the_limit(bert: PairTokenizer) -> None:
    error = refused(bert, QUERY, ["a", TEXTS[11]], first_index=5)
    assert error.param == "documents[6]"
    assert f"documents[6] is {bert.count(bert.begin(QUERY), [TEXTS[11]])[0]} tokens long" in error.message
    assert f"limit is {MAX_TOKENS}. Nothing is cut silently" in error.message


def test_query_that_leaves_no_room_is_named(bert: PairTokenizer) -> None:
    assert refused(bert, TEXTS[11], ["a"]).param == "query"
    assert (
        "limit is 40, of which special tokens and a document's first leave 36" in refused(bert, TEXTS[11], [""]).message
    )


@pytest.mark.parametrize(("query", "document", "param"), [("\ud800", "a", "query"), ("a", "\ud800", "documents[0]")])
def test_text_that_is_not_unicode_is_named(
    bert: PairTokenizer, judge: PairTokenizer, query: str, document: str, param: str
) -> None:
    for pairs in (bert, judge):
        error = refused(pairs, query, [document])
        assert error.param == param
        assert error.message.startswith(f"{param} holds a lone surrogate")


def test_text_without_end_is_refused_unread(bert: PairTokenizer) -> None:
    endless = "a" * (1 << 19)
    assert refused(bert, endless, ["a"]).param == "query"
    assert refused(bert, "a", [endless], truncate=True).param == "documents[0]"
    assert bert.count(bert.begin("a"), [endless, "a"]) == [None, 5]


@pytest.mark.parametrize("document", ["the fox", "", " the fox", "\nthe fox", "...", "7 foxes", "Ünïcödé"])
def test_judges_row_is_the_whole_chat(folder: Path, judge: PairTokenizer, document: str) -> None:
    library = library_of(folder, JUDGES[0])
    body = f"<Instruct>: Find it\n<Query>: {QUERY}\n<Document>: {document}"
    expected = [
        token_id
        for part in (JUDGE_PREFIX, body, JUDGE_SUFFIX)
        for token_id in library.encode(part, add_special_tokens=False).ids
    ]
    (row,) = judge.encode(judge.begin(QUERY, "Find it"), [document])
    assert ids_of(row) == expected
    assert row.second_start is None


def test_only_a_judges_document_is_cut(folder: Path) -> None:
    long = TEXTS[11]
    whole = opened(folder, JUDGES[0], max_tokens=5000)
    (row,) = whole.encode(whole.begin(QUERY), [long])
    pairs = opened(folder, JUDGES[0], max_tokens=len(row.input_ids) - 7)
    (cut,) = pairs.encode(pairs.begin(QUERY), [long], truncate=True)
    num_suffix = len(library_of(folder, JUDGES[0]).encode(JUDGE_SUFFIX, add_special_tokens=False).ids)
    assert ids_of(cut) == [*ids_of(row)[: -num_suffix - 7], *ids_of(row)[-num_suffix:]]
    with pytest.raises(InvalidRequestError, match=r"query is \d+ tokens long"):
        pairs.begin(long * 5, truncate=True)


def test_limit_that_leaves_no_room_for_the_texts_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="leaves none for them"):
        opened(folder, RERANKERS[0], max_tokens=4)
    with pytest.raises(ModelError, match="leaves none for them"):
        opened(folder, JUDGES[0], max_tokens=100)


def test_judges_frame_needs_its_own_tokenizer(folder: Path) -> None:
    write_model(JUDGES[1], folder / JUDGES[1].name, 0)
    path = folder / JUDGES[1].name / "tokenizer.json"
    strip = {"type": "Strip", "strip_left": True, "strip_right": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": strip}))
    with pytest.raises(ModelError, match="joins a document with what stands before it"):
        opened(folder, JUDGES[1])


def test_strangers_tokenizer_makes_no_more_of_a_document_than_of_any_text(tmp_path: Path) -> None:
    spec = found_model(tmp_path / "model", RERANKERS[0]).spec
    path = spec.folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["normalizer"] = {"type": "Replace", "pattern": {"String": "z"}, "content": "y" * 50}
    path.write_text(json.dumps(values))
    spec = replace(spec, is_foreign=True)
    pairs = PairTokenizer(spec, TextTokenizer(spec))
    side = pairs.begin("the fox")
    with pytest.raises(InvalidRequestError) as document:
        pairs.encode(side, ["the dog", "z" * 20_000], truncate=True)
    assert document.value.message.startswith("documents[1] becomes more than 4 times as long")
    with pytest.raises(InvalidRequestError) as query:
        pairs.begin("z" * 20_000, truncate=True)
    assert query.value.message.startswith("query becomes more than 4 times as long")
