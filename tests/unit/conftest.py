"""A clock that is set by hand, for what is counted in a while."""

from __future__ import annotations

import pytest

from embergate.gateway import moving_window
from tests.limiters import ManualClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """What moving windows go by."""
    made = ManualClock()
    monkeypatch.setattr(moving_window, "monotonic_s", made)
    return made
