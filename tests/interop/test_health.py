"""The gateway's own health service, asked as load balancers and orchestrators do."""
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import (
    KEY, PATIENCE_SECONDS, STREAM_END, STREAM_MORE, eventually, greet, greeter, greeter_services, hello, reason)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def health(gateway):
    return health_pb2_grpc.HealthStub(gateway.channel())


def asked(service=""):
    return health_pb2.HealthCheckRequest(service=service)


def check(stub, service="", **options):
    return stub.Check(asked(service), timeout=PATIENCE_SECONDS, **options).status


def told(watch):
    return next(watch).status


def test_a_service_is_serving_while_it_is_there(gateway, start_peer):
    stub = health(gateway)
    assert check(stub) == SERVING
    with pytest.raises(grpc.RpcError) as raised:
        check(stub, "demo.Greeter")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND

    watch = stub.Watch(asked("demo.Greeter"), timeout=PATIENCE_SECONDS)
    assert told(watch) == SERVICE_UNKNOWN
    peer = start_peer(gateway)
    assert told(watch) == SERVING
    assert check(stub, "demo.Greeter") == SERVING
    listed = stub.List(health_pb2.HealthListRequest(), timeout=PATIENCE_SECONDS).statuses
    assert {name: response.status for name, response in listed.items()} == {"": SERVING, "demo.Greeter": SERVING}

    peer.breaks()
    assert told(watch) == NOT_SERVING
    assert check(stub, "demo.Greeter") == NOT_SERVING
    assert check(stub) == SERVING


def test_a_goodbye_is_seen_at_once(gateway, peer):
    watch = health(gateway).Watch(asked("demo.Greeter"), timeout=PATIENCE_SECONDS)
    assert told(watch) == SERVING
    peer.sends(drain={})
    assert told(watch) == NOT_SERVING


def test_a_stop_is_seen_at_once_and_what_runs_may_finish(gateway, peer):
    stub = health(gateway)
    watches = [stub.Watch(asked(name), timeout=PATIENCE_SECONDS) for name in ("", "demo.Greeter")]
    assert [told(watch) for watch in watches] == [SERVING, SERVING]
    caller = gateway.caller()
    unary = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    stream = caller.Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    streamed = peer.receives("request")
    peer.answers(streamed, greeter.CountReply(number=1), streaming_info=STREAM_MORE)
    assert next(stream).number == 1

    gateway.signal(signal.SIGTERM)
    assert [told(watch) for watch in watches] == [NOT_SERVING, NOT_SERVING]

    peer.answers(request, hello())
    assert unary.result(PATIENCE_SECONDS) == hello()
    peer.answers(streamed, greeter.CountReply(number=2), streaming_info=STREAM_MORE)
    assert next(stream).number == 2
    peer.answers(streamed, streaming_info=STREAM_END)
    assert list(stream) == []
    assert gateway.exit_code() == 0
    assert {watch.code() for watch in watches} == {grpc.StatusCode.UNAVAILABLE}


def test_names_are_told_to_those_with_a_key_only(start_gateway, start_peer):
    gateway = start_gateway({"callers": {"require_key": True}})
    start_peer(gateway)
    stub = health(gateway)
    assert check(stub) == SERVING
    with pytest.raises(grpc.RpcError) as raised:
        check(stub, "demo.Greeter")
    assert (raised.value.code(), reason(raised.value)) == (grpc.StatusCode.UNAUTHENTICATED, "no_credentials")
    assert check(stub, "demo.Greeter", metadata=[("x-adit-key", KEY)]) == SERVING


def test_a_client_that_checks_health_by_itself_calls_only_what_is_serving(gateway, start_peer):
    config = '{"healthCheckConfig": {"serviceName": "demo.Greeter"}, "loadBalancingConfig": [{"round_robin": {}}]}'
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(gateway.address, options) as channel:
        stub = greeter_services.GreeterStub(channel)

        def code():
            return stub.Greet.future(greet(), timeout=PATIENCE_SECONDS).code()

        # The client never sends it: nobody serves this name yet.
        eventually(lambda: code() == grpc.StatusCode.UNAVAILABLE, "a refusal by the client itself")
        peer = start_peer(gateway)
        call = stub.Greet.future(greet(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
        peer.answers(peer.receives("request"), hello())
        assert call.result(PATIENCE_SECONDS) == hello()
