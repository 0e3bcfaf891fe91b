"""From prepared frames and sentences to masks, by the rules of the published inference scripts."""
