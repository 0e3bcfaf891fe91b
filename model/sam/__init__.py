"""SAM 3 (Meta) segments what phrases name; SAM 2 and SAM 3 also refine masks of another model. On transformers."""
