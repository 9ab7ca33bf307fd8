"""``~`` and variables in the paths of a study file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.errors import DataError, StudyError
from tuner.search.restore import located
from tuner.study.file import check_study
from tuner.study.paths import expand_path, expand_paths

ENVIRONMENT = {"DATA": "/data/here", "EMPTY": "", "TILDE": "~"}


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("~/p.fa", f"{os.path.expanduser('~')}/p.fa"),
        ("$DATA/p.fa", "/data/here/p.fa"),
        ("${DATA}/p.fa", "/data/here/p.fa"),
        ("a/${DATA}b", "a//data/hereb"),
        ("$TILDE/p.fa", f"{os.path.expanduser('~')}/p.fa"),
        ("cost_5$.fa", "cost_5$.fa"),
        ("$5.fa", "$5.fa"),
        ("a~b.fa", "a~b.fa"),
        ("plain.fa", "plain.fa"),
    ],
)
def test_paths_are_expanded_as_a_shell_does(tmp_path, value, expanded):
    assert expand_path(value, ENVIRONMENT, tmp_path, "s.toml [data]: path") == expanded


@pytest.mark.parametrize("value", ["$NOWHERE/p.fa", "${NOWHERE}/p.fa", "$EMPTY/p.fa"])
def test_a_variable_that_is_not_set_is_named(tmp_path, value):
    with pytest.raises(StudyError, match=r"s\.toml \[data\]: path is .*, but the environment variable \w+ is not set"):
        expand_path(value, ENVIRONMENT, tmp_path, "s.toml [data]: path")


def test_a_home_of_nobody_is_named(tmp_path):
    with pytest.raises(StudyError, match="there is no home folder '~no-such-user'"):
        expand_path("~no-such-user/p.fa", {}, tmp_path, "s.toml [data]: path")


def test_a_file_that_has_just_this_name_is_meant(tmp_path):
    (tmp_path / "$DATA.fa").touch()
    assert expand_path("$DATA.fa", {}, tmp_path, "s.toml [data]: path") == "$DATA.fa"


def study(**data: str):
    return check_study({"name": "s", "data": data, "motifs": {"database": "$DATA/m.meme"}}, "s.toml")


def test_every_path_of_a_study_is_expanded(tmp_path):
    found = expand_paths(study(positives="$DATA/p.fa", negatives="${DATA}/n.fa"), ENVIRONMENT, tmp_path, "s.toml")
    assert (found.data.positives, found.data.negatives) == ("/data/here/p.fa", "/data/here/n.fa")
    assert found.motifs.database == "/data/here/m.meme"
    for key in ("path", "folder"):
        assert getattr(expand_paths(study(**{key: "$DATA/x"}), ENVIRONMENT, tmp_path, "s").data, key) == "/data/here/x"


def test_a_stored_study_takes_nobody_to_his_own_home(tmp_path):
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "p.tsv").touch()
    for value in ("~/p.tsv", "$HOME/p.tsv"):
        stored = check_study({"name": "s", "data": {"path": value}}, "s.toml")
        with pytest.raises(DataError, match="a path of another machine; such paths are not used"):
            located(stored, None, [tmp_path, Path.home()])
