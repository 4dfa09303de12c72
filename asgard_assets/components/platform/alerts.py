"""Telling the owner of a table what went wrong, by webhook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

_SECONDS = 10


def alert(text: str, owners: Iterable[str] = (), details: dict[str, str] | None = None) -> list[str]:
    """Post to the webhook of each owner, or to the common one; returns the addresses posted to.

    The body has Slack's and Teams' `text`, and `owners` and `details` for programs. Each address is told once.
    Raises ConfigError where an address is no http(s) one, OSError where nobody answers.
    """
    settings, named = Settings(), sorted(set(owners))
    urls = [settings.alert_webhooks.get(owner, settings.alert_webhook) for owner in named]
    told = list(dict.fromkeys(filter(None, urls or [settings.alert_webhook])))
    body = json.dumps({"text": text, "owners": named, "details": details or {}}).encode()
    for url in told:
        if not url.startswith(("http://", "https://")):
            raise ConfigError("ASGARD_ALERT_WEBHOOK is no http address (it is a secret, so it is not shown)")
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            raise ConfigError(f"the alert webhook refused the message: HTTP {error.code}") from error
    return told
