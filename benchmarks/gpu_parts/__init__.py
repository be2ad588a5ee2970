"""The parts of ``benchmarks/gpu.py``, a module each, and what runs and reports them."""
