"""Visits a server, each time with the session of the visit before, and prints a line of JSON each. The client is the
GnuTLS library: gnutls-cli drops its session after coming back with it once.

python3 gnutls-client.py PORT TLSv1.2|TLSv1.3 CA-FILE VISITS
"""

import ctypes
import json
import socket
import sys

CLIENT, X509, DNS_NAME = 2, 1, 1
AGAIN, INTERRUPTED = -28, -52

gnutls = ctypes.CDLL("libgnutls.so.30")
for name in ("gnutls_record_recv", "gnutls_record_send"):
    getattr(gnutls, name).restype = ctypes.c_ssize_t


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_uint)]


def check(result):
    if result < 0:
        gnutls.gnutls_strerror.restype = ctypes.c_char_p
        raise RuntimeError(gnutls.gnutls_strerror(result).decode())
    return result


def received(session):
    buffer, answer = ctypes.create_string_buffer(4096), b""
    while True:
        length = gnutls.gnutls_record_recv(session, buffer, ctypes.c_size_t(len(buffer)))
        if length in (AGAIN, INTERRUPTED):
            continue
        if check(length) == 0:
            return answer
        answer += buffer.raw[:length]


def visit(port, priority, credentials, data):
    session = ctypes.c_void_p()
    check(gnutls.gnutls_init(ctypes.byref(session), CLIENT))
    check(gnutls.gnutls_priority_set_direct(session, priority, None))
    check(gnutls.gnutls_credentials_set(session, X509, credentials))
    check(gnutls.gnutls_server_name_set(session, DNS_NAME, b"a.test", ctypes.c_size_t(6)))
    gnutls.gnutls_session_set_verify_cert(session, b"a.test", 0)
    if data is not None:
        check(gnutls.gnutls_session_set_data(session, ctypes.c_void_p(data.data), ctypes.c_size_t(data.size)))
    with socket.create_connection(("127.0.0.1", port)) as raw:
        gnutls.gnutls_transport_set_int2(session, raw.fileno(), raw.fileno())
        check(gnutls.gnutls_handshake(session))
        request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        check(gnutls.gnutls_record_send(session, request, ctypes.c_size_t(len(request))))
        told = json.loads(received(session).split(b"\r\n\r\n", 1)[1])
        data = Datum()
        check(gnutls.gnutls_session_get_data2(session, ctypes.byref(data)))
        print(json.dumps({"reused": gnutls.gnutls_session_is_resumed(session) == 1, "told": told}))
        gnutls.gnutls_deinit(session)
    return data


def main(port, version, ca_file, visits):
    credentials = ctypes.c_void_p()
    check(gnutls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    check(gnutls.gnutls_certificate_set_x509_trust_file(credentials, ca_file.encode(), 1))
    priority = f"NORMAL:-VERS-ALL:+VERS-{version.replace('v', '')}".encode()
    data = None
    for _ in range(int(visits)):
        data = visit(int(port), priority, credentials, data)


main(*sys.argv[1:])
