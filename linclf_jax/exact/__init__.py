"""Softmax regression solved exactly: Newton's method, a proved gap, paths.

A problem has L lanes, fits that differ in their weights and penalty alone, N rows, D
features and C classes. Inside the solver arrays have lanes in front and classes before
features and rows: ``W (L, C, D)``, ``b (L, C)``, ``l2 (L,)``, probabilities
``(L, C, N)``. They are float64, but for those that passes over the rows of a ``Table``
read and write. Callers have ``W (L, D, C)``.
"""
