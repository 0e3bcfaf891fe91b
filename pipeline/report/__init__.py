"""Pages about scores: one HTML file each, without a script, that loads nothing from anywhere."""
