"""For tests, ours and those of plugin authors: tiny real models and a builder for more of them."""
