"""An analysis as a page for people: one HTML file with pictures, that needs no network and runs no script."""
