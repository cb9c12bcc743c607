"""Code before and after the engine: the contract, the built-in processors, and how a pipeline is loaded and run."""
