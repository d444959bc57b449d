"""The control plane: one room a resource. What rooms share stands beside them and is written once."""
