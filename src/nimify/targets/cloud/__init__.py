"""The targets `sagemaker`, `vertex`, `azureml` and `cloud-run`: files for the vendors' tools, and what calls them."""
