"""Published networks as plans; `tuner.models.architectures` names them and their sources.

Numbers of filters, kernel sizes, pools and dropout rates are those of the published code. Plans do not contain the
length of the input: on shorter sequences, deeper kernels and pools are shortened to the length that is left.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.models.plan import Dense, Plan, Stage

DENSE_DROPOUT = 0.5
"""Dropout rate for dense layers of networks that have no dense layer of their own, as in Koo & Ploenzke (2021)."""

CNN_2 = Plan(
    (
        Stage(32, 19, "same", dropout=0.1, pool=2, pool_rest=True),
        Stage(124, 5, "same", dropout=0.1, pool=50, pool_rest=True),
    ),
    (Dense(512, 0.5),),
)
CNN_50 = replace(CNN_2, stages=(replace(CNN_2.stages[0], pool=50), replace(CNN_2.stages[1], pool=2)))
CNN_DEEP = Plan(
    (
        Stage(32, 19, "same", dropout=0.1),
        Stage(48, 7, "same", dropout=0.2, pool=4),
        Stage(96, 7, dropout=0.3, pool=4),
        Stage(128, 3, dropout=0.4, pool=3),
    ),
    (Dense(512, 0.5),),
)
CNN_DIST = Plan(
    (
        Stage(24, 19, "same", dropout=0.1),
        Stage(32, 7, "same", dropout=0.2, pool=4),
        Stage(48, 7, dropout=0.3, pool=4),
        Stage(64, 3, dropout=0.4, pool=3, pool_rest=True),
    ),
    (Dense(96, 0.5),),
)
CNN_LOCAL = Plan(
    (Stage(24, 19, "same", dropout=0.1, pool=50), Stage(48, 3, "same", dropout=0.2, pool=2)),
    (Dense(96, 0.5),),
)
BASSET = Plan(
    (
        Stage(300, 19, "same", dropout=0.2, pool=3),
        Stage(200, 11, dropout=0.2, pool=4),
        Stage(200, 7, dropout=0.2, pool=4),
    ),
    (Dense(1000, 0.5), Dense(1000, 0.5)),
)
RESIDUALBIND = Plan(
    (
        Stage(24, 19, "same", dropout=0.1, pool=10),
        Stage(48, 7, "same", dropout=0.3, pool=5),
        Stage(64, 3, dropout=0.4, pool=4),
    ),
    (Dense(96, 0.5),),
    residual_blocks=1,
)
# The published penalty is 0.1 * sum(w^2) for the first layer, and 1e-6 * sum(w^2) for the others.
LOG_L2 = 0.1 / 1e-6
CNN_DEEP_LOG = replace(CNN_DEEP, activation="log_relu", l2_first=LOG_L2)
CNN_DIST_LOG = replace(CNN_DIST, activation="log_relu", l2_first=LOG_L2)


def plain(*stages: Stage, dense: tuple[Dense, ...] = (), pool_before_dropout: bool = False) -> Plan:
    """Make a plan with ReLU, biases and no batch norm, as in the networks that are not from Koo & Ploenzke."""
    return Plan(
        stages,
        dense,
        activation="relu",
        batch_norm_first=False,
        batch_norm=False,
        bias=True,
        global_pool="max",
        pool_before_dropout=pool_before_dropout,
    )


HW4 = plain(Stage(16, 5), dense=(Dense(32),))
HW4_INTERACTION = plain(Stage(24, 5), Stage(24, 5), dense=(Dense(32),))
DEEPDIFE = replace(
    plain(
        Stage(64, 12, dropout=0.25, pool=6),
        Stage(64, 6, "same", dropout=0.25, stride=6),
        Stage(32, 6, "same", dropout=0.25, stride=6),
        dense=(Dense(256, 0.25), Dense(128, 0.0)),
        pool_before_dropout=True,
    ),
    global_pool="flatten",
)
_FOXO1_DEEPER = (Stage(32, 6), Stage(16, 3), Stage(8, 2))


def foxo1(n_blocks: int) -> Plan:
    """Versions 2 to 5 of the FOXO1 exercise: 1 to 4 convolutions, each with half the filters of the one before."""
    stages = (Stage(64, 12), *_FOXO1_DEEPER[: n_blocks - 1])
    pooled = tuple(replace(stage, pool=2, dropout=0.2) for stage in stages[:-1])
    return plain(*pooled, stages[-1], pool_before_dropout=True)


SIGTFB = replace(plain(Stage(64, 24), dense=(Dense(32),)), initializer="normal", initializer_sigma=1.0, deep_sigma=0.01)
FOXO1_V1 = plain(Stage(64, 6))


def family(n_blocks: int, kernel_size_deep: int, pool_size: int) -> Plan:
    """Plan of the parametric family: 1 to 4 convolutional blocks, padded so that they fit every sequence length."""
    first = Stage(32, 19, "same", dropout=0.1, pool=4)
    # Widths and rates grow with depth as in Koo & Ploenzke's cnn_deep.
    deeper = tuple(
        Stage(filters, kernel_size_deep, "same", dropout=rate, pool=pool_size)
        for filters, rate in ((48, 0.2), (64, 0.3), (96, 0.4))
    )
    stages = (first, *deeper[: n_blocks - 1])
    return Plan(stages, (Dense(96, DENSE_DROPOUT),), bias=True, global_pool="max_average")
