"""Room: statistics over runs, correlations of codes with accuracy, the comparison with published numbers, costs.

Reads what ``snas.search`` leaves (a table per bench, search results per block of runs); writes one small table per
question, each with a declared schema.  :func:`snas.analysis.statistics.analyse` makes all tables of a bench.
"""
