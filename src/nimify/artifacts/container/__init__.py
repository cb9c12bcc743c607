"""container/: what an engine such as Docker builds the image from, one Dockerfile for each runtime family."""
