"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[str, typer.Option("--study", "-s", help="Study name, or path of a study TOML.", show_default=False)]
SomeStudy = Annotated[str | None, typer.Option("--study", "-s", help="Study name, or path of a study TOML.")]
Preset = Annotated[str, typer.Option(help="Scale of the study: smoke, fast, standard or best.")]
SomePreset = Annotated[str | None, typer.Option("--preset", help="Scale of the study: smoke, fast, standard or best.")]
Name = Annotated[str | None, typer.Option(help="Name in the storage, instead of the study's own name.")]
OfTrial = Annotated[int | None, typer.Option(min=0, help="With --study: trial number [the primary trial].")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the whole study.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Total number of trials; raise it to continue a study.")]
Storage = Annotated[str | None, typer.Option(help="SQLite file or database URL [TUNER_STORAGE, else runs/tuner.db].")]
Artifacts = Annotated[
    str | None,
    typer.Option(help="Artifacts: a folder, or s3:// gs:// az://BUCKET/PREFIX [TUNER_ARTIFACTS, else runs/artifacts]."),
]
Data = Annotated[Path | None, typer.Option(help="The study's data on this machine: a file, or a folder of files.")]
Genome = Annotated[str, typer.Option(help="FASTA or 2bit file, or a name such as hg38.", show_default=False)]
SomeGenome = Annotated[str | None, typer.Option("--genome", help="FASTA or 2bit file, or a name such as hg38.")]
Aliases = Annotated[Path | None, typer.Option(help="Table of chromosome names: two or more of one per line.")]
MaxMemory = Annotated[
    str | None, typer.Option(help="Memory that reading data may take, e.g. 8 GB [half of the available memory].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads [all cores of this process].")]
Devices = Annotated[
    str, typer.Option("--device", help="auto (every GPU, else the CPU), cpu, mps, or GPUs: cuda:0,cuda:1.")
]
Sampler = Annotated[str | None, typer.Option(help="tpe or random, instead of the study's own.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Confirm = Annotated[bool, typer.Option("--confirm/--no-confirm", help="Retrain the best candidates at the end.")]
LogFormat = Annotated[
    str | None, typer.Option(help="text, or json: one object per line on stderr [TUNER_LOG_FORMAT, else text].")
]
