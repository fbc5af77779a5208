"""The method as the engine sees it, the engine, and exports. Imports sparsify and
below.
"""
