"""`PartialOutput`: a run's finished chunks on disk, so that a run broken off at any point goes on where it was.

`OUTPUT.partial/` holds `data`, the bytes written so far, and `state.json`: what the run was started with (its manifest)
and how much of `data` counts. A chunk's bytes are flushed to the disk before the state that counts them replaces the
old state in one step; bytes beyond the count are cut off at the next start. It must not know models or formats.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from embergate.errors import InvalidRequestError

STATE_VERSION: Final = 1
STATE_FILE_NAME: Final = "state.json"
DATA_FILE_NAME: Final = "data"


class StaleRunError(InvalidRequestError):
    """What is on disk does not belong to this run: the message names the difference and the mend."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How far a run is; `digest` is the hash of the content of the rows done."""

    num_rows: int = 0
    num_tokens: int = 0
    data_bytes: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _State:
    manifest: Mapping[str, Any]
    finished: Finished
    # An output file that this run was allowed to replace; and, at the very end, the file that becomes the output.
    replaces_output: bool = False
    result: str | None = None


class PartialOutput:
    """The unfinished output of one run. Only one process can hold it."""

    def __init__(self, output: Path, *, restart: bool = False) -> None:
        """Take hold of `OUTPUT.partial`; with `restart`, `begin` will throw away what an earlier run left in it.

        Raises: StaleRunError if another process is writing this output.
        """
        self._output = output
        self.folder = output.with_name(output.name + ".partial")
        self.folder.mkdir(exist_ok=True)
        self._lock = _lock_folder(self.folder)
        self._restart = restart
        self._state = None if restart else _read_state(self.folder / STATE_FILE_NAME)

    def __enter__(self) -> Self:
        """Hold the partial output."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of it: what is finished stays for the next run, and if nothing is, no folder stays."""
        if self._state is not None:
            # NOTE: Ctrl-C may come between replacing the state on the disk and remembering it; the disk is right.
            self._state = _read_state(self.folder / STATE_FILE_NAME)
            if not self.finished.num_rows and not self.is_complete:
                self._remove_files()
        self._remove_if_empty()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def data(self) -> Path:
        """The file that chunks are appended to."""
        return self.folder / DATA_FILE_NAME

    @property
    def finished(self) -> Finished:
        """What counts of the data."""
        return self._state.finished if self._state else Finished()

    @property
    def is_complete(self) -> bool:
        """Tell whether the output is in its place, and an earlier run was broken off while tidying up."""
        state = self._state
        if state is None or state.result is None:
            return False
        return self._output.exists() and not (self.folder / state.result).exists()

    def check_output(self) -> None:
        """Raise StaleRunError if there is an output already that this run may not replace."""
        may_replace = self._restart or self.is_complete or (self._state is not None and self._state.replaces_output)
        if self._output.exists() and not may_replace:
            raise StaleRunError(
                f"{self._output} is there already; name another --output, or pass --restart to replace it",
                param="output",
            )

    def begin(self, manifest: Mapping[str, Any], beginning: bytes) -> None:
        """Go on with the run that `manifest` describes, or start it: the data then holds `beginning` or more.

        Raises: StaleRunError if the unfinished run, or an output that is there already, is another one's.
        """
        if self.is_complete and _differences(self._started().manifest, manifest):
            self._remove_files()
        state = self._state
        if state is not None and (state.finished.num_rows or self.is_complete):
            self._refuse_differences(state.manifest, manifest)
        if self.is_complete:
            return
        self.check_output()
        if state is not None and state.finished.num_rows:
            self._cut_data(state.finished.data_bytes)
            self._replace_state(_State(manifest, state.finished, state.replaces_output))
            return
        (self.folder / STATE_FILE_NAME).unlink(missing_ok=True)
        with self.data.open("wb") as stream:
            stream.write(beginning)
            flush(stream)
        self._replace_state(_State(manifest, Finished(data_bytes=len(beginning)), self._output.exists()))

    def append(self, payload: bytes, *, num_rows: int, num_tokens: int, digest: str) -> Finished:
        """Add a finished chunk, durably, and return how far the run is; `digest` is that of all rows so far."""
        state = self._started()
        with self.data.open("ab") as stream:
            stream.write(payload)
            flush(stream)
        done = state.finished
        finished = Finished(
            done.num_rows + num_rows, done.num_tokens + num_tokens, done.data_bytes + len(payload), digest
        )
        self._replace_state(_State(state.manifest, finished, state.replaces_output))
        return finished

    def publish(self, result: Path) -> None:
        """Make `result`, a file in this folder that is on the disk, the output in one step, and tidy up."""
        state = self._started()
        self._replace_state(_State(state.manifest, state.finished, state.replaces_output, result.name))
        result.replace(self._output)
        _flush_folder(self._output.parent)
        self.tidy()

    def tidy(self) -> None:
        """Remove everything of a run whose output is in its place."""
        self._remove_files()
        self._remove_if_empty()

    def _started(self) -> _State:
        assert self._state is not None, "chunks are appended after begin(). This is a bug."
        return self._state

    def _cut_data(self, num_bytes: int) -> None:
        size = self.data.stat().st_size if self.data.exists() else 0
        if size < num_bytes:
            raise StaleRunError(
                f"{self.data} holds {size} bytes, and {num_bytes} were written; it was changed since. Pass --restart "
                "to begin again"
            )
        os.truncate(self.data, num_bytes)

    def _replace_state(self, state: _State) -> None:
        path = self.folder / STATE_FILE_NAME
        fresh = path.with_name(STATE_FILE_NAME + ".new")
        with fresh.open("w", encoding="ascii") as stream:
            json.dump({"version": STATE_VERSION, **asdict(state)}, stream)
            flush(stream)
        fresh.replace(path)
        _flush_folder(self.folder)
        self._state = state

    def _refuse_differences(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        differences = _differences(old, new)
        if differences:
            raise StaleRunError(
                f"{self.folder} holds an unfinished run that was started otherwise: {'; '.join(differences)}. Start it "
                "the same way to go on with it, or pass --restart to throw it away and begin again",
                param="output",
            )

    def _remove_files(self) -> None:
        # NOTE: the state goes last: without it, what is left would not be known as this run's.
        for pattern in (f"{DATA_FILE_NAME}*", f"{STATE_FILE_NAME}*"):
            for path in sorted(self.folder.glob(pattern), reverse=True):
                path.unlink()
        self._state = None

    def _remove_if_empty(self) -> None:
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def flush(stream: IO[Any]) -> None:
    """Force what was written to the disk itself."""
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Force a rename in `folder` to the disk; Windows cannot open folders, and needs it less."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock_folder(folder: Path) -> int | None:
    """Return an open descriptor that keeps other processes out until it is closed, by whatever death."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    raise StaleRunError(f"another process is writing this output (it holds {folder}); wait for it", param="output")


def _read_state(path: Path) -> _State | None:
    """Return the state of an earlier run, None if there is none."""
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        stored = {}
    if not isinstance(stored, dict) or stored.get("version") != STATE_VERSION:
        raise StaleRunError(f"{path} was not written by this version of embergate; pass --restart to begin again")
    return _State(stored["manifest"], Finished(**stored["finished"]), stored["replaces_output"], stored["result"])


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name what differs between two manifests.

    `truncate` may be switched on midway: the rows done needed no cut, or the run would have stopped at them.
    """
    found = []
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if before == now or (name == "truncate" and now):
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            changed = ", ".join(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
            found.append(f"{name} ({changed} changed)")
        else:
            found.append(f"{name} was {json.dumps(before)} and is now {json.dumps(now)}")
    return found
