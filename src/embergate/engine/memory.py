"""What loading a model costs in memory, as the operating system counts it for this process.

Linux only: elsewhere, and where /proc hides a figure, it is unknown, never estimated.

Source: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html, .../proc_pid_clear_refs.5.html
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/self")
M_MMAP_THRESHOLD: Final = -3  # glibc's malloc.h
LARGE_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """How far one load has raised this process's memory; None is unknown.

    `resident_bytes` is what stays, file-backed pages included, which the system can take back; `anonymous_bytes` is the
    part of it that it cannot. `peak_bytes` is the highest that resident memory stood in between.
    """

    weights_bytes: int
    resident_bytes: int | None
    anonymous_bytes: int | None
    peak_bytes: int | None


class MemoryMeter:
    """Measures from its creation on. NOTE: it sees the whole process, so also what else happens in it meanwhile."""

    def __init__(self, proc: Path = PROC) -> None:
        """Note where memory stands, and start the high-water mark again from there where that is permitted."""
        self._proc = proc
        with suppress(OSError):  # not permitted: the mark keeps its old height, which `use` takes into account
            (proc / "clear_refs").write_text("5")
        self._before = _read_status(proc)

    def use(self, weights_bytes: int) -> MemoryUse:
        """Return the growth since the meter was made, for a model whose weights as served have `weights_bytes`."""
        now = _read_status(self._proc)
        return MemoryUse(
            weights_bytes,
            self._growth("VmRSS", "VmRSS", now),
            self._growth("RssAnon", "RssAnon", now),
            self._growth("VmHWM", "VmRSS", now) if self._has_new_peak(now) else None,
        )

    def _growth(self, name: str, base: str, now: dict[str, int]) -> int | None:
        if name not in now or base not in self._before:
            return None
        return max(now[name] - self._before[base], 0)

    def _has_new_peak(self, now: dict[str, int]) -> bool:
        """Tell whether the high-water mark was set since; an older and higher one hides ours."""
        before, resident = self._before.get("VmHWM"), self._before.get("VmRSS")
        return before is not None and (before == resident or now.get("VmHWM", 0) > before)


def _read_status(proc: Path) -> dict[str, int]:
    """Return the memory figures of /proc/<pid>/status. Units: bytes."""
    try:
        lines = (proc / "status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, _, value in pairs if value.endswith(" kB")}


def return_freed_blocks() -> None:
    """Have glibc give every large block back to the system as soon as it is freed; else it keeps up to 32 MB of each for later.

    NOTE: for the whole process. Buffers that grow from batch to batch would otherwise leave their former sizes behind.
    """
    if (mallopt := _libc_function("mallopt")) is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def return_free_heap() -> None:
    """Give what is free on the heap back to the system, which glibc by itself keeps for later."""
    if (malloc_trim := _libc_function("malloc_trim")) is not None:
        malloc_trim(0)


def _libc_function(name: str) -> Callable[..., int] | None:
    """Return a function that glibc has and other C libraries may not have."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
