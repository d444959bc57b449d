"""What the documentation says is what the program does."""

from __future__ import annotations

from tools.settings_reference import PAGE, render


def test_settings_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render()
