"""What one run leaves to the next on the same node: the lock, the session that it published under, and the counts."""
