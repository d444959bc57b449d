"""A person's day with a real server: an operator gives a password, the person logs in, embeds, refreshes and logs out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import MODEL, Server

PASSWORD = "correct horse battery"


def embergate(data_dir: Path, *arguments: str, typed: str = "") -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
    environment["EMBERGATE_DATA_DIR"] = str(data_dir)
    command = [sys.executable, "-m", "embergate.cli.main", *arguments]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr


def embed(server: Server, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    body = {"model": MODEL, "input": "hello"}
    return httpx2.post(f"{server.base}/v1/embeddings", json=body, headers=headers, timeout=60).status_code


def test_session_from_the_first_password_to_the_logout(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false") as server:
        server.ready()
        with server.client() as admin:
            user = {"role": "inference-user", "email": "ada@example.org"}
            assert admin.post("/v1/accounts/default/users?userId=ada", json=user).status_code == 200
        arguments = ("users", "set-password", "default", "ada", "--password-stdin")
        embergate(tmp_path, *arguments, typed=f"{PASSWORD}\n")

        def call(path: str, body: dict[str, Any]) -> httpx2.Response:
            return httpx2.post(f"{server.base}/v1/auth/{path}", json=body, timeout=60)

        wrong = call("login", {"email": "ada@example.org", "password": "not the password"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, 16)
        pair = call("login", {"email": "ada@example.org", "password": PASSWORD}).json()
        assert embed(server, pair["token"]) == 200
        fresh = call("refresh", {"refreshToken": pair["refreshToken"]}).json()
        assert embed(server, fresh["token"]) == 200
        assert call("logout", {"refreshToken": fresh["refreshToken"]}).json() == {}
        assert embed(server, fresh["token"]) == embed(server, pair["token"]) == 401
        # What another process ends is noticed within a second: here, the operator's.
        pair = call("login", {"email": "ada@example.org", "password": PASSWORD}).json()
        embergate(tmp_path, *arguments, typed="another password\n")
        assert call("refresh", {"refreshToken": pair["refreshToken"]}).status_code == 401
        log = "\n".join(server.lines)
    for secret in (PASSWORD, pair["token"], fresh["refreshToken"]):
        assert secret not in log
