"""Figures of tables and of records, drawn the same each time: vector and PNG, legible at
paper width, safe for colour-blind readers. Imports results and below.
"""
