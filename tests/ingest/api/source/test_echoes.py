"""A secret is masked in whatever way an answer writes it."""

from __future__ import annotations

import base64
import html
import json

import pytest

from asgard_assets.ingest.api.source.secrets import MASK, Redactor

SECRET = "s3cr/t+To=k&n'Q"
EVERY = "".join(f"\\u{ord(c):04x}" for c in SECRET)
FORMS = {
    "plain": SECRET,
    "php": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    ".NET": "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in SECRET),
    "every letter as JSON": EVERY,
    "JSON within JSON": json.dumps(EVERY)[1:-1],
    "percent": "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in SECRET),
    "percent twice": "".join(c if c.isalnum() else f"%25{ord(c):02x}" for c in SECRET),
    "every letter percent": "".join(f"%{ord(c):02X}" for c in SECRET),
    "html": html.escape(SECRET),
    "html, decimal": "".join(f"&#{ord(c)};" for c in SECRET),
    "html, hex": "".join(c if c.isalnum() else f"&#x{ord(c):02X};" for c in SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "basic": base64.b64encode(f"me:{SECRET}".encode()).decode(),
    "basic, longer": base64.urlsafe_b64encode(f"svc:{SECRET}:x".encode()).decode(),
    "utf-16": SECRET.encode("utf-16-le").decode("latin-1"),
    "upper": SECRET.upper(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_is_masked(form: str) -> None:
    redactor = Redactor([SECRET])
    for masked in (redactor.text(f'{{"t": "{form}", "n": 1}}'), redactor.data(f"before {form} behind")):
        assert MASK in masked
        assert form not in masked
        assert masked.startswith(('{"t": "', "before ")) and masked.endswith(('", "n": 1}', " behind"))


def test_other_text_stays() -> None:
    text = (
        'czNjci8= s3cr 100% \\u0041 &#65; a\x00b {"id": "s3cret"} '
        + base64.b64encode(b"something else").decode()
    )
    assert Redactor([SECRET]).data(text) == text
