"""From a bundle to an image that has proved itself: context, build, proof, push. `image.py` holds the contract."""
