"""An API with five doors: one path for each way to log in. Users are the same behind all of them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import jwt
from aiohttp import web

USERS = 200
# What the API and Keycloak let in. These are secrets of servers that only this machine reaches, while the guide is tried.
NAME, PASSWORD, TOKEN = "ann", "ann-has-a-password", "a-token-that-never-changes"
CLIENT, CLIENT_SECRET = "shop", "the-secret-of-the-client"
REALM = {
    "accessTokenLifespan": 60,
    "clients": [
        {"clientId": CLIENT, "secret": CLIENT_SECRET, "publicClient": False, "standardFlowEnabled": False}
        | {"serviceAccountsEnabled": True, "directAccessGrantsEnabled": True}
    ],
    "users": [
        {"username": NAME, "enabled": True, "emailVerified": True, "email": "ann@example.org"}
        | {"firstName": "Ann", "lastName": "Other"}
        | {"credentials": [{"type": "password", "value": PASSWORD, "temporary": False}]}
    ],
}


def application(public_key: str) -> web.Application:
    """`/none/users/1`, `/basic/…`, `/bearer/…`, `/password/…`, `/client/…`. `public_key` is what the realm signs with."""

    def signed(given: str, who: Callable[[dict], bool]) -> bool:
        try:
            claims = jwt.decode(
                given.removeprefix("Bearer "), public_key, ["RS256"], options={"verify_aud": False}
            )
        except jwt.PyJWTError:
            return False
        return claims.get("azp") == CLIENT and who(claims)

    basic = f"Basic {base64.b64encode(f'{NAME}:{PASSWORD}'.encode()).decode()}"
    doors: dict[str, Callable[[str], bool]] = {
        "none": lambda given: not given,
        "basic": lambda given: hmac.compare_digest(given, basic),
        "bearer": lambda given: hmac.compare_digest(given, f"Bearer {TOKEN}"),
        "password": lambda given: signed(given, lambda claims: claims["preferred_username"] == NAME),
        "client": lambda given: signed(
            given, lambda claims: claims["preferred_username"] == f"service-account-{CLIENT}"
        ),
    }

    async def user(request: web.Request) -> web.Response:
        door, number = request.match_info["door"], int(request.match_info["user"])
        if door not in doors or not 1 <= number <= USERS:
            raise web.HTTPNotFound
        if not doors[door](request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return web.json_response({"id": number, "name": f"user {number}", "door": door})

    app = web.Application()
    app.router.add_get(r"/{door}/users/{user:\d+}", user)
    return app
