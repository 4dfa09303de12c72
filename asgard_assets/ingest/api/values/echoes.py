"""A secret in any way that text may write it: JSON, addresses, HTML, base64, UTF-16, other case."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from html.entities import codepoint2name


@dataclass(frozen=True)
class Written:
    """`pattern` finds the secret. It need not be tried on text that has neither `run`, its longest part that nobody
    escapes, nor one of `signs`, its first letter escaped (all in lower case). `cores` are what base64 makes of it,
    wherever it begins in what is encoded."""

    pattern: re.Pattern[str]
    run: str
    signs: tuple[str, ...]
    cores: tuple[str, ...]


def may_escape(low: str) -> bool:
    """Whether anything is escaped in a text in lower case, in a way that `signs` knows."""
    # To look for one character costs a tenth of looking for two.
    return "\\" in low or "%" in low or "\x00" in low or ("&" in low and "&#" in low)


@lru_cache(maxsize=256)
def any_form(secret: str) -> Written:
    pattern = re.compile("\x00*".join(map(_letter, secret)), re.IGNORECASE)
    runs = re.findall("[a-z0-9]+", secret.lower())
    code = ord(secret[0])
    encoded = (f"u{code:04x}", f"%{code:02x}", f"&#{code}", f"&#x{code:x}", "\x00")
    longest = max(runs, key=len, default="")
    return Written(pattern, longest or secret[0].lower(), encoded, _cores(secret))


def _letter(char: str) -> str:
    """A pattern for one character as it is, and escaped as JSON, JavaScript, addresses and HTML do, once or twice."""
    code = ord(char)
    forms = [re.escape(char), rf"\\+x{code:02x}", rf"&(?:amp;)?#0*{code};", rf"&(?:amp;)?#x0*{code:x};"]
    units = char.encode("utf-16-be").hex()
    forms.append("".join(rf"\\+u{units[i : i + 4]}" for i in range(0, len(units), 4)))
    forms.append("".join(rf"%(?:25)*{byte:02x}" for byte in char.encode("utf-8", "surrogatepass")))
    if not char.isalnum():
        forms.append(rf"\\+{re.escape(char)}")
    if char == " ":
        forms.append(r"\+")
    if name := codepoint2name.get(code) or {"'": "apos", "/": "sol", "+": "plus", "=": "equals"}.get(char):
        forms.append(rf"&(?:amp;)?{name};")
    return f"(?:{'|'.join(forms)})"


def _cores(secret: str) -> tuple[str, ...]:
    """The letters of base64 that do not depend on what stands before and behind the secret."""
    found: dict[str, None] = {}
    raw = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode()
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        core = encoded[first:last]
        if len(core) >= 6:
            found[core] = None
            found[core.replace("+", "-").replace("/", "_")] = None
    return tuple(found)
