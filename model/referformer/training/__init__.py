"""Training of the network: targets, matching, losses, learning rates."""
