"""Read masks: runs, Parquet files and trees of PNG files, predicted or annotated."""
