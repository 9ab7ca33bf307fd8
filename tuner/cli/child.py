"""`python -m tuner.cli.child`: the command line of a process that another one started.

Its variables come through stdin, a JSON object: no command line shows a password among them, and who starts it need
not copy an environment.
"""

from __future__ import annotations

import json
import os
import sys


def set_variables() -> None:
    """Set the variables that stdin names; those that are null are removed."""
    for name, value in json.load(sys.stdin).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


if __name__ == "__main__":
    set_variables()  # before anything is imported that reads them

    from tuner.cli import main

    main()
