"""A predictor as one ONNX graph, which is written only if onnxruntime computes what torch does."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from tuner.errors import ModelError, UsageError
from tuner.genome.sequence import N_CODE, one_hot
from tuner.predictor.ensemble import Ensemble

if TYPE_CHECKING:
    from tuner.predictor.predictor import Predictor

PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")
INPUT: Final = "sequences"
BATCHES: Final = (1, 3, 7)  # of the comparison; the graph must not have frozen the number it was traced with
TOLERANCE: Final = 1e-4  # of the largest logit, or of 1 where that is larger
OPSET: Final = 18


class Outputs(nn.Module):
    """What the graph computes: mean logit, its standard deviation over the networks, and the calibrated values.

    Parameters
    ----------
    predictor : Predictor
        The networks are shared, not copied.
    """

    slope: Tensor
    intercept: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.ensemble = Ensemble(predictor.members)
        self.register_buffer("slope", torch.tensor(predictor.calibration.slope, dtype=torch.float32))
        self.register_buffer("intercept", torch.tensor(predictor.calibration.intercept, dtype=torch.float32))
        self.eval()

    @property
    def names(self) -> list[str]:
        """Names of the outputs, each of shape=(n, n_tasks); a single network has no standard deviation."""
        return ["logit", "calibrated_logit", "probability", *(["sd"] if len(self.ensemble.members) > 1 else [])]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of one-hot sequences, shape=(n, 4, length), rows A, C, G, T, float32."""
        each = self.ensemble.each(x)
        logit = each.mean(dim=0)
        calibrated = logit * self.slope + self.intercept
        found = (logit, calibrated, torch.sigmoid(calibrated))
        n = len(self.ensemble.members)
        if n == 1:
            return found
        return (*found, ((each - logit).square().sum(dim=0) / (n - 1)).sqrt())


def check_packages() -> None:
    """Find the packages of the extra.

    Raises
    ------
    UsageError
        One is not installed; says how to install them.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs {', '.join(missing)}, not installed here: pip install 'tuner-tfbs[export]'.")


def write_graph(predictor: Predictor, path: Path) -> None:
    """Write the graph of a predictor.

    Input: `sequences`, shape=(n, 4, length), float32, rows A, C, G, T, all zeros at N. Outputs, shape=(n, n_tasks):
    `logit`, `calibrated_logit`, `probability`, and with several networks `sd`.

    Parameters
    ----------
    predictor : Predictor
        The model.
    path : Path
        File to write.

    Raises
    ------
    ModelError
        No graph that was made gives torch's values in onnxruntime; nothing is written.
    """
    found = make_graph(Outputs(predictor).cpu(), predictor.length)
    path.write_bytes(found)


def make_graph(outputs: Outputs, length: int) -> bytes:
    """Export a module, and try the graph; errors as in `write_graph`.

    Parameters
    ----------
    outputs : Outputs
        On the CPU.
    length : int, bp
        Of the input.
    """
    reasons = []
    for name, export in EXPORTERS.items():
        try:
            graph = export(outputs, length)
            check_graph(graph, outputs, length)
        except ModelError as error:
            reasons.append(f"{name}: {error}")
        except Exception as error:  # whatever an exporter raises, the next one may do better
            reasons.append(f"{name}: {' '.join(str(error).split())[:200] or type(error).__name__}")
        else:
            return graph
    raise ModelError(f"no ONNX graph of this model can be made. {'; '.join(reasons)}")


def check_graph(graph: bytes, outputs: Outputs, length: int) -> None:
    """Compare a graph in onnxruntime with torch, in batches of several sizes.

    Logits and their standard deviation are compared with torch's. What is calibrated is compared with the calibration
    of the graph's own logit: a steep line would magnify the rounding of both.

    Raises
    ------
    ModelError
        An output has another shape, or is off by more than `TOLERANCE`; names it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    slope, intercept = (one.double().numpy() for one in (outputs.slope, outputs.intercept))
    for batch in BATCHES:
        codes = rng.integers(0, 4, (batch, length)).astype(np.uint8)
        codes[-1, : length // 4] = N_CODE
        x = one_hot(codes).contiguous()
        with torch.no_grad():
            wanted = dict(zip(outputs.names, (one.double().numpy() for one in outputs(x)), strict=True))
        found = dict(zip(outputs.names, session.run(outputs.names, {INPUT: x.numpy()}), strict=True))
        for name, theirs in found.items():
            if theirs.shape != wanted[name].shape:
                raise ModelError(f"output {name} has shape {theirs.shape} for {batch} sequences")
        scale = max(1.0, float(np.abs(wanted["logit"]).max()))
        line = slope * found["logit"] + intercept
        wanted["calibrated_logit"] = line
        wanted["probability"] = np.exp(-np.logaddexp(0.0, -found["calibrated_logit"].astype(np.float64)))
        steep = max(scale, float(np.abs(slope * found["logit"]).max()), float(np.abs(intercept).max()))
        limits = {"logit": scale, "sd": scale, "calibrated_logit": steep, "probability": 1.0}
        for name, theirs in found.items():
            off = float(np.abs(theirs - wanted[name]).max())
            if not off <= TOLERANCE * limits[name]:
                raise ModelError(f"output {name} is off by {off:.2g} for {batch} sequences")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks to themselves; what matters of a graph is compared."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        before, logger.disabled = logger.disabled, True
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.disabled = before
            logger.setLevel(level)


def _example(length: int) -> Tensor:
    return one_hot(np.arange(2 * length, dtype=np.uint8).reshape(2, length) % 4).contiguous()


def export_traced(outputs: Outputs, length: int) -> bytes:
    """Export by tracing: twenty times as fast as the other exporter, and smaller graphs; torch may remove it."""
    file: Any = io.BytesIO()
    axes = {name: {0: "batch"} for name in (INPUT, *outputs.names)}
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            outputs, (_example(length),), file, dynamo=False, opset_version=OPSET, input_names=[INPUT],
            output_names=outputs.names, dynamic_axes=axes,
        )  # fmt: skip
    return bytes(file.getvalue())


def export_captured(outputs: Outputs, length: int) -> bytes:
    """Export by torch.export, which takes some seconds for each network."""
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            outputs, (_example(length),), dynamo=True, opset_version=OPSET, input_names=[INPUT],
            output_names=outputs.names, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
        return bytes(program.model_proto.SerializeToString())


EXPORTERS: Final[dict[str, Callable[[Outputs, int], bytes]]] = {"traced": export_traced, "captured": export_captured}
"""Name -> exporter, in the order in which they are tried."""
