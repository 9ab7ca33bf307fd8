"""How a secret is masked in a text: in every spelling in which programs echo it, and nowhere else.

A long secret is masked wherever it stands. A short one is no rare sequence of letters: it is masked only where
something says that a value stands there, so that a password of one letter is not cut out of ordinary words.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST = 6  # letters of a secret that is masked wherever it stands

_SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
_QUERY = re.compile(r"[?&;]\w*(?:password|passwd)=([^&;]*)", re.IGNORECASE)


KEPT = rf"\1{MASK}"  # the name of the secret stays

# Up to the last @, because a password may hold one.
URL = re.compile(r"(?P<head>\b[\w+.-]+://[^\s:/@'\"]*):(?P<password>[^\s'\"]+)@")
FORMS = (
    (URL, rf"\g<head>:{MASK}@"),
    (
        re.compile(r"([?&;](?:\w*password|x-amz-(?:signature|credential|security-token))=)[^&\s'\"]+", re.I),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            r"\b(\w*(?:password|passwd|secret_access_key|session_token)[\"']?\s*[=:]\s*)"
            r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,;&)\"']+)",
            re.I,
        ),
        KEPT,
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
)


def passwords_of(text: str) -> set[str]:
    """Passwords of a URL, or of a libpq string of ``key=value``, as given and decoded.

    A password that holds an unencoded ``@``, ``/`` or space is taken up to the last ``@``.
    """
    found: set[str] = set()
    if scheme := _SCHEME.match(text):
        user, at, _ = text[scheme.end() :].rpartition("@")
        if at and ":" in user:
            found.add(user.partition(":")[2])
        found |= {one for one in _QUERY.findall(text) if one}
    elif re.search(r"(?:^|\s)\w*password\s*=", text, re.IGNORECASE):
        for key, quoted, plain in re.findall(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))", text):
            if key.lower().endswith("password"):
                found |= {value for value in (quoted, re.sub(r"\\(.)", r"\1", quoted), plain) if value}
    return found | {unquote(one) for one in found} | {unquote_plus(one) for one in found}


def spellings(secret: str) -> set[str]:
    """The secret as it stands in plain text, URLs, JSON, Python's repr and shell commands."""
    encoded = {quote(secret, ""), quote_plus(secret), quote(secret)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), one) for one in encoded}
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, *encoded, *lower, *quoted, shlex.quote(secret)} - {""}


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets, the longest first."""
    known = {form: len(secret) >= SHORTEST for secret in secrets for form in spellings(secret)}
    for form, anywhere in sorted(known.items(), key=lambda item: -len(item[0])):
        if anywhere:
            text = text.replace(form, MASK)
        elif form in text:
            stands = rf"(?<=[=:'\"]){re.escape(form)}(?=['\"@&;,)\s]|$)"
            text = re.sub(stands, MASK, text)
    return text


def mask_all(text: str, secrets: Iterable[str]) -> str:
    """Mask secrets that are known, and others by the form in which they stand."""
    for pattern, replacement in FORMS:
        text = pattern.sub(replacement, text)
    return mask(text, secrets)
