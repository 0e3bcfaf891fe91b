"""ReferFormer (Wu et al., CVPR 2022). Knows tensors only; `model.segmenter.Segmenter` is its door."""
