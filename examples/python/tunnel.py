"""Serves methods through an Adit gateway over one stream; proto/registry.proto explains each frame.

A method takes the requests of one call (an async iterator) and the caller's metadata (a dict). It
returns its one reply, or yields its replies, or raises Refused.
"""
import asyncio
import inspect
import logging
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
registry, registry_services = grpc.protos_and_services("registry.proto")

HEARTBEAT_SECONDS = 30  # what the gateway asks for
FIRST_DELAY_SECONDS, DELAY_FACTOR, LONGEST_DELAY_SECONDS = 1, 1.6, 120
STABLE_SECONDS = 30  # a tunnel that lasted this long makes the next delay short again
OUTGOING_FRAMES_MAX = 64  # then methods wait until the gateway has read some


class Service(NamedTuple):
    name: str
    methods: dict  # name: (the method, the type of its requests)


class Refused(Exception):
    """Ends a call with a status of the method's choice: Refused(code, message)."""


async def serve_until(stop, service, address, key):
    """Keeps a tunnel to the gateway until the event `stop`; then finishes the calls and returns."""
    delay = FIRST_DELAY_SECONDS
    while not stop.is_set():
        began = time.monotonic()
        try:
            await Tunnel(service).run(stop, address, key)
        except grpc.aio.AioRpcError as error:
            logging.warning("tunnel ended: code=%s message=%s", error.code().name, error.details())
        if time.monotonic() - began > STABLE_SECONDS:
            delay = FIRST_DELAY_SECONDS
        # Jitter keeps the services of a restarted gateway from all coming back at the same moment.
        await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=delay * random.uniform(0.8, 1.2))
        delay = min(delay * DELAY_FACTOR, LONGEST_DELAY_SECONDS)


class Tunnel:
    def __init__(self, service):
        self.service = service
        self.calls = {}  # request_id: (the task that serves the call, the payloads on their way to it)
        self.outgoing = asyncio.Queue(OUTGOING_FRAMES_MAX)

    async def run(self, stop, address, key):
        await self.send(register=registry.ConnectionRegister(
            api_key=key, services=[self.service.name], features=["stream", "cancel", "headers"]))
        helpers = [asyncio.create_task(self.heartbeat()), asyncio.create_task(self.leave_after(stop))]
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = registry_services.RegistryServiceStub(channel)
                async for frame in stub.EstablishConnection(self.frames()):
                    self.receive(frame)
        finally:
            for task in [*helpers, *(task for task, _ in self.calls.values())]:
                task.cancel()

    async def send(self, **frame):
        await self.outgoing.put(registry.ConnectionMessage(**frame))

    async def frames(self):
        while (frame := await self.outgoing.get()) is not None:
            yield frame

    async def heartbeat(self):
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self.send(heartbeat=registry.Heartbeat(timestamp=int(time.time())))

    async def leave_after(self, stop):
        await stop.wait()
        goodbye = registry.ConnectionStatus.DISCONNECTED  # no new calls will come after it
        await self.send(status=registry.ConnectionStatus(status=goodbye))
        await asyncio.gather(*(task for task, _ in self.calls.values()), return_exceptions=True)
        await self.outgoing.put(None)

    def receive(self, frame):
        if frame.HasField("status"):
            logging.info("registered: connection=%s", frame.status.connection_id)
        elif frame.HasField("request"):
            self.take(frame.request)
        elif frame.HasField("cancel") and frame.cancel.request_id in self.calls:
            self.calls[frame.cancel.request_id][0].cancel()

    def take(self, request):
        """Begins a call, or passes on one more message of it."""
        call, info = request.request_id, request.streaming_info
        if info.sequence_number == 0:
            payloads = asyncio.Queue()
            task = asyncio.create_task(self.serve(request, payloads))
            self.calls[call] = task, payloads
            task.add_done_callback(lambda _: self.calls.pop(call))
        if call not in self.calls:
            return  # its answer was complete before its last message
        payloads = self.calls[call][1]
        # A whole call is one frame, its message may be empty; the end of any other carries none.
        if info.stream_type == registry.StreamingInfo.UNARY or not info.is_stream_end:
            payloads.put_nowait(request.payload)
        if info.is_stream_end:
            payloads.put_nowait(None)

    async def serve(self, request, payloads):
        answer = partial(registry.ForwardResponse, request_id=request.request_id)
        try:
            await self.call(request, payloads, answer)
        except Refused as refused:
            code, message = refused.args
            await self.send(response=answer(status_code=code.value[0], error_message=message))
        except asyncio.CancelledError:
            logging.info("cancelled: method=%s", request.method_path)
            raise
        except Exception:
            logging.exception("failed: method=%s", request.method_path)
            internal = grpc.StatusCode.INTERNAL.value[0]
            await self.send(response=answer(status_code=internal, error_message="the method failed"))

    async def call(self, request, payloads, answer):
        """Runs the method and sends its replies. The last frame of an answer carries status 0."""
        async def requests():
            while (payload := await payloads.get()) is not None:
                yield message_type.FromString(payload)

        name = request.method_path.rsplit("/", 1)[1]
        if name not in self.service.methods:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"no method {name}")
        method, message_type = self.service.methods[name]
        metadata = {header.name: header.value for header in request.metadata}
        if not inspect.isasyncgenfunction(method):
            reply = await method(requests(), metadata)
            return await self.send(response=answer(payload=reply.SerializeToString()))
        more, end = registry.StreamingInfo(), registry.StreamingInfo(is_stream_end=True)
        async for reply in method(requests(), metadata):
            await self.send(response=answer(payload=reply.SerializeToString(), streaming_info=more))
        await self.send(response=answer(streaming_info=end))
