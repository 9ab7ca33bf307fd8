"""Coordinates: the forms that programs write, and overlaps against a comparison of all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.fasta import read_fasta
from tuner.data.relatives import linked
from tuner.genome.coordinates import Interval, format_interval, overlapping, parse_interval


@pytest.mark.parametrize(
    ("header", "length", "expected"),
    [
        ("chr1:100-500", 400, Interval("chr1", 100, 500)),
        ("chr1:101-500", 400, Interval("chr1", 100, 500)),  # samtools faidx
        ("chr1:100-500", None, Interval("chr1", 100, 500)),
        ("chr1:100-500", 380, Interval("chr1", 100, 500)),  # cropped or padded: as in BED
        ("peak7::chr1:100-500(+)", 400, Interval("chr1", 100, 500, "+")),  # bedtools getfasta -name -s
        ("chr1:100-500(-)", 400, Interval("chr1", 100, 500, "-")),
        ("chr1:100-500(.)", 400, Interval("chr1", 100, 500)),
        ("chr1:100-500:-", 400, Interval("chr1", 100, 500, "-")),
        ("IV:1,234-2,234 some text", 1000, Interval("IV", 1234, 2234)),
        ("NC_000001.11:100..500", 400, Interval("NC_000001.11", 100, 500)),
        ("GL000008.2|chr4:0-7", 7, Interval("chr4", 0, 7)),
        (
            "hg38_dna range=chr1:101-500 5'pad=0 3'pad=0 strand=- repeatMasking=none",
            None,
            Interval("chr1", 100, 500, "-"),
        ),
        ("seq1", 400, None),
        ("s0 chr1:0", 400, None),
        ("chr1:500-100", 400, None),
        ("chr1:-100-500", 400, None),
        ("", 400, None),
    ],
)
def test_headers_are_read_as_their_program_meant_them(header, length, expected):
    assert parse_interval(header, length) == expected


@settings(max_examples=200)
@given(
    st.from_regex(r"[A-Za-z0-9_.]{1,12}", fullmatch=True),
    st.integers(0, 10**9),
    st.integers(1, 10**6),
    st.sampled_from("+-."),
)
def test_what_is_written_is_read_again(chrom, start, length, strand):
    interval = Interval(chrom, start, start + length, strand)
    assert parse_interval(format_interval(interval), length) == interval
    assert parse_interval("name::" + format_interval(interval), length) == interval


def test_real_headers_have_coordinates(data_dir: Path) -> None:
    klf1 = read_fasta(data_dir / "klf1_mm9" / "Klf1.fna")
    assert all(record.interval is not None and record.interval.end - record.interval.start == 500 for record in klf1)
    headers = (data_dir / "klf1_mm9" / "Klf1.fna").read_text().split(">")[1:]
    by_hand = [header.split(":")[0] for header in headers]
    assert [record.interval.chrom for record in klf1 if record.interval] == by_hand
    nfe2 = read_fasta(data_dir / "nfe2_gm12878" / "tr.fa")
    assert all(record.interval is not None for record in nfe2)
    nfe2_sizes = {record.interval.end - record.interval.start - len(record.codes) for record in nfe2 if record.interval}
    assert nfe2_sizes == {0}
    genes = read_fasta(data_dir / "arabidopsis" / "example.fasta_c1")
    assert genes[0].interval == Interval("Chr1", 12650862, 12651474, "-")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.tuples(st.sampled_from("ABC"), st.integers(0, 60), st.integers(1, 12))), max_size=40
    )
)
def test_overlaps_link_what_a_comparison_of_all_pairs_links(drawn):
    intervals = [None if d is None else Interval(d[0], d[1], d[1] + d[2]) for d in drawn]
    found = linked(np.arange(len(intervals)), *overlapping(intervals)) if intervals else np.zeros(0, int)
    by_hand = list(range(len(intervals)))
    for _ in intervals:
        for i, a in enumerate(intervals):
            for j, b in enumerate(intervals):
                if a and b and a.chrom == b.chrom and a.start < b.end and b.start < a.end:
                    by_hand[i] = by_hand[j] = min(by_hand[i], by_hand[j])
    assert found.tolist() == by_hand
