"""The health of the checks, and what one run leaves to the next run on the same node: lock, session and counts."""
