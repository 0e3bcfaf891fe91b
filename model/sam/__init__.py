"""SAM 2 and SAM 3 (Meta) as models that refine the masks of another one, on transformers."""
