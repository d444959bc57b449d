"""What a load costs in memory: growth since the meter was made, and nothing where the system does not say."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from embergate.engine.memory import MemoryMeter, MemoryUse

MIB = 1 << 20


def write_status(proc: Path, **figures: int) -> None:
    """Write a status file; figures are in MiB."""
    proc.mkdir(exist_ok=True)
    lines = ["Name:\tembergate", *(f"{name}:\t{value * 1024:>8} kB" for name, value in figures.items()), "Threads:\t7"]
    (proc / "status").write_text("\n".join(lines))


def test_growth_is_counted_from_where_the_meter_was_made(tmp_path: Path) -> None:
    write_status(tmp_path, VmHWM=100, VmRSS=100, RssAnon=60)
    meter = MemoryMeter(tmp_path)
    write_status(tmp_path, VmHWM=900, VmRSS=400, RssAnon=300)
    assert meter.use(7) == MemoryUse(7, 300 * MIB, 240 * MIB, 800 * MIB)


def test_old_high_water_mark_that_could_not_be_reset_hides_the_peak(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").mkdir()  # writing to it fails, as where it is not permitted
    write_status(tmp_path, VmHWM=900, VmRSS=100, RssAnon=60)
    meter = MemoryMeter(tmp_path)
    write_status(tmp_path, VmHWM=900, VmRSS=400, RssAnon=300)
    assert meter.use(0).peak_bytes is None
    write_status(tmp_path, VmHWM=950, VmRSS=400, RssAnon=300)
    assert meter.use(0).peak_bytes == 850 * MIB


@pytest.mark.parametrize("figures", [{}, {"VmPeak": 5}], ids=["no file", "none of the figures"])
def test_what_the_system_does_not_say_is_unknown(tmp_path: Path, figures: dict[str, int]) -> None:
    if figures:
        write_status(tmp_path, **figures)
    assert MemoryMeter(tmp_path / "proc" if not figures else tmp_path).use(1) == MemoryUse(1, None, None, None)


def test_this_process_is_measured_where_the_system_is_linux() -> None:
    meter = MemoryMeter()
    with mmap.mmap(-1, 64 * MIB) as block:  # not from the heap, which may have room that was free before
        block.write(b"\1" * (64 * MIB))
        use = meter.use(64 * MIB)
    if sys.platform == "linux":
        assert use.peak_bytes is not None
        assert use.resident_bytes is not None
        assert use.peak_bytes >= use.resident_bytes >= 32 * MIB  # others may have freed some meanwhile
    else:
        assert use == MemoryUse(64 * MIB, None, None, None)
