"""Score pairs: match frames, count pixels, compute metrics, collect the results."""
