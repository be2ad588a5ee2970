"""The discretised atlas of a video: its model, mapping back and forth, its quality, and published networks as one."""
