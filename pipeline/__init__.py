"""From a manifest to masks to scores: storage, video, runs, the Ray Data chain, evaluation."""
