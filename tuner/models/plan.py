"""The numbers of a network: a plan, from which `Network` builds it.

Every published network here is the same chain: blocks of convolution, batch norm, activation, dropout and
pool; then dense layers; then one logit a task. Only the first activation varies; deeper layers use ReLU. So a
row of the table of architectures is a plan, and hyperparameters change its numbers.
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
        Of the convolution.
    padding : str
        "same" or "valid", as TensorFlow means them.
    dropout : float
        Rate.
    pool : int
        Window and stride of the max pool; 1 is none.
    pool_rest : bool
        Whether the positions left over by the last whole window make a window of their own.
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
    """One dense block: units and dropout rate."""

    units: int
    dropout: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything about a network but the length of its input and its number of tasks.

    Parameters
    ----------
    stages : tuple of Stage
        Convolutional blocks; the first is the one whose filters are read as motifs.
    dense : tuple of Dense
        Dense blocks between the convolutions and the output layer.
    activation, activation_scale
        Of the first stage.
    initializer, initializer_sigma
        Of the first stage. Deeper layers are Glorot uniform, convolutions of residual blocks He normal.
    deep_sigma : float
        If above 0, deeper layers are normal with this standard deviation instead.
    batch_norm_first, batch_norm : bool
        Batch norm after the first convolution; after every deeper convolution and dense layer.
    bias : bool
        Whether a convolution or dense layer without batch norm has a bias.
    residual_blocks : int
        Residual blocks after the first stage's dropout.
    dilated : bool
        Whether residual block i has dilation 2^i.
    global_pool : str
        How the last map becomes a vector; "flatten" or, in place of the last pool, "max", "average" or
        both over the whole length.
    pool_before_dropout : bool
        Whether pools come before dropout.
    l2_first : float
        Weight of the first convolution within the L2 penalty.
    tuned : tuple of (str, value)
        Hyperparameters that change the network itself once its weights are drawn, by name.
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
