"""The login that a description names, as the `auth` of a source. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.openapi.document import Document, Listing
from asgard_assets.ingest.api.openapi.guesses import Guess


def login(document: Document, listing: Listing, prefix: str) -> Guess:
    """Of the logins that the description allows, the first that needs no browser. `prefix` is for variables."""
    wanted = listing.security
    if wanted is None:
        wanted = tuple({name: []} for name in list(document.schemes)[:1])
        if not wanted:
            return Guess("auth", {"type": "none"}, "the description names no login")
    if not wanted or all(not one for one in wanted):
        return Guess("auth", {"type": "none"}, "the description asks for no login here")
    found = [_together(document, one, prefix) for one in wanted if one]
    known = sorted((one for one in found if one is not None), key=lambda one: one[0])
    if not known:
        names = ", ".join(name for one in wanted for name in one)
        return Guess("auth", {"type": "none"}, f"a source has no login like {names}; see docs/api-access.md")
    _, value, why = known[0]
    if (address := value.get("token_url", "")) and "://" not in address:
        server = next(iter(document.servers), f"${{{prefix}_URL}}").rstrip("/")
        root = server if address[:1] != "/" else re.sub(r"(?<=[^:/])/.*$", "", server)
        value = {**value, "token_url": f"{root}/{address.lstrip('/')}"}
        why += f", whose address `{address}` is taken to be the server's"
    others = [name for one in wanted for name in one if f"`{name}`" not in why]
    return Guess(
        "auth", value, why + (f"; there are also {', '.join(dict.fromkeys(others))}" if others else "")
    )


CHANGE = "CHANGE-ME"
"""Stands where a person has to fill something in."""
_Login = tuple[int, dict[str, Any], str]


def _together(document: Document, wanted: Mapping[str, Any], prefix: str) -> _Login | None:
    """The login of schemes that are wanted all at once; its first number says how far it is from a plain one."""
    parts = [_one(name, document.resolved(document.schemes.get(name) or {}), prefix) for name in wanted]
    if any(part is None for part in parts):
        return None
    real = [part for part in parts if part is not None]
    if len(real) == 1:
        return real[0]
    keys = [one for _, one, _ in real if one["type"] == "api_key"]
    if not all("key" in one for _, one, _ in real):
        rest = [one for _, one, _ in real if one["type"] != "api_key"]
        if len(rest) != 1:
            return None
        shown = [{n: v for n, v in one.items() if n != "type"} for one in _apart(keys)]
        return real[0][0], {**rest[0], "keys": shown}, f"the schemes {_names(wanted)} together"
    shown = [{n: v for n, v in one.items() if n != "type"} for one in _apart(keys)]
    return real[0][0], {"type": "api_keys", "keys": shown}, f"the schemes {_names(wanted)} together"


def _apart(keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each key with a variable of its own."""
    return [
        {**one, "key": f"{one['key']}_{re.sub(r'[^A-Z0-9]+', '_', one['name'].upper()).strip('_')}"}
        for one in keys
    ]


def _names(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in wanted)


def _one(name: str, scheme: Mapping[str, Any], prefix: str) -> _Login | None:
    said, scheme_of = str(scheme.get("type", "")).lower(), str(scheme.get("scheme", "")).lower()
    why = f"the scheme `{name}`"
    if said == "basic" or (said == "http" and scheme_of == "basic"):
        value = {"type": "basic", "username": CHANGE, "password": f"env:{prefix}_PASSWORD"}
        return 0, value, why
    if said == "http" and scheme_of == "bearer":
        return 0, {"type": "bearer", "token": f"env:{prefix}_TOKEN"}, why
    if said == "http" and scheme_of == "digest":
        return 0, {"type": "digest", "username": CHANGE, "password": f"env:{prefix}_PASSWORD"}, why
    if said == "apikey":
        return _key(scheme, prefix, why)
    if said == "oauth2":
        return _oauth(scheme, prefix, why)
    if said == "openidconnect":
        return 2, {"type": "bearer", "token": f"env:{prefix}_TOKEN"}, f"{why}, with a token made elsewhere"
    return None


def _key(scheme: Mapping[str, Any], prefix: str, why: str) -> _Login:
    header, about = str(scheme.get("name", "")), str(scheme.get("description") or "")
    if scheme.get("in") == "header" and header.lower() == "authorization":
        if "bearer" in about.lower():
            return 0, {"type": "bearer", "token": f"env:{prefix}_TOKEN"}, why
        before = re.search(r"\b(SSWS|[Tt]oken|GenieKey|Key|Apikey|Basic|Zoho-oauthtoken)\b", about)
        why += f"; put all of the header into the variable{f', also `{before.group(1)} `' if before else ''}"
    value = {
        "type": "api_key",
        "key": f"env:{prefix}_KEY",
        "place": scheme.get("in", "header"),
        "name": header,
    }
    return 0, value, why


def _oauth(scheme: Mapping[str, Any], prefix: str, why: str) -> _Login:
    flows = scheme.get("flows") or {
        {"application": "clientCredentials"}.get(str(scheme.get("flow")), "other"): scheme
    }
    flow = flows.get("clientCredentials")
    if flow and flow.get("tokenUrl"):
        value: dict[str, Any] = {
            "type": "oauth2_client_credentials", "token_url": flow["tokenUrl"],
            "client_id": CHANGE, "client_secret": f"env:{prefix}_CLIENT_SECRET",
        }  # fmt: skip
        return 1, value, f"{why} has client credentials"
    return 2, {"type": "bearer", "token": f"env:{prefix}_TOKEN"}, f"{why}, with a token made elsewhere"


def challenged(headers: Mapping[str, str], prefix: str) -> dict[str, Any] | None:
    """The login that a refusing answer asks for (WWW-Authenticate, RFC 7235)."""
    asked = headers.get("www-authenticate", "").lower()
    name = prefix.upper()
    if asked.startswith(("bearer", "token")):
        return {"type": "bearer", "token": f"env:{name}_TOKEN"}
    if asked.startswith("basic"):
        return {"type": "basic", "username": CHANGE, "password": f"env:{name}_PASSWORD"}
    return None
