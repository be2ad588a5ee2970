"""Atlas files: this program's folders, and checkpoints of the published Layered Neural Atlases code."""
