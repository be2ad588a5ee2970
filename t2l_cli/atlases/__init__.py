"""Atlas files: our own folders, and the checkpoints of the published Layered Neural Atlases code."""
