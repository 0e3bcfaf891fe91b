"""What training needs besides the model: targets, matching, losses, what trains at which rate."""
