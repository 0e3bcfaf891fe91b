"""The network itself: frames and token ids in, scores, boxes and mask logits out."""
