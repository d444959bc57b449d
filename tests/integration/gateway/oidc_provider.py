"""A small OpenID Connect provider on loopback HTTP: discovery, keys, authorize, token, user info. It checks what it is sent."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from embergate.clock import now
from embergate.gateway.sessions.oidc_client import OidcClient

CLIENT_ID: Final = "embergate-of-tests"
CLIENT_SECRET: Final = "secret of the client, with : and %"
REDIRECT_URL: Final = "http://test/v1/auth/oidc/callback"


@lru_cache
def key_called(key_id: str) -> rsa.RSAPrivateKey:
    """Return a key; making one takes long."""
    assert key_id
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Person:
    """Who logs in, and what the provider gets wrong about them."""

    claims: dict[str, Any] = field(default_factory=lambda: {"email": "ada@acme.example", "email_verified": True})
    # Over the true claims of the ID token; None leaves one out.
    changes: dict[str, Any] = field(default_factory=dict)
    user_info: dict[str, Any] | None = None
    sub: str = "248289761001"


class OidcProvider:
    """Runs in a thread of its own until `stop`."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.issuer = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.person = Person()
        self.keys = {"key-1": key_called("key-1")}
        self.algorithm = "RS256"
        self.names_its_keys = True
        # What the ID token is signed with, where that is not the newest key.
        self.signing_key: Any = None
        self.metadata_changes: dict[str, Any] = {}
        # Whole answers in the place of true ones, by path.
        self.answers: dict[str, Response] = {}
        self.num_requests: Counter[str] = Counter()
        self._codes: dict[str, dict[str, str]] = {}
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="warning", access_log=False, ws="none"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def client(self, **changes: Any) -> OidcClient:
        """Return what a server needs to know to log people in here."""
        known = {"issuer": self.issuer, "client_id": CLIENT_ID, "redirect_url": REDIRECT_URL}
        return OidcClient(**(known | {"client_secret": CLIENT_SECRET} | changes))

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.middleware("http")(self._count)
        app.get("/.well-known/openid-configuration")(self._discovery)
        app.get("/keys")(self._jwks)
        app.get("/authorize")(self._authorize)
        app.post("/token")(self._token)
        app.get("/userinfo")(self._user_info)
        return app

    async def _count(self, request: Request, call_next: Any) -> Response:
        self.num_requests[request.url.path] += 1
        answer = self.answers.get(request.url.path) or await call_next(request)
        assert isinstance(answer, Response)
        return answer

    async def _discovery(self) -> Response:
        paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        if self.person.user_info is not None:
            paths["userinfo_endpoint"] = "/userinfo"
        metadata: dict[str, Any] = {"issuer": self.issuer}
        metadata |= {name: self.issuer + path for name, path in paths.items()}
        return JSONResponse(metadata | self.metadata_changes)

    async def _jwks(self) -> Response:
        documents = []
        for key_id, key in self.keys.items():
            document = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            documents.append({**document, "kid": key_id, "use": "sig", "alg": "RS256"})
        return JSONResponse({"keys": documents})

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == REDIRECT_URL
        assert query["response_type"] == "code"
        assert {"openid", "email"} <= set(query["scope"].split())
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"nonce": query["nonce"], "challenge": query["code_challenge"]}
        return RedirectResponse(f"{REDIRECT_URL}?{urlencode({'code': code, 'state': query['state']})}", 302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if not self._is_client(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        issued = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if issued is None or challenge != issued["challenge"] or form["redirect_uri"] != REDIRECT_URL:
            return JSONResponse({"error": "invalid_grant"}, 400)
        answer = {"access_token": "access", "token_type": "Bearer", "expires_in": 60}
        return JSONResponse({**answer, "id_token": self._id_token(issued["nonce"])})

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        if "client_secret_post" in self.metadata_changes.get("token_endpoint_auth_methods_supported", ()):
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {basic}"

    def _id_token(self, nonce: str) -> str:
        moment = int(now().timestamp())
        claims = {
            "iss": self.issuer,
            "sub": self.person.sub,
            "aud": CLIENT_ID,
            "iat": moment,
            "exp": moment + 60,
            "nonce": nonce,
            **self.person.claims,
            **self.person.changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key_id, key = cast(tuple[str, Any], list(self.keys.items())[-1])
        if self.algorithm == "none":
            key = None
        return jwt.encode(
            claims, self.signing_key or key, self.algorithm, headers={"kid": key_id} if self.names_its_keys else {}
        )

    async def _user_info(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse(self.person.user_info)
