"""Folders of results: where they may be written, and the drawings in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tuner.errors import UsageError
from tuner.files import replacing_folder

if TYPE_CHECKING:
    from tuner.plots.effects import Drawing

LOGOS: Final = "logos"


def check_folder(out: Path, sign: str, *, force: bool) -> None:
    """Refuse to write where something else is.

    Parameters
    ----------
    out : Path
        Folder that will be written.
    sign : str
        File by which an earlier result of the same command is known.
    force : bool
        Whether such a result may be replaced.

    Raises
    ------
    UsageError
        The name is taken, or there is no folder for it.
    """
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}.")
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and (out / sign).is_file()):
        raise UsageError(f"--out {out}: there is something else of that name; choose another one.")
    if not force:
        raise UsageError(f"--out {out}: there are results already. Choose another name, or replace them with --force.")


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that gets the name `out` when the block has ended; errors of the disk name `out`."""
    try:
        with replacing_folder(out) as part:
            yield part
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, str(out)) from error


def write_logos(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Write drawings of sequences as one sheet, SVG and PNG; nothing if there are none."""
    if not drawings:
        return
    from tuner.plots.effects import effect_sheet
    from tuner.plots.figures import png

    sheet = effect_sheet(drawings)
    (folder / f"{LOGOS}.svg").write_text(sheet, encoding="utf-8")
    (folder / f"{LOGOS}.png").write_bytes(png(sheet))
