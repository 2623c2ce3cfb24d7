"""demo.Greeter, served through an Adit gateway: ADIT_API_KEY=<key> python3 service.py dials in.

gateway.py says where, proto/registry.proto explains the frames of a tunnel, examples/proto/greeter.proto the methods."""
import asyncio
import logging
import os
import random
import signal
import sys

import grpc

from gateway import dial

sys.path += [f"{sys.path[0]}/../proto", f"{sys.path[0]}/../../proto"]  # it begins with this folder
greeter = grpc.protos("greeter.proto")
registry, services = grpc.protos_and_services("registry.proto")
API_KEY = os.environ["ADIT_API_KEY"]
KEEPALIVE = [("grpc.keepalive_time_ms", 30_000)]  # notices a gateway that went without a word


async def replies(method, requests, metadata):
    if method == "/demo.Greeter/Greet":
        async for request in requests(greeter.GreetRequest):
            if not request.name:
                raise grpc.aio.AbortError(grpc.StatusCode.INVALID_ARGUMENT, "one name, please")
            hello = "Hallo" if metadata.get("accept-language") == "de" else "Hello"
            yield greeter.GreetReply(text=f"{hello}, {request.name}!")
    elif method == "/demo.Greeter/Count":
        async for request in requests(greeter.CountRequest):
            for number in range(1, request.limit + 1):
                yield greeter.CountReply(number=number)
                await asyncio.sleep(request.pause_ms / 1000)
    elif method == "/demo.Greeter/Sum":
        yield greeter.SumReply(total=sum([one.number async for one in requests(greeter.SumRequest)]))
    elif method == "/demo.Greeter/Chat":
        async for request in requests(greeter.ChatMessage):
            yield greeter.ChatMessage(text=f"You said: {request.text}")
    else:
        raise grpc.aio.AbortError(grpc.StatusCode.UNIMPLEMENTED, f"no method {method}")


class Service:
    async def run(self):
        stopped, self.delay = asyncio.Future(), 1  # a signal cancels `stopped`, and so it is done
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.cancel)
        while not stopped.done():
            self.calls = {}  # request_id: (its task, the payloads on their way to it)
            self.outgoing = asyncio.Queue(64)  # while it is full, methods wait for the gateway
            speaking = asyncio.create_task(self.speak_until(stopped))
            try:
                async with dial(grpc.aio, KEEPALIVE) as channel:
                    gateway = services.RegistryServiceStub(channel)
                    async for frame in gateway.EstablishConnection(self.frames()):
                        self.take(frame)
            except grpc.aio.AioRpcError as error:
                logging.warning("tunnel ended: code=%s message=%s", error.code().name, error.details())
            for task in [speaking, *(task for task, _ in self.calls.values())]:
                task.cancel()
            await asyncio.wait([stopped], timeout=self.delay * random.uniform(0.8, 1.2))
            self.delay = min(self.delay * 1.6, 120)

    async def frames(self):
        while (frame := await self.outgoing.get()) is not None:
            yield registry.ConnectionMessage(**frame)

    async def speak_until(self, stopped):
        register = {"api_key": API_KEY, "services": ["demo.Greeter"], "features": ["stream", "cancel"]}
        await self.outgoing.put({"register": register})
        while not stopped.done():
            await self.outgoing.put({"heartbeat": {}})
            await asyncio.wait([stopped], timeout=30)
        await self.outgoing.put({"status": {"status": "DISCONNECTED"}})
        await asyncio.sleep(1)  # calls that the gateway sent before it read the goodbye still come
        await asyncio.gather(*(task for task, _ in self.calls.values()), return_exceptions=True)
        await self.outgoing.put(None)

    def take(self, frame):
        request, info = frame.request, frame.request.streaming_info
        if frame.HasField("status"):
            logging.info("registered: connection=%s", frame.status.connection_id)
            self.delay = 1
        elif frame.cancel.request_id in self.calls:
            self.calls[frame.cancel.request_id][0].cancel()
        elif frame.HasField("request") and info.sequence_number == 0:
            payloads = asyncio.Queue()
            task = asyncio.create_task(self.answer(request, payloads))
            task.add_done_callback(lambda _: self.calls.pop(request.request_id, None))
            self.calls[request.request_id] = task, payloads
        if request.request_id in self.calls:  # otherwise its answer is complete already
            # A call in one frame has a message, if an empty one; the end of any other call has none.
            if info.stream_type == registry.StreamingInfo.UNARY or not info.is_stream_end:
                self.calls[request.request_id][1].put_nowait(request.payload)
            if info.is_stream_end:
                self.calls[request.request_id][1].put_nowait(None)

    async def answer(self, request, payloads):
        async def requests(message_type):
            while (payload := await payloads.get()) is not None:
                yield message_type.FromString(payload)

        more = {"request_id": request.request_id, "streaming_info": {}}
        end = {"request_id": request.request_id, "streaming_info": {"is_stream_end": True}}
        try:
            async for reply in replies(request.method_path, requests, request.headers):
                await self.outgoing.put({"response": {**more, "payload": reply.SerializeToString()}})
        except grpc.aio.AbortError as refusal:
            end.update(status_code=refusal.args[0].value[0], error_message=refusal.args[1])
        except Exception:
            logging.exception("failed: method=%s", request.method_path)
            end.update(status_code=grpc.StatusCode.INTERNAL.value[0], error_message="the method failed")
        await self.outgoing.put({"response": end})


logging.basicConfig(level=logging.INFO, format="%(message)s")
asyncio.run(Service().run())
