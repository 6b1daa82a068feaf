"""Users of the digits model: they send digits that it has never seen, and later
say what those digits were.

    python3 client.py http://127.0.0.1:8080 --rate 50 --label-after 5

Each request has an id, in the body and as X-Request-ID. The true label follows
by POST to the feedback address: {"id": ..., "label": "7"}.
"""

import argparse
import http.client
import json
import queue
import threading
import time
import uuid
from urllib.parse import urlsplit

from data import PIXELS, halves


class Users:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.right, self.answered, self.failed, self.labelled, self.refused = {}, {}, 0, 0, {}
        self.due = queue.Queue()  # of requests; None ends a worker
        self.labels = queue.Queue()  # of (when, id, label); None ends the sender

    def post(self, connection, url, body, headers):
        connection.request("POST", url, json.dumps(body), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()

    def connect(self, url):
        return http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def work(self):
        """Sends what is due, over one connection."""
        connection = self.connect(self.options.address)
        for pixels, label in iter(self.due.get, None):
            name = str(uuid.uuid4())
            body = {"id": name, "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, PIXELS], "data": pixels.tolist()}]}
            try:
                status, answer = self.post(connection, "/v2/models/digits/infer", body, {"X-Request-ID": name})
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            with self.lock:
                if status != 200:
                    self.failed += 1
                    continue
                answer = json.loads(answer)
                version = answer["model_version"]
                self.answered[version] = self.answered.get(version, 0) + 1
                self.right[version] = self.right.get(version, 0) + (answer["outputs"][0]["data"][0] == label)
            self.labels.put((time.monotonic() + self.options.label_after, name, str(label)))
        connection.close()

    def tell(self):
        """Sends the labels when they are due; they come in that order."""
        connection = self.connect(self.options.feedback)
        for when, name, label in iter(self.labels.get, None):
            time.sleep(max(0, when - time.monotonic()))
            try:
                status, _ = self.post(connection, urlsplit(self.options.feedback).path, {"id": name, "label": label}, {})
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            with self.lock:
                if 200 <= status < 300:
                    self.labelled += 1
                else:
                    self.refused[status] = self.refused.get(status, 0) + 1
        connection.close()

    def run(self):
        _, _, x, y = halves()
        workers = [threading.Thread(target=self.work, daemon=True) for _ in range(self.options.workers)]
        teller = threading.Thread(target=self.tell, daemon=True)
        for t in [*workers, teller]:
            t.start()
        begun, i = time.monotonic(), 0
        try:
            while not self.enough(i, time.monotonic() - begun):
                time.sleep(max(0, begun + i / self.options.rate - time.monotonic()))
                self.due.put((x[i % len(y)], int(y[i % len(y)])))
                i += 1
        except KeyboardInterrupt:
            pass
        for _ in workers:
            self.due.put(None)
        for t in workers:
            t.join()
        self.labels.put(None)
        teller.join()
        self.report()

    def enough(self, sent, seconds):
        return 0 < self.options.requests <= sent or 0 < self.options.seconds <= seconds

    def report(self):
        for version in sorted(self.answered):
            n = self.answered[version]
            print(f"{version}: {n} answers, {100 * self.right[version] / n:.1f} % right")
        print(f"{self.failed} requests failed, {self.labelled} labels were sent")
        for status, n in self.refused.items():
            why = "nobody answered" if status == 0 else f"answered {status}"
            print(f"{n} labels were not taken by {self.options.feedback}: {why}")


def options():
    p = argparse.ArgumentParser(description="Send held-out digits at a constant rate, and their labels later.")
    p.add_argument("address", help="the release's address, such as http://127.0.0.1:8080")
    p.add_argument("--rate", type=float, default=50, help="requests a second (default: 50)")
    p.add_argument("--seconds", type=float, default=0, help="how long (default: until Ctrl-C)")
    p.add_argument("--requests", type=int, default=0, help="how many (default: no bound)")
    p.add_argument("--label-after", type=float, default=5, help="seconds from the answer to its label (default: 5)")
    p.add_argument("--feedback", help="where labels are sent (default: /feedback of the address)")
    p.add_argument("--workers", type=int, default=8, help="connections (default: 8)")
    o = p.parse_args()
    o.feedback = o.feedback or o.address.rstrip("/") + "/feedback"
    if urlsplit(o.address).scheme != "http" or urlsplit(o.feedback).scheme != "http":
        p.error(f"expected addresses such as http://127.0.0.1:8080, not {o.address}")
    if o.rate <= 0:
        p.error("the rate is at most 0, expected more")
    return o


if __name__ == "__main__":
    Users(options()).run()
