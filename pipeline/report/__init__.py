"""HTML pages about scores and selected labels: one file each, without scripts, that works offline."""
