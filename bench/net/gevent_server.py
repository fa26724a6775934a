#!/usr/bin/env python3
"""gevent, a greenlet per connection.

    gevent_server --port=7000 [--http=1]
"""
import argparse
import resource

from gevent import socket
from gevent.server import StreamServer

PAGE = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!'


def echo(stream, _):
    buffer = memoryview(bytearray(32768))
    while received := stream.recv_into(buffer):
        stream.sendall(buffer[:received])


def answer_http(stream, _):
    kept = b''
    while received := stream.recv(32768):
        *requests, kept = (kept + received).split(b'\r\n\r\n')
        if requests:
            stream.sendall(len(requests) * PAGE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--port', type=int, default=7000)
    parser.add_argument('--http', type=int, default=0)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Accepted sockets inherit no-delay.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind(('127.0.0.1', options.port))
    listener.listen(4096)
    StreamServer(listener, answer_http if options.http else echo).serve_forever()


main()
