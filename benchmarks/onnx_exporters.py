"""What PyTorch's two ONNX exporters cost for ensembles on both strands: python benchmarks/onnx_exporters.py.

Claim: tracing is at least ten times as fast as torch.export, and its graphs are no larger. Both are tried in
onnxruntime as `tuner export --onnx` tries them; the last columns say how many sequences a second torch and onnxruntime
score on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch

from tuner.genome.sequence import one_hot
from tuner.models.architectures import build_model
from tuner.models.calibration import THRESHOLD, Calibration
from tuner.predictor.ensemble import Member
from tuner.predictor.onnx_graph import EXPORTERS, INPUT, Outputs, check_graph
from tuner.predictor.predictor import Predictor
from tuner.predictor.reference import Reference

CASES = (("hw4", 101, 2), ("cnn", 200, 5), ("residualbind", 200, 2))
SEQUENCES = 256


def ensemble(architecture: str, length: int, networks: int) -> Predictor:
    """Fresh networks; their weights change neither time nor size."""
    settings = {"architecture": architecture}
    members = tuple(
        Member(f"seed {i}", build_model(settings, n_tasks=1, length=length, seed=i).eval(), settings, True)
        for i in range(networks)
    )
    calibration = Calibration((1.0,), (0.0,), (THRESHOLD,), (1,), (1,))
    return Predictor(members, ("bound",), length, calibration, (Reference.of([0, 1], [0.0, 1.0]),))


def rate(run: Callable[[], object]) -> str:
    """Sequences a second, after one run that does not count."""
    run()
    start = time.perf_counter()
    run()
    return f"{SEQUENCES / (time.perf_counter() - start):.0f}"


def measure(architecture: str, length: int, networks: int) -> list[str]:
    """Cells of one row."""
    predictor = ensemble(architecture, length, networks)
    outputs, cells, graph = Outputs(predictor), [], b""
    for export in EXPORTERS.values():
        start = time.perf_counter()
        graph = export(outputs, length)
        seconds = time.perf_counter() - start
        check_graph(graph, outputs, length)
        cells.append(f"{seconds:.2f} s, {len(graph) / 1000:.0f} kB")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    codes = np.random.default_rng(0).integers(0, 4, (SEQUENCES, length)).astype(np.uint8)
    x = one_hot(codes).contiguous().numpy()
    return [*cells, rate(lambda: predictor.logits(codes)), rate(lambda: session.run(None, {INPUT: x}))]


def main() -> None:
    """Print one row for each architecture."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, one thread")
    print("architecture", "bp", "networks", *EXPORTERS, "torch /s", "onnxruntime /s", sep="\t", flush=True)
    for case in CASES:
        print(*case, *measure(*case), sep="\t", flush=True)


if __name__ == "__main__":
    main()
