"""From a manifest to masks to scores."""
