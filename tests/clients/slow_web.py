#!/usr/bin/env python3
"""A web server that takes its time, for clients to be tested with: HTTP and HTTPS.

usage: slow_web.py CERTIFICATE KEY      prints "listening HTTP_PORT HTTPS_PORT"

    /sleep?ms=N&say=X   answers X after N milliseconds
    /gate?say=X         answers X when the gate is opened
    /waiting?n=N        answers when N requests wait at the gate
    /open               opens the gate for those who wait, and answers how many
    /say?say=X          answers X
    /page?n=N           answers after 50 ms with links to two other pages, of which there are 31
    /close              closes the connection in the middle of an answer
    /reset              resets it there
"""

import asyncio
import socket
import ssl
import struct
import sys
import urllib.parse


class Gate:
    def __init__(self):
        self.changed = asyncio.Condition()
        self.waiting = 0
        self.round = 0

    async def wait(self):
        async with self.changed:
            my_round = self.round
            self.waiting += 1
            self.changed.notify_all()
            await self.changed.wait_for(lambda: self.round != my_round)

    async def until_waiting(self, number):
        async with self.changed:
            await self.changed.wait_for(lambda: self.waiting >= number)

    async def open(self):
        async with self.changed:
            opened, self.waiting = self.waiting, 0
            self.round += 1
            self.changed.notify_all()
            return opened


async def answer(gate, target):
    """What to say, or None: to break off."""
    path, _, text = target.partition('?')
    query = dict(urllib.parse.parse_qsl(text))
    if path == '/sleep':
        await asyncio.sleep(int(query['ms']) / 1000)
    elif path == '/page':
        await asyncio.sleep(0.05)
        return ' '.join(f'<a href="/page?n={n}">{n}</a>' for n in (2 * int(query['n']), 2 * int(query['n']) + 1) if n < 32)
    elif path == '/gate':
        await gate.wait()
    elif path == '/waiting':
        await gate.until_waiting(int(query['n']))
    elif path == '/open':
        return str(await gate.open())
    elif path in ('/close', '/reset'):
        return None
    return query.get('say', 'well')


def break_off(writer, target):
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')
    if target == '/reset':
        writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        writer.transport.abort()  # at once, without the farewell of TLS


async def talk(gate, reader, writer):
    try:
        while True:
            head = await reader.readuntil(b'\r\n\r\n')
            target = head.split()[1].decode()
            text = await answer(gate, target)
            if text is None:
                break_off(writer, target)
                break
            body = text.encode()
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


async def main(certificate, key):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    gate = Gate()
    servers = [
        await asyncio.start_server(lambda *peer: talk(gate, *peer), '127.0.0.1', 0, ssl=context, backlog=1000,
                                   **({'ssl_handshake_timeout': 120} if context else {}))
        for context in (None, tls)]
    print('listening', *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:3]))
