"""What was found: leaderboard, tables, the test split, files of trials, and what is removed."""
