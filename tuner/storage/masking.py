"""Masking secrets in a text, in every spelling in which programs print them.

A long secret is masked everywhere. A short one may be part of an ordinary word: it is masked only where the text
around it shows that it is a value, so that a password of one letter is not cut out of other words.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST = 6  # characters that a secret must have to be masked everywhere

_SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
_QUERY = re.compile(r"[?&;]\w*(?:password|passwd)=([^&;]*)", re.IGNORECASE)


KEPT = rf"\1{MASK}"  # the name of the secret stays

# Up to the last @, because a password may contain one.
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
    """Passwords in a URL, or in a libpq string of ``key=value`` pairs, as given and decoded.

    If a password contains an unencoded ``@``, ``/`` or space, it is read up to the last ``@``.
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
    """The secret as it appears in plain text, URLs, JSON, Python's repr and shell commands."""
    encoded = {quote(secret, ""), quote_plus(secret), quote(secret)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), one) for one in encoded}
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, *encoded, *lower, *quoted, shlex.quote(secret)} - {""}


def mask(text: str, secrets: Iterable[str]) -> str:
    """Mask these secrets, the longest first."""
    known = {form: len(secret) >= SHORTEST for secret in secrets for form in spellings(secret)}
    for form, anywhere in sorted(known.items(), key=lambda item: -len(item[0])):
        if anywhere:
            text = text.replace(form, MASK)
        elif form in text:
            stands = rf"(?<=[=:'\"]){re.escape(form)}(?=['\"@&;,)\s]|$)"
            text = re.sub(stands, MASK, text)
    return text


def mask_all(text: str, secrets: Iterable[str]) -> str:
    """Mask these secrets, and others that are recognised by their form."""
    for pattern, replacement in FORMS:
        text = pattern.sub(replacement, text)
    return mask(text, secrets)
