"""What was run and why: assets made, studies, benchmarks. Nothing imports it.

It may import everything. Every script says in its docstring what was run, when it is
needed again, how long it takes and what it writes.
"""
