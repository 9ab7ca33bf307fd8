"""Sequences as numbers: encoding, one-hot, strands, composition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import DataError
from tuner.genome.sequence import cpg, decode, encode, gc_content, one_hot, reverse_complement

sequences = st.integers(1, 40).flatmap(
    lambda length: st.lists(st.text("ACGTN", min_size=length, max_size=length), min_size=1, max_size=5)
)


@given(sequences)
def test_decoding_gives_the_encoded_text_back(texts):
    assert decode(encode(texts)) == texts


@given(sequences)
def test_one_hot_holds_one_base_per_position_and_none_at_n(texts):
    codes = encode(texts)
    hot = one_hot(codes)
    assert hot.shape == (len(texts), 4, len(texts[0]))
    known = hot.sum(dim=1).numpy()
    assert np.array_equal(known, (codes != 4).astype(np.float32))
    assert np.array_equal(hot.argmax(dim=1).numpy()[codes != 4], codes[codes != 4])


@given(sequences)
def test_the_other_strand_of_the_other_strand_is_the_first(texts):
    codes = encode(texts)
    assert np.array_equal(reverse_complement(reverse_complement(codes)), codes)


@given(sequences)
def test_flipping_one_hot_on_both_axes_is_the_reverse_complement(texts):
    codes = encode(texts)
    assert torch.equal(one_hot(codes).flip(1, 2), one_hot(reverse_complement(codes)))


@given(sequences)
def test_composition_is_the_same_on_both_strands(texts):
    codes = encode(texts)
    assert np.array_equal(gc_content(codes), gc_content(reverse_complement(codes)))
    assert np.array_equal(cpg(codes), cpg(reverse_complement(codes)))


def test_reverse_complement_reads_the_other_strand():
    assert decode(reverse_complement(encode(["AACGTN"]))) == ["NACGTT"]


def test_lower_case_rna_and_ambiguity_letters_are_read():
    assert decode(encode(["acgtun", "RYSWKM", "BDHVNA"])) == ["ACGTTN", "NNNNNN", "NNNNNA"]


@pytest.mark.parametrize("letter", ["X", "-", "5", " ", "é", "€"])
def test_a_character_that_is_no_nucleotide_is_named_with_its_place(letter):
    with pytest.raises(DataError, match=f"sequence 1: '{letter}' at position 2 is not a nucleotide"):
        encode(["ACGT", f"AC{letter}T"])


def test_sequences_of_two_lengths_are_refused():
    with pytest.raises(DataError, match="sequence 2 has 3 bases, sequence 0 has 4"):
        encode(["ACGT", "ACGT", "ACG"])


def test_one_hot_is_laid_out_channels_last_in_the_asked_type():
    hot = one_hot(encode(["ACGTA", "TTTTT"]), dtype=torch.bfloat16)
    assert hot.dtype == torch.bfloat16
    assert hot.stride() == (20, 1, 4)
    assert torch.equal(one_hot(torch.from_numpy(encode(["ACGTA", "TTTTT"]))), hot.float())


def test_gc_and_cpg_follow_their_definitions():
    codes = encode(["CGCGAATT", "CCGGNNNN", "AAAATTTT", "NNNNNNNN"])
    assert gc_content(codes).tolist() == [0.5, 1.0, 0.0, 0.0]
    # CpG x bases / (C x G): 2 x 8 / (2 x 2); 1 x 4 / (2 x 2), of the known bases only.
    assert cpg(codes).tolist() == [4.0, 1.0, 0.0, 0.0]
