"""Secrets leave the process in no output: known ones are replaced wherever they stand, others by their form."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
KEPT = rf"\1{MASK}"  # the name of the secret stays
SHORTEST = 6  # a shorter value of the environment would be cut out of ordinary words

SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|CREDENTIAL", re.IGNORECASE)
PLACE_NAME = re.compile(r"_(FILE|PATH|DIR|URI|URL|NAME|EXPIRATION)$", re.IGNORECASE)  # says where, holds no secret

# Up to the last @, because a password may hold one.
URL = re.compile(r"(?P<head>\b[\w+.-]+://[^\s:/@'\"]*):(?P<password>[^\s'\"]+)@")
FORMS = (
    (URL, rf"\g<head>:{MASK}@"),
    (
        re.compile(r"([?&;](?:\w*password|x-amz-(?:signature|credential|security-token))=)[^&\s'\"]+", re.I),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(password\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s,;&)]+)", re.I), KEPT),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
)


def secrets_of(environment: Mapping[str, str], words: Iterable[str]) -> frozenset[str]:
    """Find the secrets that this process was given.

    Parameters
    ----------
    environment : mapping of str to str
        Values of variables whose name says so, and passwords of URLs in any variable.
    words : iterable of str
        Command line; passwords of its URLs.

    Returns
    -------
    frozenset of str
        As given, and as they stand in URLs.
    """
    found = {value for name, value in environment.items() if SECRET_NAME.search(name) and not PLACE_NAME.search(name)}
    for text in (*environment.values(), *words):
        for match in URL.finditer(text):
            found |= {match["password"], unquote(match["password"])}
    return frozenset(
        form for secret in found if len(secret) >= SHORTEST for form in (secret, quote(secret, ""), quote_plus(secret))
    )


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """Mask secrets in a text.

    Parameters
    ----------
    text : str
        Any output.
    secrets : iterable of str, optional
        Known ones; without them those of this process.
    """
    known = secrets_of(os.environ, sys.argv) if secrets is None else secrets
    for pattern, replacement in FORMS:
        text = pattern.sub(replacement, text)
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
