"""`python -m tuner.cli`, which is how a run starts its workers."""

from tuner.cli import main

main()
