"""Facts that age: operators, releases, GPUs and prices, as data with a source in every row."""
