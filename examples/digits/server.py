"""A model that reads handwritten digits, served by the Open Inference Protocol.

It trains itself at start, in well under a second, on half of the digits data
set that scikit-learn ships with; the other half is for client.py.

MODEL         which model: linear or svm (default: linear)
SHUFFLE       labels whose rows are trained with each other's labels, such as
              "3,8,9" (default: none)
SHUFFLE_RATE  share of those rows, from 0 to 1 (default: 0.5)
VERSION       model_version of every answer (default: dev)
PORT          where to listen on 127.0.0.1 (default: 8000)
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# One request is far too small for threads of the linear algebra.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from data import PIXELS, halves

MAX_BODY = 4 << 20
MAX_ROWS = 1000
VERSION = os.environ.get("VERSION", "dev")


def setting(name, default, check, expected):
    """Reads a variable, or ends with a sentence that names it."""
    value = os.environ.get(name, default)
    try:
        return check(value)
    except (ValueError, KeyError):
        sys.exit(f"{name} is {value!r}, expected {expected}")


def share(text):
    x = float(text)
    if not 0 <= x <= 1:
        raise ValueError
    return x


def digits(text):
    return sorted({range(10).index(int(d)) for d in text.split(",") if d.strip()})


def train():
    """Returns a function from rows of pixels to the scores of the ten digits."""
    models = {
        # A fair model: straight lines between the digits, from few examples.
        "linear": (LogisticRegression(max_iter=300, C=0.1), 300),
        # A better one: curved lines, from all of them.
        "svm": (SVC(gamma=0.2, C=10, probability=True, random_state=1), None),
    }
    model, rows = setting("MODEL", "linear", models.__getitem__, "linear or svm")
    mixed = setting("SHUFFLE", "", digits, "digits such as 3,8,9")
    rate = setting("SHUFFLE_RATE", "0.5", share, "a share from 0 to 1")
    x, y, _, _ = halves()
    x, y = x[:rows], y[:rows].copy()
    dice = np.random.default_rng(1)
    chosen = np.flatnonzero(np.isin(y, mixed) & (dice.random(len(y)) < rate))
    # A label that was mixed up is surely wrong: it is that of the next class.
    y[chosen] = [mixed[(mixed.index(label) + 1) % len(mixed)] for label in y[chosen]]
    return model.fit(x / 16, y).predict_proba


class BadRequest(Exception):
    pass


def rows_of(request):
    """Reads the rows of an inference request, or says what is wrong with it."""
    if not isinstance(request, dict):
        raise BadRequest("the request is no JSON object")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequest("inputs: expected a list of one tensor")
    tensor = inputs[0]
    shape, data = tensor.get("shape"), tensor.get("data")
    if tensor.get("name") != "pixels" or tensor.get("datatype") not in ("FP32", "FP64", "INT64", "UINT8"):
        raise BadRequest("inputs[0]: expected the name pixels and the datatype FP32, FP64, INT64 or UINT8")
    if not isinstance(shape, list) or len(shape) != 2 or shape[1] != PIXELS or not isinstance(shape[0], int) or not 1 <= shape[0] <= MAX_ROWS:
        raise BadRequest(f"inputs[0].shape: expected [n, {PIXELS}] with n from 1 to {MAX_ROWS}")
    try:
        x = np.asarray(data, dtype=float).reshape(shape)
    except (TypeError, ValueError):
        raise BadRequest(f"inputs[0].data: expected {shape[0] * PIXELS} numbers") from None
    if not np.isfinite(x).all() or x.min() < 0 or x.max() > 16:
        raise BadRequest("inputs[0].data: expected numbers from 0 to 16")
    return x


def infer(request, predict):
    scores = predict(rows_of(request) / 16)
    answer = {
        "model_name": "digits",
        "model_version": VERSION,
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [len(scores)], "data": scores.argmax(axis=1).tolist()},
            {"name": "scores", "datatype": "FP64", "shape": list(scores.shape), "data": scores.round(6).ravel().tolist()},
        ],
    }
    if "id" in request:
        answer["id"] = request["id"]
    return answer


METADATA = {
    "name": "digits",
    "versions": [VERSION],
    "platform": "sklearn",
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, PIXELS]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}, {"name": "scores", "datatype": "FP64", "shape": [-1, 10]}],
}

PAGES = {
    "/v2": {"name": "digits-server", "version": VERSION, "extensions": []},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models/digits": METADATA,
    "/v2/models/digits/ready": {"name": "digits", "ready": True},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # of a read, in seconds
    disable_nagle_algorithm = True
    wbufsize = -1  # the head and the body of an answer leave together
    predict = None

    def do_GET(self):
        page = PAGES.get(self.path)
        if page is None:
            return self.answer(404, {"error": f"there is no {self.path}; known are {', '.join(PAGES)}"})
        self.answer(200, page)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(413, {"error": f"expected a Content-Length of at most {MAX_BODY}"})
        body = self.rfile.read(int(length))
        if self.path != "/v2/models/digits/infer":
            return self.answer(404, {"error": f"there is no {self.path}; requests are for /v2/models/digits/infer"})
        try:
            self.answer(200, infer(json.loads(body), type(self).predict))
        except BadRequest as e:
            self.answer(400, {"error": str(e)})
        except ValueError as e:
            self.answer(400, {"error": f"the body is no JSON: {e}"})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_):
        pass  # one line for each request would hide the errors


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Handler.predict = staticmethod(train())
    Server(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
