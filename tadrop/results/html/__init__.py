"""The page of results: tables, pictures and records as HTML that fetches nothing. Imports
results and below.
"""
