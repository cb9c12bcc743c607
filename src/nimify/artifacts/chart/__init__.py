"""The Helm chart: static templates, and values that are generated."""
