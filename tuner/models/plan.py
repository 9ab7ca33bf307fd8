"""The plan of a network: the sizes and settings of its layers, from which `Network` builds it.

All published networks here are the same chain: blocks of convolution, batch norm, activation, dropout and
pool; then dense layers; then one logit per task. Only the first activation varies; deeper layers use ReLU. An
architecture is therefore a plan, and hyperparameters change its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

GLOBAL_POOLS = ("flatten", "max", "average", "max_average")


@dataclass(frozen=True)
class Stage:
    """One convolutional block.

    Parameters
    ----------
    filters, kernel_size, stride : int
        Number of filters of the convolution, their width, and the stride.
    padding : str
        "same" or "valid", as in TensorFlow.
    dropout : float
        Dropout rate; 0 means no dropout.
    pool : int
        Window and stride of the max pool; 1 means no pool.
    pool_rest : bool
        Whether positions that remain after the last whole window form a shorter window.
    """

    filters: int
    kernel_size: int
    padding: str = "valid"
    dropout: float = 0.0
    pool: int = 1
    pool_rest: bool = False
    stride: int = 1


@dataclass(frozen=True)
class Dense:
    """One dense block: number of units, and dropout rate."""

    units: int
    dropout: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything about a network except the length of its input and its number of tasks.

    Parameters
    ----------
    stages : tuple of Stage
        Convolutional blocks; the filters of the first one are read as motifs.
    dense : tuple of Dense
        Dense blocks between the convolutions and the output layer.
    activation : str
        Activation of the first block, a key of `tuner.models.activations.ACTIVATIONS`.
    activation_scale : float
        Factor that multiplies the input of the first activation.
    initializer : str
        Initializer of the first convolution. Deeper layers use Glorot uniform, residual blocks He normal weights.
    initializer_sigma : float
        Standard deviation of the first convolution's initial weights, for the initializers that have one.
    deep_sigma : float
        If above 0, deeper layers instead use normal weights with this standard deviation.
    batch_norm_first : bool
        Whether batch norm follows the first convolution.
    batch_norm : bool
        Whether batch norm follows every deeper convolution and dense layer.
    bias : bool
        Whether convolutions and dense layers without batch norm have a bias.
    residual_blocks : int
        Number of residual blocks after the dropout of the first block.
    dilated : bool
        Whether residual block i (from 0) has dilation 2^i.
    global_pool : str
        How the last map becomes a vector: "flatten", or, instead of the last pool, "max", "average" or
        "max_average" over the whole length.
    pool_before_dropout : bool
        Whether pools come before dropout.
    l2_first : float
        Weight of the first convolution within the L2 penalty.
    tuned : tuple of (str, value)
        Names and values of the hyperparameters that change the network itself after its weights have been drawn.
    """

    stages: tuple[Stage, ...]
    dense: tuple[Dense, ...] = ()
    activation: str = "exponential"
    activation_scale: float = 1.0
    initializer: str = "glorot_uniform"
    initializer_sigma: float = 0.1
    deep_sigma: float = 0.0
    batch_norm_first: bool = True
    batch_norm: bool = True
    bias: bool = False
    residual_blocks: int = 0
    dilated: bool = False
    global_pool: str = "flatten"
    pool_before_dropout: bool = False
    l2_first: float = 1.0
    tuned: tuple[tuple[str, bool | int | float | str], ...] = ()
