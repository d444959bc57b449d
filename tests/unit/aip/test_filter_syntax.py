"""The parser's trees, its bounds, and its agreement with an independent grammar."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.filtering import syntax
from embergate.aip.filtering.parser import MAX_CHARACTERS, MAX_DEPTH, parse_filter
from tests.unit.aip.grammar import Shape, shape_by_grammar


def shape(tree: syntax.Expression | syntax.Argument) -> Shape:
    match tree:
        case syntax.Conjunction(terms):
            return ("and", *map(shape, terms))
        case syntax.Disjunction(terms):
            return ("or", *map(shape, terms))
        case syntax.Negation(term):
            return ("not", shape(term))
        case syntax.Restriction(comparable, None):
            return shape(comparable)
        case syntax.Restriction(comparable, syntax.Comparison(operator, _, argument)):
            return (operator, shape(comparable), shape(argument))
        case syntax.Group(expression):
            return shape(expression)
        case syntax.Function(name, arguments):
            return ("call", name, *map(shape, arguments))
        case syntax.Member(parts):
            return ("member", tuple(part.text for part in parts))
    raise AssertionError(tree)


def parsed(text: str) -> Shape | None:
    tree = parse_filter(text)
    return None if tree is None else shape(tree)


def word(*texts: str) -> Shape:
    return ("member", texts)


def eq(name: str, value: str) -> Shape:
    return ("=", word(name), word(value))


a, b, c, d = word("a"), word("b"), word("c"), word("d")
TREES: dict[str, Any] = {
    "a": a,
    "  a  ": a,
    "a b": ("and", a, b),
    "a AND b": ("and", a, b),
    "a b AND c": ("and", ("and", a, b), c),
    "a AND b c": ("and", a, ("and", b, c)),
    "a OR b": ("or", a, b),
    "a OR b OR c": ("or", a, b, c),
    "a AND b AND c": ("and", a, b, c),
    "a AND b OR c": ("and", a, ("or", b, c)),
    "a OR b AND c": ("and", ("or", a, b), c),
    "a b OR c d": ("and", a, ("or", b, c), d),
    "New York Giants OR Yankees": ("and", word("New"), word("York"), ("or", word("Giants"), word("Yankees"))),
    "(a b) OR c": ("or", ("and", a, b), c),
    "a AND (b OR c)": ("and", a, ("or", b, c)),
    "((a))": a,
    "( a )": a,
    "(a)AND(b)": ("and", a, b),
    "NOT a": ("not", a),
    "NOT a OR b": ("or", ("not", a), b),
    "NOT(a b)": ("not", ("and", a, b)),
    "-a": ("not", a),
    "-(a b)": ("not", ("and", a, b)),
    '-"a"': ("not", a),
    "a -b": ("and", a, ("not", b)),
    "-30": ("not", word("30")),
    "-1.5": ("not", word("1.5")),
    "a-b": word("a-b"),
    "a=-30": eq("a", "-30"),
    "a = -1.5": eq("a", "-1.5"),
    "a=-b": eq("a", "-b"),
    "a=1": eq("a", "1"),
    "a = 1": eq("a", "1"),
    "a\n=\t1": eq("a", "1"),
    "a<=1": ("<=", a, word("1")),
    "a>=1": (">=", a, word("1")),
    "a!=1": ("!=", a, word("1")),
    "a:*": (":", a, word("*")),
    "a.b.c=1": ("=", word("a", "b", "c"), word("1")),
    "a.1.5=1": ("=", word("a", "1", "5"), word("1")),
    "a.AND=1": ("=", word("a", "AND"), word("1")),
    "a.`k-1 `=1": ("=", word("a", "k-1 "), word("1")),
    'a."b.c":*': (":", word("a", "b.c"), word("*")),
    "and": word("and"),
    "a or b": ("and", a, word("or"), b),
    "not a": ("and", word("not"), a),
    "ANDROID": word("ANDROID"),
    '"AND"': word("AND"),
    "x.1.5.y": word("x", "1", "5", "y"),
    "1.5": word("1.5"),
    "a=1.2.3": ("=", a, word("1", "2", "3")),
    "a=2.997e9": eq("a", "2.997e9"),
    "a=2.9e+9": eq("a", "2.9e+9"),
    "a=1.2s": eq("a", "1.2s"),
    "a=20s": eq("a", "20s"),
    "a=1.5x": ("=", a, word("1", "5x")),
    "a>2012-04-21T11:30:00-04:00": (">", a, word("2012-04-21T11:30:00-04:00")),
    "a>2012-04-21T11:30:00.25Z b": ("and", (">", a, word("2012-04-21T11:30:00.25Z")), b),
    "a:2012-04-21": (":", a, word("2012-04-21")),
    r'a="say \"hi\""': eq("a", 'say "hi"'),
    r"a='it\'s'": eq("a", "it's"),
    r'a="\*\\\n\t\r\q"': eq("a", "*\\\n\t\rq"),
    'a="b c"': eq("a", "b c"),
    'a=""': eq("a", ""),
    "a=accounts/x/models/y": eq("a", "accounts/x/models/y"),
    "email=foo@bar.com": ("=", word("email"), word("foo@bar", "com")),
    "f()": ("call", "f"),
    "f(a)": ("call", "f", a),
    "f (a)": ("and", word("f"), a),
    "math.mem('30mb', -1.5, (a OR b))": ("call", "math.mem", word("30mb"), word("-1.5"), ("or", a, b)),
    "f(-1) = g( a , b )": ("=", ("call", "f", word("-1")), ("call", "g", a, b)),
    "a=(b OR c)": ("=", a, ("or", b, c)),
    "a:(-b c)": (":", a, ("and", ("not", b), c)),
    "a=1 b=2": ("and", eq("a", "1"), eq("b", "2")),
}


@pytest.mark.parametrize(("text", "tree"), TREES.items(), ids=TREES.keys())
def test_tree(text: str, tree: Shape) -> None:
    assert parsed(text) == tree
    assert shape_by_grammar(text) == tree


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_empty_filter_has_no_tree(text: str) -> None:
    assert parsed(text) is None


REFUSED = {
    "a=": (3, "a value after = is missing: found the end"),
    "a = = b": (5, "a value after = is missing: found =; the comparators are"),
    "a == b": (4, "found =; the comparators are = != < <= > >= and :"),
    "=a": (1, "a field or a text to search for is missing: found ="),
    "(a=1": (1, "this ( is never closed; add )"),
    "a (b (c": (6, "this ( is never closed"),
    "f(a": (2, "this ( is never closed"),
    "()": (2, "a text to search for is missing: found )"),
    "a)": (2, "this ) closes nothing"),
    'a="b': (3, 'this " is never closed; add one at the end of the text, or write \\" inside quotes'),
    "it's": (3, "this ' is never closed"),
    "a=`b": (3, "this ` is never closed"),
    "a, b": (2, "write AND or OR in place of the comma"),
    "(a, b)": (3, "write AND or OR in place of the comma"),
    "a .b": (3, "no space may stand before a dot"),
    "a. b": (4, "a name follows a dot directly"),
    "a.": (3, "a name follows a dot directly"),
    "a..b": (3, "a name follows a dot directly"),
    "a=.5": (3, "a value after = is missing: found ."),
    "a=b=c": (4, "= is misplaced: a comparison has one field, one comparator and one value"),
    "a AND": (6, "is missing: found the end"),
    "a OR OR b": (6, "is missing: found OR; a keyword stands between or before terms, and in quotes it is a text"),
    "AND a": (1, "found AND"),
    "NOT": (4, "found the end"),
    "NOT NOT a": (5, "found NOT"),
    "NOT -a": (5, "found -"),
    "--a": (2, "found -"),
    "- a": (3, "a - stands directly before what it negates"),
    "a=AND": (3, "a value after = is missing: found AND"),
    "!a": (1, '"!" stands alone; write != for unequal, NOT or - to negate'),
    "a ! = b": (3, '"!" stands alone'),
    "(a)(b)": (4, "write a space, AND or OR before ("),
    '"a""b"': (4, 'write a space, AND or OR before "b"'),
    '"a"(b)': (4, "write a space, AND or OR before ("),
    'a."b"(c)': (6, "write a space, AND or OR before ("),
    'a"' + "b" * 50 + '"': (2, 'before "' + "b" * 39 + "…"),
    "f(a b)": (5, "b is misplaced"),
    "f(,)": (3, "a value after ( is missing: found ,"),
    "f(a,)": (5, "a value after , is missing: found )"),
    "f(a).b": (5, "no space may stand before a dot"),
    "a\x00b": (2, "U+0000 is not a character"),
    "a=\ud800": (3, "U+D800 is not a character"),
}


@pytest.mark.parametrize(("text", "column", "message"), [(t, *e) for t, e in REFUSED.items()], ids=map(ascii, REFUSED))
def test_error_names_the_column_and_the_mend(text: str, column: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter(text)
    assert caught.value.field == "filter"
    first, shown, caret = caught.value.message.split("\n")
    assert first.startswith(f"filter, column {column}: ")
    assert message in first
    assert shown[2:] == text
    assert caret == " " * (2 + column - 1) + "^"


@pytest.mark.parametrize("text", [text for text in REFUSED if text.isprintable()])
def test_grammar_refuses_the_same(text: str) -> None:
    assert shape_by_grammar(text) is None


def test_long_filter_is_shown_around_the_position() -> None:
    text = "x " * 100 + "a = = b" + " y" * 100
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter(text)
    _, shown, caret = caught.value.message.split("\n")
    assert shown.startswith("  …")
    assert shown.endswith("…")
    assert len(shown) == 2 + 72 + 2
    assert shown[caret.index("^") - 4 : caret.index("^") + 3] == "a = = b"


@pytest.mark.parametrize(
    ("text", "cut_before", "cut_after"), [("a = = b" + " y" * 100, False, True), ("x " * 100 + "a=", True, False)]
)
def test_excerpt_keeps_to_the_filter(text: str, cut_before: bool, cut_after: bool) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter(text)
    shown = caught.value.message.split("\n")[1].strip()
    assert (shown.startswith("…"), shown.endswith("…")) == (cut_before, cut_after)


@pytest.mark.parametrize(("num_before", "excerpt"), [(35, "…"), (34, "x")])
def test_excerpt_marks_even_one_character_left_out(num_before: int, excerpt: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter("x" * num_before + "= =" + " y" * 100)
    assert caught.value.message.split("\n")[1][2] == excerpt


def test_line_break_does_not_move_the_caret() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter("a\nb\t= = c")
    assert caught.value.message.endswith("\n  a b = = c\n        ^")


def test_length_is_bounded() -> None:
    assert parse_filter("a" * MAX_CHARACTERS) is not None
    with pytest.raises(InvalidArgumentError, match="it has 2,001 characters, at most 2,000 are allowed"):
        parse_filter("a" * (MAX_CHARACTERS + 1))


@pytest.mark.parametrize("opening", ["(", "NOT (", "f(", "x:(", "-("])
def test_depth_is_bounded(opening: str) -> None:
    assert parse_filter(opening * MAX_DEPTH + "a" + ")" * MAX_DEPTH) is not None
    with pytest.raises(InvalidArgumentError, match="nested more than 32 deep"):
        parse_filter(opening * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))


def test_groups_side_by_side_are_not_deep() -> None:
    assert parse_filter("(a) " * 100) is not None


PIECES = [
    *(
        "a",
        "b.c",
        "state",
        "x1",
        "-",
        "-3",
        "1.5",
        "-1.5e+3s",
        "2012-04-21T11:30:00-04:00",
        "20s",
        "*",
        "a*",
        "\\",
        "é",
    ),
    *("AND", "OR", "NOT", "and", "ANDx", "(", ")", "(", ")", "f(", ",", ".", "=", "!=", "<", "<=", ">", ">=", ":", "!"),
    *(
        '"q"',
        "'r s'",
        '"\\""',
        "`k-1`",
        '"',
        "'",
        " ",
        " ",
        " ",
        "  ",
        "\n",
        " AND ",
        " OR ",
        " NOT ",
        " -",
        "a=1",
        "b:*",
    ),
]


VALID = st.recursive(
    st.sampled_from(
        ["a", "b.c", "a=1", "a = -1.5", "b:*", "-30", '"q"', "f(a, -1)", "a=`k`", "a:2012-04-21T11:30:00Z"]
    ),
    lambda inner: st.one_of(
        inner.map("({})".format),
        inner.map("NOT ({})".format),
        st.tuples(inner, st.sampled_from([" ", " AND ", " OR ", " -", " NOT ", "\n"]), inner).map("".join),
    ),
    max_leaves=8,
)


@settings(max_examples=400)
@given(st.one_of(st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join), VALID))
@example("f( -1)")
@example("a = f(-1)")
@example("a=(-b)")
@example("a.-1.5")
@example("1.5(x)")
@example("2012-04-21Tx:y")
@example("NOT.a")
def test_parser_agrees_with_the_grammar(text: str) -> None:
    try:
        tree = parsed(text)
    except InvalidArgumentError:
        assert shape_by_grammar(text) is None
    else:
        assert shape_by_grammar(text) == tree or (tree is None and not text.strip())


TEXTS = st.one_of(
    st.text(max_size=3_000),
    st.text(alphabet="()-.,:=<>!\"'`\\* aANDORT19é\u2028𝔸", max_size=3_000),
    st.lists(st.sampled_from([*PIECES, "(" * 40, "NOT (" * 20, ")" * 40]), max_size=300).map("".join),
)


@settings(max_examples=200)
@given(TEXTS)
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgumentError):
        parse_filter(text)
