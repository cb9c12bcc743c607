"""Code that is not ours: found as an entry point or in a file of the bundle, called with options, its errors named."""
