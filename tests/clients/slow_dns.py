#!/usr/bin/env python3
"""A name server on 127.0.0.1:53 that answers when it is told to.

usage: slow_dns.py      prints "listening PORT"

Who connects to PORT (TCP) and sends "N\\n" is answered "N\\n" once N different names were asked
for and wait. All that wait are answered when it sends "open\\n", and then those that come, at
once. "close\\n": no more. The address of hN.test is 10.1.(N/256).(N%256); other names do not exist.
"""

import asyncio
import socket
import struct

A, IN = 1, 1


def reply(query):
    """To one question: the address of a hN, and of nothing else."""
    name, at = [], 12
    while query[at]:
        name.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    question_end = at + 5
    kind, = struct.unpack_from('!H', query, at + 1)
    known = len(name) == 2 and name[1] == 'test' and name[0][:1] == 'h' and name[0][1:].isdigit()
    answers = 1 if known and kind == A else 0
    head = query[:2] + struct.pack('!HHHHH', 0x8180 if known else 0x8183, 1, answers, 0, 0)
    record = b''
    if answers:
        number = int(name[0][1:])
        record = struct.pack('!HHHIHBBBB', 0xc00c, A, IN, 0, 4, 10, 1, number >> 8, number & 255)
    return head + query[12:question_end] + record


class Names(asyncio.DatagramProtocol):
    def __init__(self):
        self.held = {}  # (peer, query) -> None: a question asked twice is one
        self.open = False
        self.changed = asyncio.Condition()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, peer):
        if self.open:
            self.transport.sendto(reply(query), peer)
            return
        self.held[peer, query] = None
        asyncio.ensure_future(self.tell())

    async def tell(self):
        async with self.changed:
            self.changed.notify_all()

    def names(self):
        return len({query[12:query.index(b'\0', 12)] for _, query in self.held})

    async def until_held(self, number):
        async with self.changed:
            await self.changed.wait_for(lambda: self.names() >= number)

    def open_all(self):
        self.open = True
        for peer, query in self.held:
            self.transport.sendto(reply(query), peer)
        self.held.clear()


async def main():
    loop = asyncio.get_running_loop()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    udp.bind(('127.0.0.1', 53))
    _, names = await loop.create_datagram_endpoint(Names, sock=udp)

    async def control(reader, writer):
        while command := (await reader.readline()).decode().strip():
            if command == 'open':
                names.open_all()
            elif command == 'close':
                names.open = False
            else:
                await names.until_held(int(command))
            writer.write(command.encode() + b'\n')
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(control, '127.0.0.1', 0)
    print('listening', server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
