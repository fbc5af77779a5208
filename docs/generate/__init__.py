"""What of the pages a command makes: README's generated parts, and pages of the site.

Nothing here is imported by the program. It may import the program, and reads conf/, the
docstrings of baselines/ and the tables of results/.
"""
