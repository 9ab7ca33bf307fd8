"""Time of prediction with five networks, both strands, beside a loop written by hand and beside tangermeme.

Every row compares two sides, each in a process of its own with one thread, that take turns:

- prediction: `tuner.predictor.ensemble.member_logits` and, for each network, batches of 256 one-hot float32 sequences,
  forward on both strands, mean. The loop calls the package's own networks, whose layers are fast already.
- ism: all single mutants, `tuner.predictor.ism.mutate` and `tangermeme.saturation_mutagenesis`.
- variants: reference and alternative alleles of many sequences, `Predictor.logits` and
  `tangermeme.variant_effect.substitution_effect`.

It prints medians of CPU time, how many times faster the package is (quartiles of the ratios per round), and the
largest difference of logits divided by the largest logit. Networks have fresh weights.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import numpy as np
from sides import begin, compare, finish

NETWORKS = 5
LENGTHS = {"residualbind": 200, "cnn": 200, "cnn_deep": 200, "hw4": 101, "deepdife": 600}
made: dict[str, Any] = {}


def members(architecture: str) -> list[Any]:
    """Five networks, made once for each process."""
    if architecture not in made:
        import torch

        from tuner.models.architectures import build_model
        from tuner.predictor.ensemble import Member

        torch.set_num_threads(1)
        made[architecture] = [
            Member(str(seed), build_model({"architecture": architecture}, n_tasks=1, length=LENGTHS[architecture],
                                          seed=seed).eval(), {}, True)
            for seed in range(NETWORKS)
        ]  # fmt: skip
    found: list[Any] = made[architecture]
    return found


def sequences(n: int, length: int) -> Any:
    """Random codes."""
    return np.random.default_rng(0).integers(0, 4, (n, length)).astype(np.uint8)


def prediction(side: str, architecture: str, n: int) -> Any:
    """Logits of the networks, shape=(networks, n)."""
    import torch

    from tuner.genome.sequence import one_hot
    from tuner.predictor.ensemble import member_logits

    codes = sequences(n, LENGTHS[architecture])
    if side == "package":
        return member_logits(members(architecture), codes, "cpu")[..., 0]
    each = []
    with torch.no_grad():
        for member in members(architecture):
            parts = []
            for start in range(0, n, 256):
                x = one_hot(torch.from_numpy(codes[start : start + 256]))
                parts.append((member.network(x) + member.network(x.flip(1, 2))) / 2)
            each.append(torch.cat(parts)[:, 0].numpy())
    return np.stack(each)


def ism(side: str, architecture: str, n: int) -> Any:
    """Changes of the logit by all single mutants, mean of the networks, shape=(n, 4, length)."""
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    from tuner.genome.sequence import one_hot
    from tuner.predictor.ensemble import Ensemble
    from tuner.predictor.ism import mutate

    codes = sequences(n, LENGTHS[architecture])
    if side == "package":
        return mutate(members(architecture), codes, codes < 4, [0], "cpu").mean[:, 0]
    model = Ensemble(members(architecture))
    before, after = saturation_mutagenesis(model, one_hot(codes), raw_outputs=True, device="cpu", batch_size=256)
    return (after - before[:, None, None])[..., 0].numpy()


def variants(side: str, architecture: str, n: int) -> Any:
    """Logits of both alleles, mean of the networks, shape=(2, n)."""
    import torch
    from tangermeme.variant_effect import substitution_effect

    from tuner.genome.sequence import one_hot
    from tuner.predictor.ensemble import Ensemble, member_logits

    codes = sequences(n, LENGTHS[architecture])
    place, middle = np.arange(n), codes.shape[1] // 2
    base = (codes[:, middle] + 1) % 4
    if side == "package":
        other = codes.copy()
        other[:, middle] = base
        return member_logits(members(architecture), np.concatenate([codes, other]), "cpu")[..., 0].mean(0).reshape(2, n)
    changes = torch.from_numpy(np.stack([place, np.full(n, middle), base], axis=1).astype(np.int64))
    both = substitution_effect(
        Ensemble(members(architecture)), one_hot(codes).contiguous(), changes, device="cpu", batch_size=256
    )
    return np.stack([part[:, 0].numpy() for part in both])


ROWS = {"prediction": (prediction, 512), "ism": (ism, 2), "variants": (variants, 256)}
"""Name -> function of a side, and number of sequences."""


def timed(row: str, side: str, architecture: str) -> tuple[float, Any]:
    """CPU seconds and result, in the process of a side."""
    function, n = ROWS[row]
    members(architecture)
    started = time.process_time()
    found = function(side, architecture, n)
    return time.process_time() - started, found


def main() -> None:
    parser, head = begin(__doc__ or "", __file__, 7)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--architectures", nargs="+", default=list(LENGTHS), choices=LENGTHS)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    found = []
    with spawn.Pool(1) as first, spawn.Pool(1) as second:
        pools = {"package": first, "plain loop or tangermeme": second}
        for row in given.rows:
            for architecture in given.architectures:
                results = {side: pool.apply(timed, (row, side, architecture))[1] for side, pool in pools.items()}
                ours, theirs = results.values()
                print(f"{row}, {architecture}: difference {np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}")
                seconds: dict[str, list[float]] = {side: [] for side in pools}
                for _ in range(given.rounds):
                    for side, pool in pools.items():
                        seconds[side].append(pool.apply(timed, (row, side, architecture))[0])
                found.append({"row": row, "architecture": architecture, "sides": compare(seconds, "package")})
    finish(given.json, head, found=found)


if __name__ == "__main__":
    main()
