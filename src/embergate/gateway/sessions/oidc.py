"""An OpenID Connect provider, asked who somebody is: the authorization code flow with PKCE.

authlib speaks OAuth 2; PyJWT, which checks our own tokens, checks the provider's. Every answer is bounded in size and time.

Source: https://openid.net/specs/openid-connect-core-1_0.html, https://www.rfc-editor.org/rfc/rfc7636
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import jwt
import orjson
import structlog
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError

from embergate.clock import monotonic_s
from embergate.errors import UnauthenticatedError, UnavailableError
from embergate.gateway.sessions.bounded_http import BoundedTransport
from embergate.gateway.sessions.oidc_client import Attempt, OidcClient
from embergate.ids import new_token

TIMEOUT_S: Final = 10.0
# Discovery and keys are asked for again after so long; unknown keys are looked for no more often than the shorter one.
FRESH_S: Final = 3600.0
RELOAD_KEYS_S: Final = 10.0
SCOPE: Final = "openid email"
# Never HS256: its key would be the client's secret, or, by confusion, a public key.
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
REQUIRED: Final = ["iss", "sub", "aud", "exp", "iat"]
LEEWAY_S: Final = 60
ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL_ENDPOINTS: Final = ("userinfo_endpoint",)
log: structlog.stdlib.BoundLogger = structlog.get_logger()


class OidcProvider:
    """Sends people to the provider, and reads what it says of them."""

    def __init__(self, client: OidcClient) -> None:
        """Ask the provider nothing yet."""
        self._client = client
        self._loading = asyncio.Lock()
        self._metadata: dict[str, Any] = {}
        self._metadata_at_s = 0.0
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._keys_at_s: float | None = None

    @property
    def returns_by_https(self) -> bool:
        """Whether browsers come back by https."""
        return self._client.redirect_url.startswith("https://")

    async def begin(self) -> tuple[str, Attempt]:
        """Return where to send the browser, and what to remember. Raises: UnavailableError if the provider is."""
        attempt = Attempt(new_token(), new_token(), new_token())
        async with self._talk() as http:
            metadata = await self._discover(http)
            url, _ = http.create_authorization_url(
                metadata["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
            )
        return url, attempt

    async def verified_email(self, code: str, attempt: Attempt) -> str:
        """Return the verified address of whom the provider gave this code.

        Raises: UnauthenticatedError if it does not vouch for one; UnavailableError if the provider is.
        """
        async with self._talk() as http:
            metadata = await self._discover(http)
            try:
                tokens = await http.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.code_verifier,
                )
            except OAuthError as error:
                raise UnauthenticatedError(f"the OIDC provider refused the login: {error.error}") from None
            claims = await self._check(http, tokens.get("id_token"), attempt.nonce)
            if "email" not in claims and "userinfo_endpoint" in metadata:
                claims = await self._user_info(http, tokens, claims)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise UnauthenticatedError("the OIDC provider does not vouch for an email address (email_verified)")
        return email

    @asynccontextmanager
    async def _talk(self) -> AsyncIterator[Any]:
        basic = "client_secret_basic" in self._metadata.get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        )
        method = "none" if not self._client.client_secret else "client_secret_basic" if basic else "client_secret_post"
        http = AsyncOAuth2Client(
            self._client.client_id,
            self._client.client_secret or None,
            token_endpoint_auth_method=method,
            scope=SCOPE,
            redirect_uri=self._client.redirect_url,
            code_challenge_method="S256",
            transport=BoundedTransport(),
            timeout=TIMEOUT_S,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S), http:
                yield http
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, TypeError, KeyError) as error:
            log.warning("oidc_provider_failed", error=f"{type(error).__name__}: {error}")
            raise UnavailableError(f"the OIDC provider does not answer as one ({type(error).__name__})") from error

    async def _discover(self, http: Any) -> dict[str, Any]:
        async with self._loading:
            if not self._metadata or monotonic_s() - self._metadata_at_s >= FRESH_S:
                url = self._client.issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = await _get_json(http, url)
                self._check_metadata(metadata)
                self._metadata, self._metadata_at_s = metadata, monotonic_s()
        return self._metadata

    def _check_metadata(self, metadata: dict[str, Any]) -> None:
        issuer = metadata.get("issuer")
        if issuer != self._client.issuer:
            raise UnavailableError(
                f"the OIDC provider calls itself {str(issuer)[:200]}; set EMBERGATE_OIDC_ISSUER to exactly that"
            )
        scheme = self._client.issuer.partition(":")[0] + "://"
        optional = [name for name in OPTIONAL_ENDPOINTS if name in metadata]
        for name in (*ENDPOINTS, *optional):
            if not str(metadata[name]).startswith(("https://", scheme)):
                raise UnavailableError(f"the OIDC provider's {name} is not https")

    async def _check(self, http: Any, id_token: Any, nonce: str) -> dict[str, Any]:
        try:
            key = await self._key(http, jwt.get_unverified_header(id_token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=ALGORITHMS,
                audience=self._client.client_id,
                issuer=self._client.issuer,
                leeway=LEEWAY_S,
                options={"require": REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the OIDC provider's ID token is not valid ({type(error).__name__})") from error
        if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise UnauthenticatedError("the OIDC provider's ID token belongs to another login")
        if claims.get("azp", self._client.client_id) != self._client.client_id:
            raise UnauthenticatedError("the OIDC provider's ID token was made for another client")
        return claims

    async def _key(self, http: Any, key_id: str | None) -> jwt.PyJWK:
        async with self._loading:
            age_s = FRESH_S if self._keys_at_s is None else monotonic_s() - self._keys_at_s
            if age_s >= FRESH_S or (key_id not in self._keys and age_s >= RELOAD_KEYS_S):
                found = jwt.PyJWKSet.from_dict(await _get_json(http, self._metadata["jwks_uri"]))
                self._keys = {key.key_id: key for key in found.keys if key.public_key_use in {None, "sig"}}
                self._keys_at_s = monotonic_s()
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key_id not in self._keys:
            raise jwt.InvalidKeyError("the ID token is signed by a key that the provider does not publish")
        return self._keys[key_id]

    async def _user_info(self, http: Any, tokens: dict[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
        """Return the claims that some providers keep out of the ID token."""
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        found = await _get_json(http, self._metadata["userinfo_endpoint"], headers=headers)
        if found.get("sub") != claims["sub"]:
            raise UnauthenticatedError("the OIDC provider's user info is about somebody else")
        return found


async def _get_json(http: Any, url: str, *, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a JSON object. Raises: ValueError or an HTTPError if it is none."""
    response = await http.request("GET", url, withhold_token=True, headers=headers)
    response.raise_for_status()
    document = orjson.loads(response.content)
    if response.status_code != 200 or not isinstance(document, dict):
        raise ValueError(f"{url} does not answer with a JSON object")
    return document
