"""Softmax regression solved exactly: Newton's method, a proved gap, paths.

A problem has L lanes, fits that differ in their weights and penalty alone, N rows, D
features and C classes. Inside the solver arrays have lanes in front and classes before
features and rows: ``W (L, C, D)``, ``b (L, C)``, ``l2 (L,)``; what is of the size of
the rows is in chunks of M of them, ``x (K, M, D)``, ``probs (K, L, C, M)``. Callers
have ``W (L, D, C)``.
"""
