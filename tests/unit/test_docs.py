"""What the documentation says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import embergate
from tools import metrics_reference, settings_reference

DECLARED = re.compile(r'(?:Counter|Gauge|Histogram)\(\s*"(embergate_\w+)"')


def test_settings_page_is_up_to_date() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.render()


def test_metrics_page_is_up_to_date() -> None:
    assert metrics_reference.PAGE.read_text() == metrics_reference.render()


def test_metrics_page_has_every_metric_that_is_declared_anywhere() -> None:
    modules = Path(embergate.__file__).parent.rglob("*.py")
    declared = {name for module in modules for name in DECLARED.findall(module.read_text())}
    assert set(re.findall(r"^\| `(embergate_\w+)`", metrics_reference.render(), re.MULTILINE)) == declared
