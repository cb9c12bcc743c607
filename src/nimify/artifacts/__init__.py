"""From a plan to the bundle: generated files, and the one place that writes them."""
