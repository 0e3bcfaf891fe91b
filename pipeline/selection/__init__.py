"""Which pseudo-labels to keep: numbers for each pair, rules on them, what they are worth where truth is known."""
