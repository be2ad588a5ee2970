"""How mini, the small CLIP inside the package, is made: its pictures, captions, training and scores (README.md)."""
