"""A report's words come from its numbers: what praises one model doubts another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from report_example import IRF, bare, irf1, model, patterns, predictor, shuffled

from tuner.models.intervals import Interval
from tuner.report import data as d
from tuner.report import numbers, words
from tuner.report.caution import cautions
from tuner.report.data import BaselineRow, Null, SplitInfo
from tuner.report.evidence import evidence
from tuner.report.families import merge_families, order_filters
from tuner.report.notes import summary, trial_note
from tuner.report.page import render
from tuner.report.probabilities import share
from tuner.results import words as verdicts
from tuner.results.confirmation import Standing
from tuner.results.verdict import Composition, composition

pytestmark = pytest.mark.slow


def row(lead: float, low: float, high: float) -> BaselineRow:
    return BaselineRow(name="6-mer", valid_auroc=0.8, test_auroc=0.8, lead=lead, low=low, high=high)


def test_a_model_with_a_motif_is_said_to_show_it() -> None:
    brief = words.brief(irf1())
    assert brief.headline == (
        "Trial 25 predicts IRF1 better than every baseline (AUROC 0.987, ensemble of 5 models), and shows the IRF7 "
        "motif, above the null (by chance in 1 of 2)."
    )
    asked, prediction, motif = (text for _, text in brief.parts)
    assert "400 bp" in asked
    assert "chosen before the test split was opened" in asked
    assert (
        "the ensemble of 5 models reaches AUROC 0.987 (95 % interval 0.979 to 0.995) and average precision 0.986 ("
        in (prediction)
    )
    assert "; its single models reach 0.985 in the mean." in prediction
    assert (
        "It is better than chance and every baseline: ahead of the best single motif (PWM) (+0.025, 95 % interval "
        "+0.016 to +0.034), which reaches 0.963." in prediction
    )
    assert (
        "Composition explains little: GC content alone reaches AUROC 0.636 (95 % interval about 0.60 to 0.67"
        in prediction
    )
    assert "MA0772.2, E = 2 × 10⁻⁸) with 412 seqlets in 374 sequences: above the null" in motif
    assert "has 31 seqlets" in motif
    assert f"show {IRF} in every one of 5 retrained models" in motif


def test_the_same_words_deny_it_to_a_label_shuffled_model() -> None:
    brief = words.brief(shuffled())
    assert brief.headline == (
        "Trial 25 does not predict IRF1 better than chance (AUROC 0.498, ensemble of 5 models), and shows no pattern "
        "above the null."
    )
    _, prediction, motif = (text for _, text in brief.parts)
    assert "not distinguishable from the best single motif (PWM)" in prediction
    assert "No pattern is above the null: the largest has 22 seqlets" in motif
    assert "None of 32 first-layer filters matches a known motif" in motif


def test_a_report_without_its_stages_says_what_is_missing() -> None:
    text = " ".join(part for _, part in words.brief(bare()).parts)
    assert "The test split was not opened" in text
    assert "First-layer filters were not examined" in text
    assert "chosen by the search alone, without retraining" in text


def examined(**changes: Any) -> d.ModelReport:
    first = model()
    assert first.test is not None
    return replace(first, test=replace(first.test, **changes))


def test_every_baseline_has_to_be_left_behind_not_only_the_best() -> None:
    """The lead over the best baseline is above 0, that over a lower one is not: it varies more."""
    known = model().test
    assert known is not None
    best, second, last = known.baselines
    wide = replace(second, lead=0.105, low=-0.01, high=0.22, standing=Standing.OPEN)
    one = examined(baselines=(best, wide, last))
    assert words.headline(replace(irf1(), models=(one,))).startswith(
        "Trial 25 predicts IRF1 (AUROC 0.987, ensemble of 5 models), not distinguishable from 6-mer logistic regression"
    )
    assert words.compared(one, irf1().data)[0].startswith(
        "It is not distinguishable from 6-mer logistic regression (+0.105, 95 %"
    )
    behind = replace(last, lead=-0.02, low=-0.03, high=-0.01, standing=Standing.BEHIND)
    worse = examined(baselines=(best, wide, behind))
    assert "predicts IRF1, but worse than GC content (AUROC 0.987, ens" in words.headline(
        replace(irf1(), models=(worse,))
    )


def test_a_single_model_is_no_ensemble() -> None:
    known = predictor(0.985, models=1, gain=0.0)
    rows = tuple(replace(b, mean_lead=None, mean_low=None, mean_high=None) for b in irf1().baselines)
    one = examined(models=1, per_model=(0.985,), ensemble=0.985, predictor=known, baselines=rows)
    data = replace(irf1(), models=(one,))
    assert words.headline(data).startswith("Trial 25 predicts IRF1 better than every baseline (AUROC 0.985), and")
    assert "it reaches AUROC 0.985 (95 % interval 0.977 to 0.993) and average precision" in words.performance(one)
    for text in (*(t for _, t in words.brief(data).parts), summary(data), trial_note(data, one), render(data)):
        assert "nsemble" not in text


def test_results_of_earlier_versions_lead_with_the_mean_of_the_models() -> None:
    old = examined(predictor=None)
    data = replace(irf1(), models=(old,))
    assert "better than every baseline (AUROC 0.985, mean of 5 models), and" in words.headline(data)
    assert "the mean of 5 models reaches AUROC 0.985 (95 % interval 0.975 to 0.993)" in words.performance(old)
    assert words.probabilities(old, "IRF1") == []
    page = render(data)
    assert "AUROC of the mean logit" in page
    assert "Probabilities" not in page


def test_probabilities_are_worded_with_intervals_and_the_precision_of_a_genome() -> None:
    one = model()
    assert one.test is not None
    assert one.test.predictor is not None
    row = one.test.predictor.tasks["IRF1"].decisions
    (text,) = words.probabilities(one, "IRF1")
    assert text.startswith(f"The calibrated probabilities have Brier score {row.brier.estimate:.3f} (")
    assert "the base rate alone 0.250)" in text
    assert row.recall is not None
    assert row.precision is not None
    assert f"{row.recall.estimate:.0%}".replace("%", " %") in text
    rare = row.precision_at["1:100"]
    assert rare is not None
    assert rare.estimate < row.precision.estimate
    assert f"at 1 positive to 100 negatives {share(rare)} would be right." in text


def test_several_tasks_are_counted_with_adjusted_intervals() -> None:
    names = ("HepG2", "H1hESC", "K562")
    known = predictor(tasks=names)
    row = known.tasks["K562"]
    # Ahead of each baseline by its own interval, but not by the one that is adjusted for three tasks.
    near = Interval(0.01, 0.002, 0.018, 0.004)
    close = row._replace(
        leads={**row.leads, "6-mer": near}, leads_adjusted={**row.leads_adjusted, "6-mer": near._replace(low=-0.001)}
    )
    known = known._replace(tasks={**known.tasks, "K562": close})
    one = examined(predictor=known, per_task=dict.fromkeys(names, 0.985))
    info = replace(irf1().data, tasks=names, task="HepG2")
    data = replace(irf1(), models=(one,), data=info)
    assert words.headline(data).startswith(
        "Trial 25 predicts 2 of 3 tasks better than every baseline, adjusted for 3 tasks (mean AUROC 0.987, ensemble "
    )
    prediction = words.brief(data).parts[1][1]
    family = (
        "Better than chance and every baseline on 2 of 3 tasks, adjusted for 3 tasks: HepG2 and H1hESC; not on K562."
    )
    baselines = one.test.baselines if one.test is not None else ()
    warned = cautions(data.study, info, True, data.selection, [one], baselines, data.shuffled, None, 1, [])
    for text in (prediction, trial_note(data, one), render(data), " ".join(warned)):
        assert family in text
    assert "not distinguishable from 6-mer logistic regression" in render(data)
    assert (
        "By the mean of the tasks it is better than chance and every baseline: ahead of the best single" in prediction
    )
    assert "The calibrated probabilities of HepG2 have Brier" in prediction


def test_a_report_without_models_is_worded() -> None:
    assert words.brief(replace(irf1(), models=())).headline == "No model is reported."


@pytest.mark.parametrize(
    ("lead", "low", "high", "said"),
    [
        (0.03, 0.01, 0.05, "ahead of"),
        (-0.03, -0.05, -0.01, "behind"),
        (0.03, -0.01, 0.07, "not distinguishable from"),
        (0.0, 0.0, 0.0, "not distinguishable from"),
    ],
)
def test_a_lead_whose_interval_holds_zero_is_none(lead: float, low: float, high: float, said: str) -> None:
    assert words.comparison(row(lead, low, high)).startswith(f"{said} 6-mer logistic regression")


def test_a_pattern_counts_only_above_the_null() -> None:
    below = tuple(replace(p, above_null=False) for p in patterns())
    unknown = tuple(replace(p, above_null=None) for p in patterns())
    lonely = tuple(replace(p, match=None) for p in patterns())
    kinds = {
        evidence(model(patterns=given)).kind: words.pattern_sentence(model(patterns=given))
        for given in (patterns(), below, unknown, lonely, ())
    }
    assert list(kinds) == ["above null", "below null", "no null", "unmatched", "filter"]
    assert kinds["no null"].count("is not known") == 1
    assert "candidate for a novel motif" in kinds["unmatched"]
    assert "above the null (" in kinds["above null"]
    assert all(
        "above the null (" not in text for kind, text in kinds.items() if kind not in ("above null", "unmatched")
    )


def test_a_weak_match_is_no_motif_but_is_named() -> None:
    only = replace(patterns()[1], above_null=True)
    alone = model(patterns=(only,), filters=())
    assert evidence(alone).kind == "unmatched"  # E = .4
    assert only.match is not None
    assert f"the nearest is {only.match.name} (E = 0.4): a candidate" in words.pattern_sentence(alone)
    assert "that no known motif matches" in words.headline(replace(irf1(), models=(alone,)))


def test_a_pattern_that_just_misses_a_motif_of_the_filters_is_no_novelty() -> None:
    hit = next(f for f in model().filters if f.significant)
    only = replace(patterns()[1], above_null=True)
    assert only.match is not None
    near = replace(only, match=replace(only.match, id=hit.target or "", name=hit.target_name or ""))
    both = model(patterns=(near,))
    said = words.pattern_sentence(both)
    assert "which a first-layer filter matches" in said
    assert "novel" not in said
    headline = words.headline(replace(irf1(), models=(both,)))
    assert "shows a pattern above the null (by chance in 1 of 2) and has" in headline


def test_a_null_without_patterns_is_a_null() -> None:
    assert words.null_words(model(null=Null())) == (
        "one network trained on shuffled labels has no pattern, which chance alone exceeds in 1 of 2 cases"
    )
    assert words.null_words(model(null=None)) == "no null was made"


def test_refused_contributions_show_no_motif() -> None:
    assert "refused, so no motif was looked for" in words.pattern_sentence(model(refused="They miss 4 %.", patterns=()))


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (0.0, "< 10⁻³⁰⁰"), (2.1e-8, "2 × 10⁻⁸"), (1e-6, "10⁻⁶"), (0.0066, "0.0066"), (0.4, "0.4"),
     (12.3, "12"), (321.4, "321"), (4000.0, "4 × 10³")],
)  # fmt: skip
def test_e_values_are_written_as_people_do(value: float | None, written: str) -> None:
    assert numbers.scientific(value) == written


def test_numbers_have_a_true_minus_and_shares_never_vanish() -> None:
    assert numbers.interval(-0.01, 0.02, signed=True) == "−0.010 to +0.020"
    assert numbers.percent(0.00001, 2) == "< 0.01 %"
    assert numbers.percent(0.0) == "0 %"
    assert numbers.count(1, "copy", "copies") == "1 copy"
    assert numbers.count(3431, "sequence") == "3,431 sequences"


# ------------------------------------------------------------------ families, order


def test_what_speaks_for_one_family_is_one_row() -> None:
    first, *rest = merge_families(model())
    assert first.name == IRF
    assert [f.filter for f in first.filters] == [12, 24, 22, 27, 23]  # by E-value
    assert [p.name for p in first.patterns] == ["pos.0"]
    assert first.e_value == 2.1e-8
    assert first.above_null is True
    assert first.models == 5
    assert first.marginal is not None
    assert first.marginal.effect == 2.31
    assert [r.above_null for r in rest] == [None]  # matched filters alone, no pattern


def test_filters_are_read_matched_candidates_weak_dead() -> None:
    groups = order_filters(model())
    assert [kind for kind, _ in groups] == ["matched", "candidate", "dead"]
    matched = dict(groups)["matched"]
    assert [f.e_value for f in matched] == sorted(f.e_value for f in matched if f.e_value is not None)
    assert sorted(f.filter for _, rows in groups for f in rows) == list(range(32))
    assert [f.filter for f in dict(groups)["dead"]] == [17, 29]


def test_what_composition_alone_reaches_is_a_warning_only_where_its_interval_leaves_chance_out() -> None:
    whole = irf1()
    tested = replace(row(0.0, 0.0, 0.0), name="gc", test_auroc=0.7)

    def warned(sequences: int, composition: Composition | None = None) -> tuple[str, ...]:
        splits = {**whole.data.splits, "test": SplitInfo(sequences=sequences, positives=sequences // 2)}
        return cautions(
            whole.study, replace(whole.data, splits=splits), True, whole.selection, whole.models, [tested],
            whole.shuffled, composition, 1, [],
        )  # fmt: skip

    # Hanley & McNeil 1982 at .7 of 500 + 500: standard error .016.
    assert "GC content alone reaches AUROC 0.70 on test (95 % interval about 0.67 to 0.73)." in warned(1000)
    assert not [text for text in warned(10) if text.startswith("GC content alone")]
    for auroc, confounded in ((0.9, True), (0.6, False)):
        found = composition({"gc": [auroc]}, 0.95, None, (500, 500), split="test")
        assert (f"On test: {verdicts.composition(found)}" in warned(1000, found)) == confounded


def test_the_studys_own_target_is_one_planned_comparison() -> None:
    """ZBED2's largest pattern: p = 3.2e-5 against its motif, which is E = .032 of 993."""
    match = d.MotifMatched(id="MA1971.2", name="ZBED2", family=None, e_value=0.032)
    first = replace(patterns()[0], match=match, seqlets=530, above_null=True)
    alone = model(patterns=(first,), filters=(), ppms={})
    assert evidence(alone).kind == "unmatched"
    assert "resembles no known motif" in words.pattern_sentence(alone)
    target = d.TargetRow(
        family="ZBED2", source="pattern", label=first.name, id="MA1971.2", name="ZBED2", motif_family=None,
        p_value=0.032 / 993, corrected=2 * 0.032 / 993, compared=2, e_value=0.032, level=0.01,
        matched=True,
    )  # fmt: skip
    named = replace(first, target=target)
    asked = model(patterns=(named,), filters=(), ppms={}, targets=(target,))
    assert (evidence(asked).kind, evidence(asked).name) == ("above null", "ZBED2")
    said = words.pattern_sentence(asked)
    assert (
        "the study's own target: p = 6 × 10⁻⁵ corrected for 2 planned comparisons, E = 0.032 in the whole database"
    ) in said
    assert "resembles no known motif" not in said
    # The best match of the pattern is another motif: the named one is found all the same.
    other = replace(named, match=d.MotifMatched(id="MA0001.1", name="OTHER", family=None, e_value=0.02))
    assert evidence(model(patterns=(other,), filters=(), ppms={})).name == "ZBED2"
    [sentence] = words.target_sentences(asked)
    assert sentence == (
        "The study's own target ZBED2, a planned comparison: pattern pos.0 (530 seqlets) matches ZBED2 (MA1971.2), "
        "p = 6 × 10⁻⁵ corrected for 2 planned comparisons, and is above the null (by chance in 1 of 2)."
    )
    assert "and shows the ZBED2 motif, above the null" in words.headline(replace(irf1(), models=(asked,)))
    # A family of several motifs: the headline names what the study asked for, and the member that is nearest.
    several = replace(
        named, match=replace(match, name="STAT1::STAT2", e_value=1e-9), target=replace(target, family="IRF")
    )
    assert "and shows the motif of the study's target IRF (nearest: STAT1::STAT2), above the null" in words.headline(
        replace(irf1(), models=(model(patterns=(several,)),))
    )
    below = model(patterns=(replace(named, above_null=False),), targets=(target,))
    assert "is not above the null, so it shows nothing" in words.target_sentences(below)[0]
    assert evidence(below).kind == "below null"
    # Two hundred named motifs are two hundred comparisons.
    lost = replace(target, compared=400, corrected=400 * 0.032 / 993, matched=False)
    many = model(patterns=(replace(first, target=lost),), filters=(), ppms={}, targets=(lost,))
    assert evidence(many).kind == "unmatched"
    assert "no pattern matches it (nearest: pos.0, p = 0.013" in words.target_sentences(many)[0]


def test_agreement_between_models_is_said_where_there_are_several() -> None:
    assert words.consensus_words(model()) == (
        "The contributions of two of the 5 models by themselves correlate with r = 0.89 in the median over 374 "
        "sequences (above 0.76 in 9 of 10); shown is their mean."
    )
    assert words.consensus_words(model(consensus=None)) == ""


def test_every_mark_says_how_often_chance_is_above_the_null() -> None:
    five = model(null=Null(seqlets=(31, 24), networks=5, chance=1 / 6))
    assert words.headline(replace(irf1(), models=(five,))).endswith("above the null (by chance in 1 of 6).")
    assert words.null_words(five) == (
        "the largest of 5 networks trained on shuffled labels has 31 seqlets, "
        "which chance alone exceeds in 1 of 6 cases"
    )
    none = model(null=Null(networks=0, chance=None, words="No null: it diverged."))
    assert words.chance_words(none.null) == ""


def test_a_pattern_below_the_null_shows_no_motif_however_well_it_matches() -> None:
    good = patterns()[0]
    assert words.pattern_match(good).startswith("Matches IRF7 (MA0772.2")
    below = replace(good, above_null=False)
    assert words.pattern_match(below).startswith("Not above the null, so it shows no motif; resembles IRF7")
    assert words.pattern_match(replace(good, above_null=None)).startswith("Resembles, without a null")
    families = merge_families(model(patterns=(below,), filters=()))
    assert families == ()


def test_matches_of_filters_are_said_with_their_chance() -> None:
    from tuner.motifs.chance import at_least, chance_rate

    # 32 gated filters, of which 1 in 62 matches by chance: at least one in 40 % of networks.
    assert at_least(1, 32, 1 / 62.6) == pytest.approx(0.40, abs=0.005)
    assert at_least(1, 48, 0.0229) == pytest.approx(1 - (1 - 0.0229) ** 48)
    assert at_least(2, 3, 0.5) == pytest.approx(0.5)  # HHT, HTH, THH, HHH of eight
    # No match in 20 permutations of 32 filters is no rate of zero.
    assert chance_rate(0.0, 32, 32) == pytest.approx(1.5 / 641)
    chance = d.FilterChance(tested=20, rate=0.02, one=0.332, as_many=0.0004)
    hits = sum(f.significant for f in model().filters)
    said = words.filter_sentence(model(filter_chance=chance), d.Shuffled())
    assert f"{hits} of 32 first-layer filters match a known motif" in said
    assert "of 20 informative filters without a motif at least one does so by chance in 33 % of networks" in said
    assert f"at least {hits} in < 0.1 %" in said
    both = words.shuffled_words(
        d.Shuffled(match_fractions=(0.0, 0.02), composition_match_fractions=(0.1,), aurocs=(0.5, 0.5))
    )
    assert "2 networks trained on shuffled labels, 1.0 % of the filters do" in both
    assert "1 network trained on composition alone, 10.0 % of the filters do" in both
