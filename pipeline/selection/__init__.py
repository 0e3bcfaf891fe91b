"""Select pseudo-labels: quality signals of each pair, rules on them, and their value where annotations exist."""
