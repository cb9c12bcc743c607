"""Load on a live service, and what it did: closed loops, open loops, and the highest rate under an objective."""
