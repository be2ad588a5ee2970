"""t2l: edit photos and clips from text, after Text2LIVE (ECCV 2022)."""

__version__ = "0.1.0"
