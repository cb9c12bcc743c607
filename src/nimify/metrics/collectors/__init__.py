"""Metrics of the owner's own in `/v1/metrics`: the contract of a collector, the built-in one, and how they are run."""
