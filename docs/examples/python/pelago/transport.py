"""Connections: TCP, and WebSocket (RFC 6455) with one binary message per write (section 2)."""

import base64
import hashlib
import os
import socket
import struct
from urllib.parse import urlsplit


class ConnectionLost(Exception):
    """The other side has ended the connection."""


class Tcp:
    """A stream over TCP."""

    def __init__(self, host: str, port: int):
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes):
        self.socket.sendall(data)

    def receive(self, seconds: float) -> bytes:
        """What has come; nothing if nothing does within some time."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionLost
        return data

    def close(self):
        self.socket.close()


class WebSocket:
    """A stream over WebSocket: the payloads of its binary messages."""

    GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9

    def __init__(self, host: str, port: int, path: str = "/"):
        self.tcp, self.buffer = Tcp(host, port), b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.tcp.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.tcp.receive(10)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        accept = base64.b64encode(hashlib.sha1((key + self.GUID).encode()).digest()).decode()
        if " 101 " not in status + " " or headers.get("sec-websocket-accept") != accept:
            raise ConnectionLost(f"no WebSocket: {status}")

    def send(self, data: bytes):
        self._send(self.BINARY, data)

    def _send(self, opcode: int, data: bytes):
        length = len(data)
        if length < 126:
            head = bytes([0x80 | opcode, 0x80 | length])
        elif length < 65536:
            head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", length)
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.tcp.send(head + mask + masked)

    def receive(self, seconds: float) -> bytes:
        payload = self._messages()
        if not payload:
            self.buffer += self.tcp.receive(seconds)
            payload = self._messages()
        return payload

    def _messages(self) -> bytes:
        payload = b""
        while (frame := self._frame()) is not None:
            opcode, data = frame
            if opcode in (self.CONTINUATION, self.BINARY):
                payload += data
            elif opcode == self.PING:
                self._send(10, data)
            elif opcode == self.CLOSE:
                if not payload:
                    raise ConnectionLost
                # Next time.
                self.buffer = b"\x88\x00"
                break
        return payload

    def _frame(self) -> tuple[int, bytes] | None:
        if len(self.buffer) < 2:
            return None
        opcode, length, start = self.buffer[0] & 15, self.buffer[1] & 0x7F, 2
        for marker, size, form in ((126, 2, ">H"), (127, 8, ">Q")):
            if length == marker:
                if len(self.buffer) < 2 + size:
                    return None
                (length,) = struct.unpack(form, self.buffer[2 : 2 + size])
                start = 2 + size
                break
        if len(self.buffer) < start + length:
            return None
        data = self.buffer[start : start + length]
        self.buffer = self.buffer[start + length :]
        return opcode, data

    def close(self):
        self.tcp.close()


def connect(address: str) -> Tcp | WebSocket:
    """A connection to `tcp://host:port`, `host:port` or `ws://host:port/path`."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "ws":
        return WebSocket(parts.hostname, parts.port, parts.path or "/")
    return Tcp(parts.hostname, parts.port)
