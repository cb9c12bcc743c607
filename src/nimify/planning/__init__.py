"""From an analysis and a wish to a plan: every decision about a service, taken once, with its reason."""
