"""The members of a fleet: who they are, and which nodes this controller checks."""
