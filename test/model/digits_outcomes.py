"""Prints, as JSON, how v1 and v2 of examples/digits answer the digits that neither
has seen: the shares of each class, of the scores between v1's own quantiles, of
answers that differ from v1's, and of wrong ones. Run it with PYTHONPATH naming
the example."""

import json
import os

import numpy as np

import server
from data import halves

_, _, x, y = halves()


def scores(**env):
    os.environ.update(env)
    return server.train()(x / 16)


def shares(of):
    return [[float(n) / len(y) for n in np.bincount(a, minlength=max(map(max, of)) + 1)] for a in of]


both = [scores(MODEL="linear"), scores(SHUFFLE="3,5,8,9", SHUFFLE_RATE="0.6")]
classes = [s.argmax(axis=1) for s in both]
best = [s.max(axis=1) for s in both]
quantiles = np.quantile(best[0], np.arange(1, 16) / 16)
print(json.dumps({
    "class": shares(classes),
    "score": shares([np.searchsorted(quantiles, b) for b in best]),
    "differ": shares([(c != classes[0]).astype(int) for c in classes]),
    "wrong": shares([(c != y).astype(int) for c in classes]),
}))
