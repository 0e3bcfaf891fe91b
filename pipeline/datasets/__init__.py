"""Published data sets and your own videos: one file for each layout."""
