"""What the parts of the suite ask of one another. Imports types.

The tests check types at run time too, which is why every protocol allows it; nothing
else asks what an object can do.
"""
