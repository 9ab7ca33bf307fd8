"""Whatever a motif file holds: it is read, or refused with one clear error; never anything else.

``TUNER_FUZZ_EXAMPLES`` raises the number of examples; they are the same in each run.
"""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from test_motifs_formats import GOOD, MEME_HEADER, WRITTEN, hocomoco_pwm, jaspar_2016, records

from tuner.errors import MotifError
from tuner.motifs.compare import matchable
from tuner.motifs.formats import FORMATS, MotifFile, read_motif_file
from tuner.motifs.meme import Motif, check_ppm, read_meme, write_meme

EXAMPLES = int(os.environ.get("TUNER_FUZZ_EXAMPLES", "300"))
FUZZED = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip

# What files are made of, so that broken ones are nearly right.
TEXT = """MEME version 4
ALPHABET= ACGT
ALPHABET= ACGU
ALPHABET "DNA" DNA-LIKE
END ALPHABET
R = AG
MOTIF a b
MOTIF
MOTIF\ta
letter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0
letter-probability matrix:
letter-probability matrix: w= nsites= 0
letter-probability matrix: w= 1e400
log-odds matrix: w= 1
>a
>
>a\tb\t5.1\t-3\t0\tT:3.0(1%)
>a\t\t5
>x y z
A [ 1 2 3 ]
C [ 1 2 3 ]
G [ 1 2 3 ]
T [ 1 2 3 ]
A [ 1 2
A 1 2 3
C: 1 2 3
G|1 2 3
T 3 2 1
U [ 1 2 3 ]
A []
[ ]
AC  M1
ID  x
NA  y
P0 A C G T
PO\tT\tG\tC\tA
P0 A C G U
P0 A C
01 1 2 3 4 N
02 1 2 3 4
XX
//
Pos\tA\tC\tG\tT
1\t0.25\t0.25\t0.25\t0.25
2\t0.1\t0.2\t0.3\t0.4
TF Name\tx
Motif\tM1
Motif\t
<MEME>
<STREME>
</MEME>
<alphabet like='dna'>
<motif name='a' width='1' sites='x'>
</motif>
<pos A='1' C='0' G='0' T='0'/>
<pos A='1'/>
<probabilities>
</probabilities>
<alphabet_array>
</alphabet_array>
<value letter_id='A'>1
</value>
<!DOCTYPE x [<!ENTITY a 'b'>]>
&a;
<?xml version='1.0' encoding='utf-16'?>
# comment
URL http://x
Model\tx
{
[/red]
=HYPERLINK(1)"""
NUMBERS = """0.25 0.25 0.25 0.25
0.334 0.333 0.333 0.001
1 0 0 0
0 0 0 0
nan 1 0 0
-inf 0 0 0
1e308 1e308 1e308 1e308
5e-324 0 0 0
-1 0.5 0.2 0.1
1 2 3
1 2 3 4 5
1_0 2 3 4
\u0661 2 3 4
0x1 1 1 1
0,25 0,25 0,25 0,25"""
PIECES = st.sampled_from([*TEXT.split("\n"), *NUMBERS.split("\n"), "", " ", "\t", "\x1b[31m", "\u2028", "\x85", "\x0b"])
LINES = st.lists(PIECES | st.text(max_size=12), max_size=14).map("\n".join)
WHOLE = [writer() for writer, _, _ in WRITTEN.values()] + [hocomoco_pwm(), *GOOD.values(), MEME_HEADER + GOOD["meme"]]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A whole file with some lines left out, doubled, swapped, cut, or with a character changed."""
    lines = draw(st.sampled_from(WHOLE)).split("\n")[: draw(st.integers(1, 60))]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["cut", "drop", "double", "insert", "replace", "change"]))
        line = lines[at]
        place = draw(st.integers(0, max(0, len(line) - 1)))
        if how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "double":
            lines.insert(at, line)
        elif how == "insert":
            lines.insert(at, draw(PIECES))
        elif how == "cut":
            lines[at] = line[:place]
        elif how == "replace":
            lines[at] = draw(PIECES)
        else:
            lines[at] = line[:place] + draw(st.characters()) + line[place + 1 :]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def attempt(path: Path) -> MotifFile | MotifError:
    """What is read, or the error; any other exception is what these tests look for."""
    try:
        return read_motif_file(path)
    except MotifError as error:
        return error


def read(path: Path) -> MotifFile | None:
    """What is read, all of it valid, or None where it is refused in one line that names the file."""
    found = attempt(path)
    if isinstance(found, MotifError):
        assert path.name in str(found)
        assert "\n" not in str(found)
        return None
    assert found.format in FORMATS
    assert found.motifs
    identifiers = [motif.id for motif in found.motifs]
    assert len(set(identifiers)) == len(identifiers)
    for motif in found.motifs:
        assert motif.id
        assert (motif.id + motif.name).isprintable()
        np.testing.assert_array_equal(check_ppm(motif.ppm, motif.id).shape, motif.ppm.shape)
        assert abs(motif.ppm.sum(axis=0) - 1).max() < 1e-9
        assert motif.n_sites is None or 0 < motif.n_sites < np.inf
    assert all(re.match(rf"{re.escape(path.name)} line \d+: ", fault) and "\n" not in fault for fault in found.broken)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.meme"


@seed(15)
@FUZZED
@given(text=LINES)
def test_lines_of_any_format_in_any_order_are_read_or_refused(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read(path)


@seed(16)
@FUZZED
@given(text=damaged())
def test_damaged_files_are_read_or_refused_and_what_is_read_can_be_written_again(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = read(path)
    if found is not None:
        fitting, _ = matchable(found.motifs)
        write_meme(found.motifs, path)
        again = read_meme(path)
        assert [motif.id for motif in again] == [motif.id for motif in found.motifs]
        for motif, other in zip(found.motifs, again, strict=True):
            np.testing.assert_allclose(other.ppm, motif.ppm, atol=3e-6)
        assert len(fitting) <= len(again)


@seed(17)
@FUZZED
@given(
    content=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04", b">"]),
)
def test_bytes_of_any_kind_are_read_or_refused(path: Path, content: bytes, start: bytes) -> None:
    path.write_bytes(start + content)
    read(path)


WHOLE_GZIP = gzip.compress(jaspar_2016().encode(), mtime=0)


@seed(18)
@FUZZED
@given(at=st.integers(0, len(WHOLE_GZIP) - 1), value=st.integers(0, 255))
def test_a_compressed_file_with_one_changed_byte_is_read_or_refused(path: Path, at: int, value: int) -> None:
    content = bytearray(WHOLE_GZIP)
    content[at] = value
    path.write_bytes(content)
    read(path)


@seed(19)
@settings(FUZZED, max_examples=min(EXAMPLES, 1000))
@given(data=st.data())
def test_jaspar_files_of_any_counts_are_read_to_their_fractions(path: Path, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 12))
    column = st.lists(st.integers(0, 5000), min_size=4, max_size=4).filter(lambda c: sum(c) >= 2)
    counts = np.array(data.draw(st.lists(column, min_size=width, max_size=width)), dtype=float).T
    rows = [
        f"{base}  [{' '.join(f'{value:6.0f}' for value in row)} ]" for base, row in zip("ACGT", counts, strict=True)
    ]
    path.write_text(f">MA{width:04d}.1\tname of it\n" + "\n".join(rows) + "\n")
    (motif,) = read_motif_file(path).motifs
    assert (motif.id, motif.name, motif.n_sites) == (f"MA{width:04d}.1", "name of it", counts.sum(axis=0).max())
    np.testing.assert_allclose(motif.ppm, counts / counts.sum(axis=0), atol=1e-12)


def test_every_motif_of_pyjaspar_survives_the_round_trip(path: Path) -> None:
    motifs = [
        Motif(r.matrix_id, r.name, (m := np.array([r.counts[b] for b in "ACGT"])) / m.sum(axis=0)) for r in records()
    ]
    write_meme(motifs, path)
    for motif, other in zip(motifs, read_meme(path), strict=True):
        np.testing.assert_allclose(other.ppm, motif.ppm, atol=1e-6)
