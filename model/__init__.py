"""Model families behind one door: `model.segmenter.Segmenter`. Nothing here knows files of videos, Ray or Parquet."""
