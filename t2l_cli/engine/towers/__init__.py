"""Image towers: what the method asks of one (``tower.Tower``), and a class for each kind that can answer."""
