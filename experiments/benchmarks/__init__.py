"""What the benchmarks measure, section by section, and the pages they write.

The commands are experiments/benchmark_*.py.
"""
