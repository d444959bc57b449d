"""No example has a deadline: a busy machine is no bug. And a clock that is set by hand, for what is counted in a while."""

from __future__ import annotations

import pytest
from hypothesis import settings

from embergate.gateway import moving_window
from tests.limiters import ManualClock

settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """What moving windows go by."""
    made = ManualClock()
    monkeypatch.setattr(moving_window, "monotonic_s", made)
    return made
