"""Does a bundle, or a live service, do what it says? One check per file; results, never exceptions."""
