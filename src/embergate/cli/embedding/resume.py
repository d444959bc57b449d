"""`PartialOutput`: a run's finished chunks on disk, so that a run broken off at any point goes on where it was.

`OUTPUT.partial/` holds `data`, the bytes written so far, and `state.json`: what the run was started with (its manifest)
and how much of `data` counts. A chunk's bytes are flushed to the disk before the state that counts them replaces the old
state in one step; bytes beyond the count are cut off at the next start. It must not know models or formats.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from embergate.errors import EmbergateError, InvalidRequestError

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
        """Take hold of `OUTPUT.partial`, and with `restart` throw away what an earlier run left in it.

        Raises: StaleRunError if another process is writing this output.
        """
        self._output = output
        self.folder = output.with_name(output.name + ".partial")
        self.folder.mkdir(exist_ok=True)
        self._lock = _lock_folder(self.folder)
        self._restart = restart
        if restart:
            self._remove_files()
        self._state = _read_state(self.folder / STATE_FILE_NAME)

    def __enter__(self) -> Self:
        """Hold the partial output."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of it: what is finished stays for the next run, and if nothing is, no folder stays."""
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

    def begin(self, manifest: Mapping[str, Any], beginning: bytes) -> None:
        """Go on with the run that `manifest` describes, or start it: the data then holds `beginning` or more.

        Raises: StaleRunError if the unfinished run, or an output that is there already, is another one's.
        """
        state = self._state
        if state is not None:
            _refuse_differences(self.folder, state.manifest, manifest)
        if not self._restart and self._output.exists() and not self.is_complete and not (state and state.replaces_output):
            raise StaleRunError(
                f"{self._output} is there already; name another --output, move it away, or pass --restart to replace it",
                param="output",
            )
        if state is not None and state.finished.num_rows:
            if not self.is_complete:
                self._cut_data(state.finished.data_bytes)
            self._replace_state(_State(manifest, state.finished, state.replaces_output, state.result))
            return
        with self.data.open("wb") as stream:
            stream.write(beginning)
            _flush(stream.fileno(), stream.flush)
        self._replace_state(_State(manifest, Finished(data_bytes=len(beginning)), self._output.exists()))

    def append(self, payload: bytes, *, num_rows: int, num_tokens: int, digest: str) -> Finished:
        """Add a finished chunk, durably, and return how far the run is; `digest` is that of all rows so far."""
        state = self._started()
        with self.data.open("ab") as stream:
            stream.write(payload)
            _flush(stream.fileno(), stream.flush)
        done = state.finished
        finished = Finished(done.num_rows + num_rows, done.num_tokens + num_tokens, done.data_bytes + len(payload), digest)
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
                f"{self.data} holds {size} bytes, and {num_bytes} were written; it was changed since. Pass --restart to "
                "begin again"
            )
        os.truncate(self.data, num_bytes)

    def _replace_state(self, state: _State) -> None:
        path = self.folder / STATE_FILE_NAME
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as stream:
            json.dump({"version": STATE_VERSION, **asdict(state)}, stream)
            _flush(stream.fileno(), stream.flush)
        fresh.replace(path)
        _flush_folder(self.folder)
        self._state = state

    def _remove_files(self) -> None:
        # NOTE: the state goes last; without it, what is left would look like another run's output.
        for path in sorted(self.folder.iterdir() if self.folder.exists() else (), key=_is_state):
            path.unlink()
        self._state = None

    def _remove_if_empty(self) -> None:
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()
