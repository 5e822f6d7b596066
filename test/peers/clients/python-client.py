"""Visits a server, three times unless told, each with the session of the visit before, and prints a line of JSON each.

python3 python-client.py PORT TLSv1_2|TLSv1_3 CA-FILE [VISITS]
"""

import json
import socket
import ssl
import sys

port, version, ca_file = int(sys.argv[1]), getattr(ssl.TLSVersion, sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca_file)
context.minimum_version = context.maximum_version = version
visits = int(sys.argv[4]) if len(sys.argv) > 4 else 3
session = None
for _ in range(visits):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname="a.test", session=session) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
            # TLS 1.3 brings it with the first data.
            session = connection.session
            told = json.loads(answer.split(b"\r\n\r\n", 1)[1])
            print(json.dumps({"protocol": connection.version(), "reused": connection.session_reused, "told": told}))
