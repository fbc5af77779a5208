"""Numbers and threads: order statistics, histograms, kernels with their plain oracles,
sums, linear algebra, seeds. Imports types and protocols.
"""
