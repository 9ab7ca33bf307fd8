"""Masking secrets in all output: known ones wherever they occur, others by their form."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from tuner.storage.masking import URL, mask_all, passwords_of

SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|CREDENTIAL", re.IGNORECASE)
PLACE_NAME = re.compile(r"_(FILE|PATH|DIR|URI|URL|NAME|EXPIRATION)$", re.IGNORECASE)  # names a place, not a secret


def secrets_of(environment: Mapping[str, str], words: Iterable[str]) -> frozenset[str]:
    """Find the secrets that this process was given.

    Parameters
    ----------
    environment : mapping of str to str
        Its secrets are the values of variables with such names, and passwords in URLs in any variable.
    words : iterable of str
        Command line; its secrets are passwords in URLs.

    Returns
    -------
    frozenset of str
        As given, and decoded if they were part of a URL.
    """
    found = {value for name, value in environment.items() if SECRET_NAME.search(name) and not PLACE_NAME.search(name)}
    for text in (*environment.values(), *words):
        found |= passwords_of(text) | passwords_of(text.partition("=")[2])  # --storage=URL
        for match in URL.finditer(text):
            found |= {match["password"], unquote(match["password"])}
    return frozenset(found - {""})


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """Mask secrets in a text.

    Parameters
    ----------
    text : str
        Any output.
    secrets : iterable of str, optional
        Known secrets; by default those of this process.
    """
    known = secrets_of(os.environ, sys.argv) if secrets is None else secrets
    return mask_all(text, known)
