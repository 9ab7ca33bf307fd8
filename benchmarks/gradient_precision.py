"""Claim: float32 gradients agree with float64, because the statistics of batch norm are summed by blocks.

    python benchmarks/gradient_precision.py

Compares gradients of one ResidualBind batch, without dropout, with those in float64 for three implementations: the
package, the package with torch's batch norm on channels-last memory, and plain torch.nn layers on contiguous memory.
Also counts the elements at which the state of a ReLU, or the winner of a pool, differs from that in float64.
"""

from __future__ import annotations

from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_step import BATCH, data, network, plain_network

from tuner.models.layers import BatchNorm1d, MaxPool1d


def torch_norm(layer: BatchNorm1d, x: Tensor) -> Tensor:
    if x.dim() == 2:
        return F.batch_norm(x, None, None, layer.weight, layer.bias, True, 0.01, layer.eps)
    return F.batch_norm(x.unsqueeze(2), None, None, layer.weight, layer.bias, True, 0.01, layer.eps).squeeze(2)


def gradients(kind: torch.dtype, plain: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    split = data("residualbind")
    x = F.one_hot(torch.from_numpy(split.codes[:BATCH]).long(), 4).transpose(1, 2).contiguous().to(kind)
    model: nn.Module = network("residualbind")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model = (plain_network(model) if plain else model).to(kind).train()
    chosen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, args, out: chosen.append(out > 0))
        elif isinstance(module, MaxPool1d):
            module.register_forward_hook(
                lambda m, args, out: chosen.append(
                    F.max_pool1d(args[0].contiguous(), m.kernel_size, ceil_mode=m.ceil_mode, return_indices=True)[1]
                )
            )
    labels = torch.from_numpy(split.labels[:BATCH]).to(kind)
    F.binary_cross_entropy_with_logits(model(x), labels).backward()
    return [p.grad.double() for p in model.parameters() if p.grad is not None], chosen


def main() -> None:
    torch.set_num_threads(1)
    exact, at = gradients(torch.float64)
    scale = max(float(g.abs().max()) for g in exact)
    sides = {"package": gradients(torch.float32)}
    with patch.object(BatchNorm1d, "forward", torch_norm):
        sides["package, torch's batch norm"] = gradients(torch.float32)
    sides["plain"] = gradients(torch.float32, plain=True)
    for name, (found, chosen) in sides.items():
        error = max(float((a - b).abs().max()) for a, b in zip(found, exact, strict=True)) / scale
        words = f"{name}: error {error:.1e} of the largest gradient"
        if len(chosen) == len(at):
            switched = sum(int((a != b).sum()) for a, b in zip(chosen, at, strict=True))
            words += f"; {switched} of {sum(a.numel() for a in at)} choices differ"
        print(words, flush=True)


if __name__ == "__main__":
    main()
