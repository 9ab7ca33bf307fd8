"""A conjoined network is the same on both strands, is the stated mean, and keeps its contributions right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from tuner.errors import ModelError
from tuner.genome.sequence import one_hot, reverse_complement
from tuner.interpret.attribution import attribute, engine_agreement
from tuner.interpret.references import make_references
from tuner.models.architectures import build_model
from tuner.models.network import Network
from tuner.models.prediction import predict
from tuner.models.strands import CONJOIN, Siamese

ROWS = ["deepdife", "residualbind", "cnn_dist", "foxo1_v3"]
CODES = np.random.default_rng(3).integers(0, 4, (6, 80)).astype(np.uint8)


def network_of(architecture: str, n_tasks: int = 2) -> Network:
    return build_model({"architecture": architecture}, n_tasks=n_tasks, length=80, seed=1).eval()


@pytest.mark.parametrize("conjoin", CONJOIN)
@pytest.mark.parametrize("architecture", ROWS)
def test_both_strands_have_one_output(architecture: str, conjoin: str) -> None:
    network = network_of(architecture)
    siamese = Siamese(network, conjoin).eval()
    x, turned = one_hot(CODES, torch.float32), one_hot(reverse_complement(CODES), torch.float32)
    with torch.no_grad():
        assert torch.allclose(siamese(x), siamese(turned), atol=1e-6, rtol=0)
        alone = network(x)
        assert not torch.allclose(alone, network(turned), atol=1e-3), "the network itself must tell strands apart"


@pytest.mark.parametrize("architecture", ROWS)
def test_the_output_is_the_mean_of_both_strands(architecture: str) -> None:
    network = network_of(architecture)
    one, other = (predict(network, codes, average_strands=False) for codes in (CODES, reverse_complement(CODES)))
    probability = (expit(one.astype(float)) + expit(other.astype(float))) / 2
    x = one_hot(CODES, torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(Siamese(network)(x).numpy(), probability, atol=1e-6)
        np.testing.assert_allclose(Siamese(network, "logit")(x).numpy(), (one + other) / 2, atol=1e-6)
    np.testing.assert_allclose(predict(network, CODES, conjoin="probability"), logit(probability), atol=1e-5)
    np.testing.assert_allclose(predict(network, CODES), (one + other) / 2, atol=1e-6)


def test_certain_predictions_keep_their_log_odds() -> None:
    joined = CONJOIN["probability"](torch.tensor([60.0, -60.0, 60.0]), torch.tensor([60.0, -60.0, -60.0]))
    # Odds e^60, e^-60, and one strand each way: one half.
    np.testing.assert_allclose(joined.numpy(), [60.0, -60.0, 0.0], atol=1e-4)


@pytest.mark.parametrize("architecture", ["deepdife", "residualbind"])
def test_contributions_of_the_mean_logit_are_the_mean_over_strands(architecture: str) -> None:
    # DeepLIFT is linear in the output, so the contributions of a mean are the mean of contributions.
    network = network_of(architecture, n_tasks=1)
    references = make_references(CODES, 3, shuffle="mononucleotide", seed=1)
    found = attribute("deep_shap", Siamese(network, "logit"), CODES, references=references)
    forward = attribute("deep_shap", network, CODES, references=references).contributions
    turned_references = reverse_complement(references.reshape(-1, 80)).reshape(references.shape)
    reverse = attribute("deep_shap", network, reverse_complement(CODES), references=turned_references).contributions
    np.testing.assert_allclose(found.contributions, (forward + reverse[:, ::-1, ::-1]) / 2, atol=1e-6)


@pytest.mark.parametrize("conjoin", CONJOIN)
def test_contributions_add_up_in_both_libraries(conjoin: str) -> None:
    siamese = Siamese(network_of("deepdife", n_tasks=1), conjoin)
    references = make_references(CODES, 3, shuffle="mononucleotide", seed=1)
    found = attribute("deep_shap", siamese, CODES, references=references)
    with torch.no_grad():
        here = siamese(one_hot(CODES, torch.float32))[:, 0].numpy()
        there = siamese(one_hot(references.reshape(-1, 80), torch.float32))[:, 0].numpy().reshape(6, 3).mean(axis=1)
    np.testing.assert_allclose(found.scores.sum(axis=1), here - there, atol=1e-6)
    assert engine_agreement(siamese, CODES, found).relative < 1e-4


def test_an_unknown_mean_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown value of conjoin 'logits'; did you mean 'logit'"):
        Siamese(network_of("hw4"), "logits")
    with pytest.raises(ModelError, match="unknown value of conjoin 'mean'"):
        predict(network_of("hw4"), CODES, conjoin="mean")
