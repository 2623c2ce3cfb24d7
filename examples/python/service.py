"""demo.Greeter, served through an Adit gateway: it listens on no port, it dials in.

    ADIT_API_KEY=<key> python3 service.py

Written for asyncio. What happens on the tunnel is in tunnel.py; here are only the methods.
"""
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import grpc

from tunnel import Refused, Service, serve_until

sys.path.append(str(Path(__file__).resolve().parents[1] / "proto"))
greeter = grpc.protos("greeter.proto")


async def greet(requests, metadata):
    names = [request.name async for request in requests]
    if len(names) != 1 or not names[0]:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "one name, please")
    hello = "Hallo" if metadata.get("accept-language") == b"de" else "Hello"
    return greeter.GreetReply(text=f"{hello}, {names[0]}!")


async def count(requests, metadata):
    async for request in requests:
        for number in range(1, request.limit + 1):
            yield greeter.CountReply(number=number)
            await asyncio.sleep(request.pause_ms / 1000)


async def add_up(requests, metadata):
    return greeter.SumReply(total=sum([request.number async for request in requests]))


async def chat(requests, metadata):
    async for request in requests:
        yield greeter.ChatMessage(text=f"You said: {request.text}")


GREETER = Service("demo.Greeter", {
    "Greet": (greet, greeter.GreetRequest),
    "Count": (count, greeter.CountRequest),
    "Sum": (add_up, greeter.SumRequest),
    "Chat": (chat, greeter.ChatMessage),
})


async def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    address = os.environ.get("ADIT_ADDRESS", "127.0.0.1:50051")
    await serve_until(stop, GREETER, address, os.environ["ADIT_API_KEY"])


if __name__ == "__main__":
    asyncio.run(main())
