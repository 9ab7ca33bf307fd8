"""Claim: matrices of first-layer filters are built in no more time than by a plain loop, with equal results.

    python benchmarks/filters.py --json filters.json

The plain loop collects windows as text and counts letters with NumPy, one filter after another. The numbers of
sequences and filters and the kernel sizes vary. The sides alternate.
"""

from __future__ import annotations

import numpy as np
from sides import alternate, begin, compare, finish

from tuner.motifs.filters import FilterScan, build_filters, trim_ppm

LENGTH = 400
SIZES = [(200, 8, 7), (1000, 24, 19), (4000, 24, 19), (4000, 128, 19), (4000, 300, 11), (20000, 32, 19)]


def plain(codes: np.ndarray, scan: FilterScan, kernel: int, offset: int) -> list[np.ndarray]:
    """Build one matrix after another: rank, cut out windows, count."""
    seen: set[bytes] = set()
    distinct = np.array([i for i, row in enumerate(codes) if not (row.tobytes() in seen or seen.add(row.tobytes()))])
    most = min(500, len(distinct) // 4)
    found = []
    for f in range(scan.activation.shape[1]):
        ranked = sorted(distinct, key=lambda i: (-scan.activation[i, f], -scan.preactivation[i, f], i))
        chosen = [i for i in ranked if scan.activation[i, f] > scan.floor[f]][:most]
        counts = np.zeros((4, kernel + 1))
        for i in chosen:
            start = int(scan.position[i, f]) - offset - 1
            window = codes[i, max(start, 0) : start + kernel + 1]
            for base in range(4):
                counts[base, max(-start, 0) : max(-start, 0) + len(window)] += window == base
        total = counts.sum(axis=0)
        found.append(trim_ppm(np.where(total > 0, counts / np.maximum(total, 1), 0.25))[0])
    return found


def vectorised_counts(codes: np.ndarray, scan: FilterScan, kernel: int, offset: int) -> list[np.ndarray]:
    """Loop over filters with every step in NumPy."""
    distinct = np.sort(np.unique(codes, axis=0, return_index=True)[1])
    most = min(500, len(distinct) // 4)
    padded = np.pad(codes, ((0, 0), (kernel + offset + 2, kernel + offset + 2)), constant_values=4)
    hot = np.eye(5, 4)
    found = []
    for f in range(scan.activation.shape[1]):
        a, p = scan.activation[distinct, f], scan.preactivation[distinct, f]
        order = distinct[np.lexsort((-p, -a))]
        chosen = order[scan.activation[order, f] > scan.floor[f]][:most]
        columns = scan.position[chosen, f][:, None] + kernel + 1 + np.arange(kernel + 1)
        counts = hot[padded[chosen[:, None], columns]].sum(axis=0).T
        total = counts.sum(axis=0)
        found.append(trim_ppm(np.where(total > 0, counts / np.maximum(total, 1), 0.25))[0])
    return found


def main() -> None:
    parser, head = begin(str(__doc__), __file__, rounds=5)
    options = parser.parse_args()
    found = []
    for n, filters, kernel in SIZES:
        rng = np.random.default_rng(n + filters)
        codes = rng.integers(0, 4, (n, LENGTH), dtype=np.uint8)
        offset = (kernel - 1) // 2
        activation = np.maximum(rng.normal(size=(n, filters)), 0).astype(np.float32)
        position = rng.integers(offset + 1, offset + LENGTH - kernel, (n, filters))
        before = rng.normal(size=(n, filters)).astype(np.float32)
        scan = FilterScan(activation, before, position, np.zeros(filters, np.float32))
        for i, motif in enumerate(rng.integers(0, 4, (filters, kernel))):  # so that trimming leaves some columns
            for row in np.argsort(-activation[:, i])[: min(300, n // 8)]:
                start = position[row, i] - offset
                codes[row, start : start + kernel] = motif
        sides = {
            "loop over filters and sites": lambda a=(codes, scan, kernel, offset): plain(*a),
            "loop over filters in NumPy": lambda a=(codes, scan, kernel, offset): vectorised_counts(*a),
            "package": lambda a=(codes, scan, kernel, offset): [f.ppm for f in build_filters(*a[:2], a[2], a[3])],
        }
        results = [side() for side in sides.values()]
        equal = all(
            np.allclose(x, y, atol=1e-12) for other in results[:2] for x, y in zip(other, results[2], strict=True)
        )
        print(f"\n{n} sequences, {filters} filters of {kernel}: {'equal' if equal else 'DIFFERENT'} matrices")
        rows = compare(alternate(sides, options.rounds), "package")
        found.append({"sequences": n, "filters": filters, "kernel": kernel, "equal": equal, "sides": rows})
    finish(options.json, head, rows=found)


if __name__ == "__main__":
    main()
