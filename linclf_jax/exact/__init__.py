"""Softmax regression solved exactly: Newton's method, a proved gap, paths.

A problem has L lanes, fits that differ in their weights and penalty alone, N rows, D
features and C classes; the features have R principal axes. Inside the solver arrays are
float64, with lanes in front and classes before features and rows: ``W (L, C, D)``,
``b (L, C)``, ``l2 (L,)``, probabilities ``(L, C, N)``. Callers have ``W (L, D, C)``.
"""
