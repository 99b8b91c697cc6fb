"""Serves moto on a free loopback port, says which, and ends with whoever holds its standard input."""

import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)


def end():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end, daemon=True).start()
print(server.server_port, flush=True)
server.serve_forever()
