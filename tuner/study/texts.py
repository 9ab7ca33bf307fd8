"""The texts of a study, its TOML and its space's, in the artifact store: what a worker elsewhere joins by.

They are artifacts of the study; their digests are an attribute of it. What comes back from the store is compared
with the digest and then parsed as TOML, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tuner.errors import StorageError, StudyError
from tuner.storage.artifacts import PREFIX, Artifacts, is_identifier
from tuner.storage.digests import BadFile, Digest
from tuner.storage.storage import FencedStorage
from tuner.study.plan import Plan
from tuner.study.toml import LIMIT

log = logging.getLogger("tuner.worker")

TEXTS = "tuner:texts"


@contextlib.contextmanager
def published(storage: FencedStorage, artifacts: Artifacts, plan: Plan) -> Iterator[Plan]:
    """Put the texts of a plan into the store, for the study that the block creates.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study will be.
    plan : Plan
        With its texts.

    Yields
    ------
    Plan
        To create the study from. Texts that no study took, because another process was first, are removed again;
        a study that has none yet takes them.

    Raises
    ------
    StorageError
        The store cannot be written: nothing was created.
    """
    there = attributes_of(storage, plan.name)
    if not plan.texts or TEXTS in there:
        _restore(artifacts, plan, there)
        yield plan
        return
    entries = artifacts.put({f"{kind}.toml": text for kind, text in plan.texts.items()})
    described = {
        kind: {"id": key.removeprefix(PREFIX), "sha256": hashlib.sha256(text).hexdigest()}
        for key, (kind, text) in zip(entries, plan.texts.items(), strict=True)
    }
    ours = {**entries, TEXTS: json.dumps(described)}
    try:
        yield replace(plan, attributes={**plan.attributes, **ours})
        stored = attributes_of(storage, plan.name)
        if stored and TEXTS not in stored:
            study_id = storage.get_study_id_from_name(plan.name)
            storage.update_attrs(study_id, lambda there: ({} if TEXTS in there else ours, None))
    finally:
        if attributes_of(storage, plan.name).get(TEXTS) != ours[TEXTS]:
            artifacts.discard(entries)


def _restore(artifacts: Artifacts, plan: Plan, attributes: Mapping[str, Any]) -> None:
    """Write the texts that the store has lost again, where this plan has them as they were."""
    described = described_texts(plan.name, attributes) if plan.texts else {}
    for kind, (identifier, sha256) in described.items():
        text = plan.texts.get(kind, b"")
        if hashlib.sha256(text).hexdigest() == sha256:
            try:
                artifacts.read(identifier, f"{kind}.toml", expected=Digest(sha256, len(text)))
            except BadFile as e:
                artifacts.restore(identifier, text)
                log.warning("%s: %s It was written again.", plan.name, e)


def fetch(artifacts: Artifacts, name: str, attributes: Mapping[str, Any]) -> dict[str, str]:
    """Read the texts of a study.

    Parameters
    ----------
    artifacts : Artifacts
        Where they are.
    name : str
        The study.
    attributes : mapping
        Its system attributes.

    Returns
    -------
    dict of str to str
        ``study`` and, if it has a file of its own, ``space``.

    Raises
    ------
    StudyError
        The study has no texts.
    StorageError
        The store has lost one, or it is not what the study was made with.
    """
    if TEXTS not in attributes:
        raise StudyError(
            f"{name} has no texts in the artifact store; run tuner run once where its files are, with the same "
            "--artifacts, and it will."
        )
    described = described_texts(name, attributes)
    return {kind: _fetch(artifacts, name, kind, *described[kind]) for kind in ("study", "space") if kind in described}


def described_texts(name: str, attributes: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Id and SHA-256 of each text of a study, by its system attributes.

    Raises
    ------
    StudyError
        The description is not what `published` writes.
    """
    try:
        described = {str(k): (str(v["id"]), str(v["sha256"])) for k, v in json.loads(attributes[TEXTS]).items()}
        if "study" not in described or not all(is_identifier(i) for i, _ in described.values()):
            raise ValueError
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as e:
        raise StudyError(f"{name}: the description of its texts is not what tuner run writes.") from e
    return described


def _fetch(artifacts: Artifacts, name: str, kind: str, identifier: str, digest: str) -> str:
    remedy = "tuner run where the study's files are, with the same --artifacts, writes it again."
    content = artifacts.read(identifier, f"{name}: {kind}.toml", LIMIT, remedy=remedy)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise StorageError(
            f"{artifacts.address}: {kind}.toml of {name} is not what the study was made with: SHA-256 "
            f"{found[:16]}..., expected {digest[:16]}.... {identifier} was changed or damaged; it is not used. {remedy}"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as e:
        raise StorageError(f"{artifacts.address}: {kind}.toml of {name} is not UTF-8 text; it is not used.") from e


def attributes_of(storage: FencedStorage, name: str) -> dict[str, Any]:
    """System attributes of a study; none where it does not exist."""
    try:
        return storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return {}
