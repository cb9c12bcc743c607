"""The checks of a bundle on disk; `nimify.conformance.offline` runs them in order."""
