"""ReferFormer (Wu et al., CVPR 2022): config and weights, the network, inference, training."""
