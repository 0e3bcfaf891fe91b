"""Draw masks on frames, and write frames as pictures and videos."""
