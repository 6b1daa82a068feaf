"""The digits data set, cut into two halves: one to train with, one to ask about."""

import numpy as np
from sklearn.datasets import load_digits

PIXELS = 64  # 8 times 8, from 0 to 16


def halves():
    """Returns x and y to train with, then x and y held out; always the same."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(y))
    x, y = x[order], y[order]
    middle = len(y) // 2
    return x[:middle], y[:middle], x[middle:], y[middle:]
