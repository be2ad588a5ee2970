"""The terminal's edge: the only place that imports typer or rich, and where nothing is computed."""
