"""The targets `nim-operator` and `kserve`: a custom resource of the bundle, which somebody's operator carries out."""
