"""A service that greets, with faults that can be switched on by variables.

GREETING      the word before the name (default: Hello)
VERSION       shown in every answer (default: dev)
ERROR_RATE    share of requests answered 500, from 0 to 1 (default: 0)
SLOW_RATE     share of requests that are slow, from 0 to 1 (default: 0)
SLOW_SECONDS  how slow (default: 0.2)
HOST, PORT    where to listen (default: 127.0.0.1 and 5000)
"""

import logging
import os
import random
import time

from flask import Flask, jsonify, request

GREETING = os.environ.get("GREETING", "Hello")
VERSION = os.environ.get("VERSION", "dev")
ERROR_RATE = float(os.environ.get("ERROR_RATE", "0"))
SLOW_RATE = float(os.environ.get("SLOW_RATE", "0"))
SLOW_SECONDS = float(os.environ.get("SLOW_SECONDS", "0.2"))

app = Flask(__name__)


@app.get("/hello")
def hello():
    if random.random() < SLOW_RATE:
        time.sleep(SLOW_SECONDS)
    if random.random() < ERROR_RATE:
        app.logger.error("no greeting for this request")
        return jsonify(error="no greeting today", version=VERSION), 500
    name = request.args.get("name", "world")
    return jsonify(message=f"{GREETING}, {name}!", version=VERSION)


@app.get("/healthz")
def healthz():
    return jsonify(status="ok", version=VERSION)


if __name__ == "__main__":
    # One line for each request would hide the errors.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "5000")), threaded=True)
