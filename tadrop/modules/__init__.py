"""What can be said of any torch module and its inputs: where tensors sit, what its
products are, batches. Imports numerics.
"""
