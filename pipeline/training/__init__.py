"""Training data: which clips, how they are changed, how they reach the model; and the loop that uses them."""
