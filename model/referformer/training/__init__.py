"""What training needs besides the network: targets, matching, losses, learning rates."""
