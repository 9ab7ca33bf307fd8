"""Claim: AUROC and average precision of 12 tasks x 4000 sequences are five times as fast as scikit-learn, and equal.

    python benchmarks/metrics.py --json metrics.json

Measured per task, as in the validation after every epoch. Scores are float32 logits; to create ties they are rounded to
eighths. The sides alternate.
"""

from __future__ import annotations

import numpy as np
from sides import alternate, begin, compare, finish
from sklearn.metrics import average_precision_score, roc_auc_score

from tuner.models.metrics import per_task

TASKS, SEQUENCES = 12, 4000


def main() -> None:
    parser, head = begin(str(__doc__), __file__, rounds=31)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (SEQUENCES, TASKS), dtype=np.uint8)
    free = (rng.normal(size=labels.shape) + labels).astype(np.float32)
    found = []
    for kind, scores in (("without ties", free), ("with ties", np.round(free * 8) / 8)):
        for name, theirs in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):

            def sklearn(theirs=theirs, scores=scores) -> np.ndarray:
                return theirs(labels, scores, average=None)

            def package(name=name, scores=scores) -> np.ndarray:
                return np.array(per_task(name, labels, scores).values)

            difference = float(np.abs(sklearn() - package()).max())
            print(f"\n{name} {kind}: largest difference {difference:.1e}")
            rows = compare(alternate({"scikit-learn": sklearn, "package": package}, options.rounds), "package")
            found.append({"score": name, "kind": kind, "largest_difference": difference, "sides": rows})
    finish(options.json, head, rows=found)


if __name__ == "__main__":
    main()
