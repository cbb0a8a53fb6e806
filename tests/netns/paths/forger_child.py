"""Answers ICMPv6 echo requests in the kernel's place, from an address that a line on stdin names."""

from __future__ import annotations

import select
import socket
import sys

ECHO_REQUEST, ECHO_REPLY = 128, 129


def main() -> None:
    asked = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    answers: socket.socket | None = None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for ready in select.select([asked, sys.stdin], [], [])[0]:
            if ready is asked:
                message, sender = asked.recvfrom(256)
                if message[0] == ECHO_REQUEST and answers is not None:
                    answers.sendto(bytes([ECHO_REPLY, 0, 0, 0]) + message[4:], sender)
                    sys.stdout.write("answered\n")
                    sys.stdout.flush()
                continue
            line = sys.stdin.readline()
            if not line:
                return
            answers = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            answers.bind((line.strip(), 0))


main()
