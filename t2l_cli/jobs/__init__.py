"""Jobs: from a request to files, for whoever asks: a terminal, a batch, a worker, a notebook or a page."""
