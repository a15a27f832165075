"""Teachers that are more than one plain model: relabelled, several at once, or known by their logits alone."""
