"""Our own lint rules find what they are for, and nothing else."""

from __future__ import annotations

import pytest

from tools.lint import lint_source

LONG_FUNCTION = "def long():\n" + "    x = 1\n" * 51
WIDE_FUNCTION = "def wide(a, b, c, d, e, f, g, h):\n    pass\n"
BROKEN = {
    "size of a module": ("engine/a.py", "x = 1\n" * 401, "size"),
    "size of a function": ("engine/a.py", LONG_FUNCTION, "size"),
    "parameters of a function": ("engine/a.py", WIDE_FUNCTION, "size"),
    "a module named like the standard library's": ("web/json.py", "x = 1\n", "no-stdlib-shadow"),
    "settings below the composition root": (
        "web/a.py",
        "from embergate.settings import Settings\n",
        "no-settings-below-app",
    ),
    "a clock of its own": ("engine/a.py", "import time\nx = time.monotonic()\n", "one-clock"),
    "an identifier of its own": ("web/a.py", "import uuid\nx = uuid.uuid4()\n", "one-clock"),
}


@pytest.mark.parametrize(("path", "source", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rule_is_found(path: str, source: str, rule: str) -> None:
    assert [finding.rule for finding in lint_source(path, source)] == [rule]


def test_clean_module_has_no_findings() -> None:
    assert lint_source("engine/a.py", "def f(a: int) -> int:\n    return a\n") == []


def test_settings_may_be_read_by_the_composition_root() -> None:
    assert lint_source("app/engine.py", "from embergate.settings import Settings\n") == []


def test_named_escape_excuses_its_own_rule_only() -> None:
    excused = "import time\nx = time.time()  # lint: allow one-clock (a test of the clock itself)\n"
    assert lint_source("engine/a.py", excused) == []
    assert len(lint_source("engine/a.py", excused.replace("one-clock", "size"))) == 1
