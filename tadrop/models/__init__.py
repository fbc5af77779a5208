"""Models: what one does, what fills its module, a file or folder for each kind. Imports
merging and below.
"""
