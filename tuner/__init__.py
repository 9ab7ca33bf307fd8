"""tuner: search for CNNs that predict transcription-factor binding and show the motif."""

__version__ = "0.1.0"
