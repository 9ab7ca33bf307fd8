"""Claim: "better than every baseline" is said wrongly of any task in at most .05 of studies, however many tasks.

    python benchmarks/families.py tasks
    python benchmarks/families.py calls

tasks       studies whose predictor ranks no better than some baseline on every task: how often any task is called
            better by the tool's rule (every baseline, adjusted for the number of tasks), by the same rule without the
            adjustment, and by the previous one (the lead over the baseline with the best test AUROC alone)
calls       test sets whose recall and false-positive rate are known: how often the 95 % interval of the Matthews
            correlation and of the precision at 1 positive to 10 and to 100 negatives hold the truth

Everything is simulated, and judged by the functions that the tool itself uses.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tuner.models.decisions import precision_at, proportion_interval, score_decisions
from tuner.models.metrics import auroc
from tuner.results.predictor_scores import compare_task, family_confidence
from tuner.results.statement import Beside, stand


def tasks(draws: int) -> None:
    """Error rates of the statement of a family."""
    print(
        "| sequences a task | tasks | baselines as good, and others | any called better | not adjusted | previously |"
    )
    print("|---|---|---|---|---|---|")
    for n, count, equal, lower in ((120, 1, 1, 1), (120, 3, 1, 1), (120, 10, 1, 1), (120, 3, 3, 0)):
        rng, labels = np.random.default_rng(0), np.repeat([1, 0], n // 2)
        wrong = np.zeros(3)
        for _ in range(draws):
            found = np.zeros((count, 3), dtype=bool)
            for t in range(count):
                shared = rng.standard_normal(n) + 1.5 * labels
                ours = shared + 0.7 * rng.standard_normal(n)
                told = {f"equal {k}": shared + 0.7 * rng.standard_normal(n) for k in range(equal)}
                told |= {f"lower {k}": rng.standard_normal(n) + 0.3 * labels for k in range(lower)}
                for i, confidence in enumerate((family_confidence(count), 0.95)):
                    own, leads = compare_task(labels, ours, told, confidence)
                    ends = {name: (lead.low, lead.high) for name, lead in leads.items()}
                    found[t, i] = stand(own.low, ends).beside is Beside.BETTER
                best = max(told, key=lambda name: auroc(labels, told[name]))
                found[t, 2] = leads[best].low > 0
            wrong += found.any(axis=0)
        shown = " | ".join(f"{v:.3f}" for v in wrong / draws)
        print(f"| {n} | {count} | {equal}, {lower} | {shown} |", flush=True)


def calls(draws: int) -> None:
    """Coverage of the intervals of calls."""
    print("| positives | negatives | recall | false-positive rate | Matthews correlation | at 1 : 10 | at 1 : 100 |")
    print("|---|---|---|---|---|---|---|")
    for m, n, recall, rate in (
        (50, 50, 0.8, 0.1), (467, 514, 0.83, 0.15), (374, 405, 0.97, 0.01), (30, 300, 0.6, 0.05), (500, 500, 0.9, 0.002)
    ):  # fmt: skip
        rng, share = np.random.default_rng(0), (recall * m + rate * n) / (m + n)
        mcc = (recall - rate) * np.sqrt(m * n) / ((m + n) * np.sqrt(share * (1 - share)))
        truths = {ratio: recall / (recall + ratio * rate) for ratio in (10, 100)}
        held = np.zeros(3)
        for _ in range(draws):
            tp, fp = int(rng.binomial(m, recall)), int(rng.binomial(n, rate))
            p = np.concatenate([np.arange(m) < tp, np.arange(n) < fp]).astype(float)
            found = score_decisions(np.repeat([1, 0], [m, n]), p, 0.5).mcc
            held[0] += found is not None and found.low <= mcc <= found.high
            for i, (ratio, truth) in enumerate(truths.items()):
                at = precision_at(proportion_interval(tp, m), proportion_interval(fp, n), ratio)
                held[i + 1] += at is not None and at.low <= truth <= at.high
        print(f"| {m} | {n} | {recall} | {rate} | " + " | ".join(f"{v / draws:.3f}" for v in held) + " |", flush=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tasks", "calls"))
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    started = time.monotonic()
    {"tasks": tasks, "calls": calls}[options.what](options.draws)
    print(f"\n{options.draws} draws each, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
