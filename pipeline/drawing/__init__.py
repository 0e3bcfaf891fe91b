"""Draw masks on frames."""
