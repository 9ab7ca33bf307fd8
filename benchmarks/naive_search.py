"""The naive side of `whole_search.py`: a search for CNNs as one would write it down.

The network of the plan in nn.Conv1d and its like (`training_step.py`), float32, a DataLoader over one-hot sequences,
scikit-learn's metrics after each epoch, the weights of the best epoch, a loop over filters, memelite's Tomtom, two
threads, one trial after the other, each to its last epoch. Space, initial weights, epochs and validation split are the
package's.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memelite import tomtom
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset
from training_step import plain_network

from tuner.data.dataset import Dataset
from tuner.models.architectures import build_model
from tuner.models.network import Network
from tuner.models.recipe import Recipe
from tuner.motifs.database import MotifDatabase
from tuner.study.parameters import split_point

THREADS = 2
SITES, WINDOW_BEFORE = 500, 1


def digest() -> str:
    """Of the files that are the naive side."""
    texts = (Path(__file__).with_name(name).read_bytes() for name in ("training_step.py", "naive_search.py"))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def one_hot(codes: np.ndarray) -> Tensor:
    """Float32, shape=(n, 4, length); unknown bases are zeros."""
    return torch.from_numpy(np.eye(5, 4, dtype=np.float32)[np.minimum(codes, 4)]).transpose(1, 2).contiguous()


def augmented(x: Tensor, shift: int) -> Tensor:
    """Each sequence as its reverse complement with probability one half, moved by up to `shift` positions."""
    n, _, length = x.shape
    x = torch.where((torch.rand(n) < 0.5)[:, None, None], x.flip(1, 2), x)
    if not shift:
        return x
    places = torch.arange(length) - torch.randint(-shift, shift + 1, (n, 1))
    inside = (places >= 0) & (places < length)
    return x.gather(2, places.clamp(0, length - 1)[:, None].expand(-1, 4, -1)) * inside[:, None]


def predict(model: nn.Module, x: Tensor) -> np.ndarray:
    """Mean logits of both strands."""
    model.eval()
    with torch.no_grad():
        parts = [(model(part) + model(part.flip(1, 2))) / 2 for part in x.split(256)]
    return torch.cat(parts).numpy()


def matrices_of(first: nn.Module, activation: nn.Sequential, x: Tensor, width: int) -> list[np.ndarray]:
    """One matrix a filter: the mean of the windows around its best positions."""
    with torch.no_grad():
        maps = torch.cat([activation(first(part)) for part in x.split(256)]).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (width, width)))
    matrices = []
    for filter_maps in maps.transpose(1, 0, 2):
        places, peaks = filter_maps.argmax(axis=1), filter_maps.max(axis=1)
        windows = []
        for i in np.argsort(-peaks)[:SITES]:
            start = places[i] + width - width // 2 - WINDOW_BEFORE
            windows.append(padded[i, :, start : start + width + WINDOW_BEFORE])
        matrices.append(np.mean(windows, axis=0) + 1e-6)
    return matrices


def train(point: Mapping[str, Any], data: Dataset, database: MotifDatabase, recipe: Recipe, seed: int) -> Network:
    """Train and measure one point; returns the package's network with the weights found, for others to measure."""
    hyperparameters, _ = split_point(point)
    torch.manual_seed(seed)
    network = build_model(hyperparameters, n_tasks=data.n_tasks, length=data.length, seed=seed)
    model = plain_network(network)
    penalised = [p for p in model.parameters() if p.ndim >= 2][:-1]
    x, valid = one_hot(data.train.codes), one_hot(data.valid.codes)
    rows = TensorDataset(x, torch.from_numpy(data.train.labels).float())
    loader = DataLoader(rows, batch_size=recipe.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, eps=recipe.adam_epsilon)
    best, weights = -math.inf, copy.deepcopy(model.state_dict())
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        model.train()
        for sequences, labels in loader:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(augmented(sequences, recipe.shift)), labels)
            (loss + recipe.l2 * sum(w.square().sum() for w in penalised)).backward()
            optimizer.step()
        logits = predict(model, valid)
        score = roc_auc_score(data.valid.labels, logits)
        average_precision_score(data.valid.labels, logits)
        if score > best:
            best, weights = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    model.eval()
    depth = 3 if network.first_batch_norm is not None else 2
    matrices = matrices_of(model[0], model[1:depth], torch.cat([x, valid]), network.first_convolution.kernel_size[0])
    tomtom(matrices, [motif.ppm for motif in database.screened])
    network.load_state_dict(dict(zip(network.state_dict(), model.state_dict().values(), strict=True)))
    return network.eval()
