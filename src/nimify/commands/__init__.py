"""One file per command: parse, make one call, print, choose the exit code. Only these and `nimify.cli` know Click."""
