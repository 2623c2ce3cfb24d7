"""Calls demo.Greeter at an Adit gateway as if the gateway were the service: plain gRPC, no more.

    python3 caller.py

ADIT_ADDRESS says where the gateway is, as gateway.py has it. If it asks callers for a key, put one into ADIT_CALLER_KEY.
"""
import os
import sys
from pathlib import Path

import grpc

from gateway import dial

sys.path.append(str(Path(__file__).resolve().parents[1] / "proto"))
greeter, greeter_services = grpc.protos_and_services("greeter.proto")

DEADLINE_SECONDS = 10


def main():
    key = os.environ.get("ADIT_CALLER_KEY")
    options = {"metadata": [("x-adit-key", key)] if key else None, "timeout": DEADLINE_SECONDS}
    with dial(grpc) as channel:
        stub = greeter_services.GreeterStub(channel)

        print("Greet:", stub.Greet(greeter.GreetRequest(name="Ada"), **options).text)

        for reply in stub.Count(greeter.CountRequest(limit=3), **options):
            print("Count:", reply.number)

        numbers = (greeter.SumRequest(number=number) for number in (1, 2, 3))
        print("Sum:", stub.Sum(numbers, **options).total)

        lines = (greeter.ChatMessage(text=text) for text in ("hello", "goodbye"))
        for reply in stub.Chat(lines, **options):
            print("Chat:", reply.text)

        try:
            stub.Greet(greeter.GreetRequest(), **options)
        except grpc.RpcError as error:
            print("Greet without a name:", error.code().name, error.details())


if __name__ == "__main__":
    main()
