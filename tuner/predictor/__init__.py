"""The winner of a study, in use: an ensemble that predicts, is saved to a folder, and needs no study afterwards."""
