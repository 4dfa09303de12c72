"""Addresses that others wrote: a row's host, a next page's URL."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import socket
from urllib.parse import quote, urlsplit

_PLAIN_PART = re.compile(r"[A-Za-z0-9._:-]+")
_BASE = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d+)?(/[^\s?#@\\]*)?")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def host_part(text: str) -> str:
    """A row's value inside `base_url`; raises ValueError where it could lead out of its place."""
    if not _PLAIN_PART.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r:.100} cannot stand in an address")
    return text


def checked_base(url: str, hosts: tuple[str, ...]) -> str:
    """A base address made of a row. Raises ValueError where it is none, or of a host that is not allowed."""
    if not _BASE.fullmatch(url):
        raise ValueError(f"{url!r:.100} is not a base address; it must be http:// or https:// and a host")
    if hosts and not allowed(url, hosts):
        raise ValueError(f"{urlsplit(url).netloc} is not one of endpoint.hosts")
    return url.rstrip("/")


def allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether the URL's host is one of the patterns, such as `*.example.com` or `crm.example.com:8443`."""
    parts = urlsplit(url)
    names = {parts.netloc.lower(), (parts.hostname or "").lower()}
    return any(fnmatch.fnmatch(name, host.lower()) for name in names for host in hosts)


def elsewhere(url: str, home: str, hosts: tuple[str, ...]) -> bool:
    """Whether the URL lies where an API must not lead to: on another origin than `home` that `hosts` does not name.

    The same host over TLS is home too. A machine of one's own network is named in full, by no pattern with `*`.
    """
    new, old = _origin(url), _origin(home)
    if new == old or (old[0], new[0], old[2], new[2]) == ("http", "https", 80, 443) and new[1] == old[1]:
        return False
    if is_inside(new[1]):
        hosts = tuple(host for host in hosts if not {"*", "?"} & {*host})
    return not allowed(url, hosts)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def is_loopback(host: str) -> bool:
    """Whether this names the machine itself."""
    name = host.rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_inside(host: str) -> bool:
    """Whether this names a machine of one's own network: loopback, link-local (the cloud's metadata), private."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".internal", ".local")):
        return True
    try:
        found = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            found = ipaddress.ip_address(socket.inet_aton(name))  # 127.1, 0x7f.0.0.1, 2130706433
        except OSError:
            return False
    return not (getattr(found, "ipv4_mapped", None) or found).is_global


def encoded(url: str) -> str:
    """The URL with what may not stand in one percent-encoded; what is encoded already stays as it is."""
    if url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}'):
        return _STRAY_PERCENT.sub("%25", url) if "%" in url else url
    return _STRAY_PERCENT.sub("%25", quote(url.strip(), safe="%/:?#[]@!$&'()*+,;=~-._"))
