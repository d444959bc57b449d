"""Texts and ids to tokens: what is added, what is cut and told, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.engine.tokenization import CUT_TOKENS, PIECE_CHARACTERS, TextTokenizer, TokenizedText
from embergate.errors import InvalidRequestError, ModelError
from tests.loaded import found_model
from tests.random_models import TEXTS, cases_of

MAX_TOKENS = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenization")


@pytest.fixture(scope="module")
def bert(folder: Path) -> TextTokenizer:
    """[CLS] text [SEP], lower case, 32 tokens at most."""
    return TextTokenizer(found_model(folder / "bert", max_tokens=MAX_TOKENS).spec)


@pytest.fixture(scope="module")
def model2vec(folder: Path) -> TextTokenizer:
    """No special tokens; unknown words are dropped."""
    return TextTokenizer(found_model(folder / "model2vec", cases_of("model2vec")[0]).spec)


@pytest.fixture(scope="module")
def qwen(folder: Path) -> TextTokenizer:
    """Text <|endoftext|>."""
    return TextTokenizer(found_model(folder / "qwen3", cases_of("qwen3")[0]).spec)


def ids_of(row: TokenizedText) -> list[int]:
    return [int(token_id) for token_id in row.input_ids]


def refusal(tokenizer: TextTokenizer, texts: list[str], **options: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        tokenizer.encode_texts(texts, **options)
    return caught.value


def test_rows_come_in_the_order_of_the_texts(bert: TextTokenizer) -> None:
    texts = ["the fox", "a", "the fox jumps over"]
    together = bert.encode_texts(texts)
    assert [ids_of(row) for row in together] == [ids_of(bert.encode_texts([text])[0]) for text in texts]


def test_empty_text_is_its_special_tokens(bert: TextTokenizer, qwen: TextTokenizer, model2vec: TextTokenizer) -> None:
    assert [len(tokenizer.encode_texts([""])[0].input_ids) for tokenizer in (bert, qwen, model2vec)] == [2, 1, 0]


def test_no_texts_are_no_rows(bert: TextTokenizer) -> None:
    assert bert.encode_texts([]) == []
    assert bert.encode_ids([]) == []


def test_prompt_stands_before_each_text_and_its_tokens_are_counted(bert: TextTokenizer) -> None:
    (row,) = bert.encode_texts(["the fox"], prompt="query: ")
    assert ids_of(row) == ids_of(bert.encode_texts(["query: the fox"])[0])
    alone = len(bert.encode_texts(["query: "])[0].input_ids)
    assert row.num_prompt_tokens == alone - 1  # [CLS] counts as the prompt's, [SEP] does not
    assert bert.encode_texts(["the fox"])[0].num_prompt_tokens == 0


def test_text_of_exactly_the_limit_is_taken(bert: TextTokenizer) -> None:
    (row,) = bert.encode_texts(["the " * (MAX_TOKENS - 2)])
    assert (len(row.input_ids), row.num_tokens_before_cut) == (MAX_TOKENS, MAX_TOKENS)


def test_text_above_the_limit_is_refused_by_number_and_length(bert: TextTokenizer) -> None:
    error = refusal(bert, ["the", "the " * (MAX_TOKENS - 1)])
    assert error.param == "input[1]"
    assert f"input[1] is {MAX_TOKENS + 1} tokens long" in error.message
    assert f"limit is {MAX_TOKENS}" in error.message


def test_prompt_counts_towards_the_limit(bert: TextTokenizer) -> None:
    assert refusal(bert, ["the " * (MAX_TOKENS - 2)], prompt="query ").param == "input[0]"


def test_first_index_is_the_number_that_errors_begin_at(bert: TextTokenizer) -> None:
    assert refusal(bert, ["the", "the " * 99], first_index=40).param == "input[41]"
    assert refusal(bert, ["the", "\ud800"], first_index=40).param == "input[41]"


def test_cut_text_keeps_its_beginning_and_its_last_special_token_and_tells(bert: TextTokenizer) -> None:
    (row,) = bert.encode_texts(["the fox " * 40], truncate=True)
    assert row.num_tokens_before_cut == 82
    assert len(row.input_ids) == MAX_TOKENS
    assert ids_of(row) == ids_of(bert.encode_texts(["the fox " * 15])[0])


def test_text_within_the_limit_is_not_cut(bert: TextTokenizer) -> None:
    one, other = bert.encode_texts(["the fox"], truncate=True)[0], bert.encode_texts(["the fox"])[0]
    assert ids_of(one) == ids_of(other)
    assert one.num_tokens_before_cut == len(one.input_ids)


@pytest.mark.parametrize("text", ["\ud800", "the \udfff fox", "fox" * 40_000 + "\ud800"], ids=["alone", "amid", "late"])
@pytest.mark.parametrize("truncate", [False, True])
def test_lone_surrogate_is_refused_by_number_and_place(bert: TextTokenizer, text: str, truncate: bool) -> None:
    error = refusal(bert, ["the", text], truncate=truncate)
    place = next(index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    assert f"input[1] holds a lone surrogate at character {place}" in error.message
    assert error.param == "input[1]"


def test_lone_surrogate_in_an_upper_case_text_is_refused_alike(folder: Path) -> None:
    lowering = TextTokenizer(found_model(folder / "bert", lowercase=True).spec)
    assert refusal(lowering, ["THE \ud800"]).param == "input[0]"


def test_lowercase_is_done_where_the_model_asks_for_it(folder: Path) -> None:
    spec = found_model(folder / "qwen3", cases_of("qwen3")[0]).spec
    lowering = TextTokenizer(found_model(folder / "qwen3", cases_of("qwen3")[0], lowercase=True).spec)
    assert ids_of(lowering.encode_texts(["THE FOX"])[0]) == ids_of(TextTokenizer(spec).encode_texts(["the fox"])[0])


@pytest.mark.parametrize("text", ["the fox " * 12_500, "x" * 100_000, "日本" * 50_000, "\n" * 100_000, "🔥" * 100_000])
def test_hundred_thousand_characters_are_judged_by_their_tokens(bert: TextTokenizer, text: str) -> None:
    (cut,) = bert.encode_texts([text], truncate=True)
    assert len(cut.input_ids) <= MAX_TOKENS
    if cut.num_tokens_before_cut <= MAX_TOKENS:
        assert ids_of(bert.encode_texts([text])[0]) == ids_of(cut)
    else:
        assert refusal(bert, [text]).param == "input[0]"


def test_giant_is_refused_for_its_first_piece(bert: TextTokenizer) -> None:
    text = "the " * PIECE_CHARACTERS
    assert f"more than {PIECE_CHARACTERS // 4 - CUT_TOKENS} tokens" in refusal(bert, [text]).message


def test_words_cut_by_the_pieces_do_not_make_a_text_too_long(bert: TextTokenizer) -> None:
    text = "x" * (3 * PIECE_CHARACTERS)  # one word, unknown as a whole
    assert len(bert.encode_texts([text])[0].input_ids) == 3


def test_dropped_words_do_not_count(model2vec: TextTokenizer) -> None:
    (row,) = model2vec.encode_texts(["the ꙮ fox ꙮ"])
    assert ids_of(row) == ids_of(model2vec.encode_texts(["the fox"])[0])
    (empty,) = model2vec.encode_texts(["ꙮ " * 100_000])
    assert (len(empty.input_ids), empty.num_tokens_before_cut) == (0, 100_000)


def test_ids_of_a_bare_text_get_its_special_tokens(bert: TextTokenizer) -> None:
    full = ids_of(bert.encode_texts(["the fox"])[0])
    assert [ids_of(row) for row in bert.encode_ids([full[1:-1], full])] == [full, full]


def test_ids_with_half_of_the_special_tokens_are_a_bare_text(bert: TextTokenizer) -> None:
    full = ids_of(bert.encode_texts(["the fox"])[0])
    cls, sep = full[0], full[-1]
    begun, ended = bert.encode_ids([full[:-1], full[1:]])
    assert ids_of(begun) == [cls, *full[:-1], sep]
    assert ids_of(ended) == [cls, *full[1:], sep]


def test_one_special_token_is_not_taken_for_both(bert: TextTokenizer, qwen: TextTokenizer) -> None:
    cls = ids_of(bert.encode_texts([""])[0])[0]
    assert len(bert.encode_ids([[cls]])[0].input_ids) == 3
    end = ids_of(qwen.encode_texts([""])[0])
    assert ids_of(qwen.encode_ids([end])[0]) == end


def test_ids_stay_as_they_are_without_special_tokens(model2vec: TextTokenizer) -> None:
    assert ids_of(model2vec.encode_ids([[5, 6, 7]])[0]) == [5, 6, 7]


@pytest.mark.parametrize("token_id", [-1, 320, 2**31, 2**64, -(2**70)])
def test_id_outside_the_vocabulary_is_named_with_the_range(bert: TextTokenizer, token_id: int) -> None:
    with pytest.raises(InvalidRequestError, match=rf"input\[1\]\[2\] is token id {token_id}; .* 0 to 319") as caught:
        bert.encode_ids([[5], [5, 6, token_id]])
    assert caught.value.param == "input[1][2]"


def test_too_many_ids_are_refused_or_cut_like_text(bert: TextTokenizer) -> None:
    ids = [7] * MAX_TOKENS
    with pytest.raises(InvalidRequestError, match=f"input\\[0\\] is {MAX_TOKENS + 2} tokens long"):
        bert.encode_ids([ids])
    (row,) = bert.encode_ids([ids], truncate=True)
    assert (len(row.input_ids), row.num_tokens_before_cut) == (MAX_TOKENS, MAX_TOKENS + 2)


@given(text=st.text(max_size=200))
def test_ids_of_any_text_are_the_text(bert: TextTokenizer, text: str) -> None:
    (row,) = bert.encode_texts([text], truncate=True)
    assert ids_of(bert.encode_ids([ids_of(row)])[0]) == ids_of(row)
    assert row.input_ids.dtype == np.int32


@given(texts=st.lists(st.sampled_from(TEXTS), max_size=6), place=st.integers(0, 6))
def test_texts_in_two_parts_are_the_texts_in_one(qwen: TextTokenizer, texts: list[str], place: int) -> None:
    whole = qwen.encode_texts(texts, truncate=True)
    parts = [*qwen.encode_texts(texts[:place], truncate=True), *qwen.encode_texts(texts[place:], truncate=True)]
    assert [ids_of(row) for row in parts] == [ids_of(row) for row in whole]


def test_tokenizer_of_a_larger_vocabulary_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="vocab_size 100; the tokenizer belongs to another model"):
        TextTokenizer(found_model(folder / "bert", vocab_size=100).spec)


def test_missing_tokenizer_names_the_mend(tmp_path: Path) -> None:
    spec = found_model(tmp_path / "bert").spec
    (spec.folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json; make it with transformers"):
        TextTokenizer(spec)
