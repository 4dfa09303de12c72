"""The one way in which people are told that something went wrong, or is well again: log, webhook, e-mail.

Each owner of a table is told where the settings say: by a webhook of its own or the common one, and by e-mail. Who is an
e-mail address is written to directly.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from email.message import EmailMessage

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)

_SECONDS = 10
_PAUSES = (0.5, 2.0)
_SUBJECT = 120
"""Characters of an e-mail's subject."""


def alert(
    text: str,
    owners: Iterable[str] = (),
    details: dict[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Tell each owner, or the common addresses; returns the addresses told. The log is told in any case.

    A webhook's body has Slack's and Teams' `text`, and `owners` and `details` for programs. It is signed where SECRET_KEY is
    set, tried again where nobody answers, and carries an id by which a receiver knows it again. Each address is told once. One
    that cannot be reached keeps no other from being told; then ConfigError is raised where a setting is wrong, OSError
    where nobody answers.
    """
    settings, named = Settings(), sorted(set(owners))
    log.warning("%s (owners: %s)", text, ", ".join(named) or "none")
    told, failed = list[str](), list[Exception]()
    body = {"text": text, "owners": named, "details": details or {}}
    for url in _webhooks(settings, named):
        try:
            _post(url, body, settings.secret_key, sleep)
            told.append(url)
        except (ConfigError, OSError) as error:
            failed.append(error)
    if (addresses := _addresses(settings, named)) and settings.smtp:
        try:
            _mail(settings, addresses, text, details or {})
            told += addresses
        except (ConfigError, OSError) as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return told


def _webhooks(settings: Settings, owners: list[str]) -> list[str]:
    urls = [settings.alert_webhooks.get(owner, settings.alert_webhook) for owner in owners]
    return list(dict.fromkeys(filter(None, urls or [settings.alert_webhook])))


def _addresses(settings: Settings, owners: list[str]) -> list[str]:
    """Where each owner reads e-mail."""
    found = [
        settings.alert_emails.get(owner) or (owner if "@" in owner else settings.alert_email)
        for owner in owners
    ]
    return list(dict.fromkeys(filter(None, found or [settings.alert_email])))


def _post(url: str, body: dict[str, object], secret: str, sleep: Callable[[float], None]) -> None:
    """Send it, again after a pause where nobody answers or the receiver failed; what it refuses is not sent again."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError("ASGARD_ALERT_WEBHOOK is no http address (it is a secret, so it is not shown)")
    data, began = json.dumps(body).encode(), time.monotonic()
    for pause in (*_PAUSES, None):
        request = urllib.request.Request(url, data, headers_of(data, secret, time.time()))  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 or pause is None:
                raise ConfigError(f"the alert webhook refused the message: HTTP {error.code}") from error
        except OSError:
            if pause is None or time.monotonic() - began > _SECONDS:
                raise
        sleep(pause)


def headers_of(data: bytes, secret: str, now: float) -> dict[str, str]:
    """`Asgard-Delivery`: the same for the same message, however often it is sent. `Asgard-Signature`: `t=TIME,v1=HMAC`, the
    HMAC-SHA256 of `TIME.BODY` with SECRET_KEY, in hexadecimal."""
    found = {"Content-Type": "application/json", "Asgard-Delivery": hashlib.sha256(data).hexdigest()[:32]}
    if secret:
        at = str(int(now))
        signed = hmac.new(secret.encode(), f"{at}.".encode() + data, hashlib.sha256).hexdigest()
        found["Asgard-Signature"] = f"t={at},v1={signed}"
    return found


def _mail(settings: Settings, addresses: list[str], text: str, details: dict[str, str]) -> None:
    message, first = EmailMessage(), text.splitlines()[0]
    message["Subject"] = first if len(first) <= _SUBJECT else f"{first[:_SUBJECT]} …"
    message["From"], message["To"] = settings.smtp_from, ", ".join(addresses)
    message.set_content("\n".join([text, "", *(f"{name}: {value}" for name, value in details.items())]))
    host, _, port = settings.smtp.partition(":")
    kind = smtplib.SMTP_SSL if settings.smtp_tls == "tls" else smtplib.SMTP
    try:
        with kind(host, int(port or 0), timeout=_SECONDS) as server:
            if settings.smtp_tls == "starttls":
                server.starttls()
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password)
            server.send_message(message)
    except (smtplib.SMTPException, ValueError) as error:
        raise ConfigError(
            f"the mail server {settings.smtp} did not take an alert: {type(error).__name__}; check ASGARD_SMTP, "
            "ASGARD_SMTP_TLS, ASGARD_SMTP_USER and ASGARD_SMTP_FROM"
        ) from error
