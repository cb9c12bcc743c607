"""From a bundle to a running service: where it runs, and everything that happens to it there."""
