"""The health of the checks, and the state that the next run on the same node continues with: lock, session, counts."""
