"""The design of the service that ours replaces: Flask, one process, the groups in Redis as Flask-Caching
keeps them (pickled), limits counted in Redis, and the answer written anew for each request.

Environment: REDIS_URL, SERVICE_ID, SERVICE_PASSWORD, REPORT (a file to put into Redis), PORT
"""

import hmac
import json
import logging
import os
import pickle

import redis
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])
KEY = "flask:incidents"
LIMIT = 1_000_000_000


def is_user():
    auth = request.authorization
    if auth is None or auth.type != "basic":
        return False
    same_id = hmac.compare_digest(auth.username.encode(), os.environ["SERVICE_ID"].encode())
    return same_id & hmac.compare_digest(auth.password.encode(), os.environ["SERVICE_PASSWORD"].encode())


@app.get("/incidents")
def incidents():
    counter = f"flask:limit:{request.remote_addr}"
    count = store.incr(counter)
    if count == 1:
        store.expire(counter, 60)
    if count > LIMIT:
        return Response(status=429)
    if not is_user():
        return Response(status=401)
    return jsonify(pickle.loads(store.get(KEY)))


if __name__ == "__main__":
    with open(os.environ["REPORT"], "rb") as file:
        store.set(KEY, pickle.dumps(json.load(file)))
    app.json.sort_keys = False
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
