"""Keys of the attributes that tuner keeps with Optuna's studies and trials, and names of the stages of a study."""

from __future__ import annotations

from typing import Final

CONFIRMATION: Final = ".confirmation"
CONTROLS: Final = ".controls"

# Of studies.
IDENTITY: Final = "tuner:identity"  # what every run and worker that joins must agree on
SOURCE: Final = "tuner:source"  # the plan: study, space, preset, seed
PACKAGES: Final = "tuner:packages"  # versions that the study was created with
SHUFFLED_NEGATIVES: Final = "tuner:shuffled_negatives"  # whether the training negatives are shuffles
MADE: Final = "tuner:made"  # version of tuner that created the study or stage
QUOTA: Final = "tuner:quota"  # bytes; an attribute of the study, so that it is the same for all workers
OPENINGS: Final = "tuner:test_openings"  # each opening of the test split
OTHER_OPENINGS: Final = "tuner:other_openings"  # each scoring of models on data that are not the study's
TEST_SCORES: Final = "tuner:test_scores"  # what each opening of the test split found
REPORTS: Final = "tuner:report"  # the subject of each report, oldest first
FIGURES: Final = "tuner:report-figures"  # name -> artifact key and SHA-256 of each figure that a report stored
NOTE: Final = "tuner:note"  # digest of the generated note, so that a note that a person has edited is kept

# Of trials.
WITHOUT_GROUPS: Final = "without_groups"  # a user attribute: objective -> values without each group of validation
FOLDS: Final = "folds"  # a user attribute of a confirmation run: how many folds its cross-validation has
SIZES: Final = "tuner:sizes"  # id of each file of a trial -> bytes
DIGESTS: Final = "tuner:digests"  # name of each file of a trial -> [SHA-256, bytes]; also of those in MISSING
MISSING: Final = "tuner:missing"  # names of the files that could not be written when the trial ended
