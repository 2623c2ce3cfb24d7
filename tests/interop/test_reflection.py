"""Reflection through the gateway, as tools use it that know no schema."""
import threading

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import PATIENCE_SECONDS, greeter, hello

UNIMPLEMENTED = 12


def serve(peer, version="v1alpha"):
    """Lets a peer serve one method, and reflection of one version."""
    servicer = reflection.ReflectionServicer(["demo.Greeter"])
    asked = []

    def answer(request):
        asked.append(request.method_path)
        if request.method_path == "/demo.Greeter/Greet":
            name = greeter.GreetRequest.FromString(request.payload).name
            peer.answers(request, hello(f"Hello, {name}!"))
        elif request.method_path == f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo":
            question = reflection_pb2.ServerReflectionRequest.FromString(request.payload)
            peer.answers(request, next(servicer.ServerReflectionInfo(iter([question]), None)))
        else:
            peer.answers(request, status_code=UNIMPLEMENTED)

    def run():
        while (frame := peer.frames.get()) is not None:
            if frame.HasField("request"):
                answer(frame.request)

    threading.Thread(target=run, daemon=True).start()
    return asked


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("features", [(), ("stream", "cancel", "headers", "compression")])
def test_a_client_without_a_schema_calls_a_service(gateway, start_peer, version, features):
    peer = start_peer(gateway, features=features)
    asked = serve(peer, version)
    channel = gateway.channel()
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "demo.Greeter", "adit.events.v1.EventService", "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("demo.Greeter")
    assert [method.name for method in service.methods] == ["Greet", "Count", "Sum", "Chat"]
    assert asked[-1] == f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"

    method = service.FindMethodByName("Greet")
    request_class, reply_class = (GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    greet = channel.unary_unary(
        f"/{service.full_name}/{method.name}", request_class.SerializeToString, reply_class.FromString)
    assert greet(request_class(name="Ada"), timeout=PATIENCE_SECONDS).text == "Hello, Ada!"


def test_messages_and_files_are_found_too(gateway, start_peer):
    serve(start_peer(gateway))
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(gateway.channel()))
    assert pool.FindMessageTypeByName("demo.GreetReply").file.name == "greeter.proto"
    assert pool.FindFileByName("greeter.proto").package == "demo"
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("demo.NoSuchMessage")


def test_the_gateways_own_services_are_described_without_any_peer(gateway):
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(gateway.channel()))
    health = pool.FindServiceByName("grpc.health.v1.Health")
    assert [method.name for method in health.methods] == ["Check", "List", "Watch"]
    for version in ("v1", "v1alpha"):
        pool.FindServiceByName(f"grpc.reflection.{version}.ServerReflection")
    events = pool.FindServiceByName("adit.events.v1.EventService")
    assert [method.name for method in events.methods] == ["Publish", "PublishStream", "Subscribe"]
    files = ["adit/events/v1/events", "adit/events/v1/cloudevents", "google/protobuf/any", "google/protobuf/timestamp"]
    for file in files:
        assert pool.FindFileByName(f"{file}.proto").message_types_by_name
    cloud_event = pool.FindMessageTypeByName("io.cloudevents.v1.CloudEvent")
    assert GetMessageClass(cloud_event)(id="1").id == "1"


def test_events_are_listed_only_where_they_are_served(start_gateway):
    gateway = start_gateway({"listeners": [{"address": "127.0.0.1:0", "events": False}]})
    database = ProtoReflectionDescriptorDatabase(gateway.channel())
    assert "adit.events.v1.EventService" not in database.get_services()


def test_a_service_without_reflection_is_listed_and_not_described(gateway, start_peer):
    asked = serve(start_peer(gateway), version="none")
    database = ProtoReflectionDescriptorDatabase(gateway.channel())
    assert "demo.Greeter" in database.get_services()
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("demo.Greeter")
    assert len(asked) == 2


def test_it_can_be_switched_off(start_gateway):
    gateway = start_gateway({"listeners": [{"address": "127.0.0.1:0", "reflection": False}]})
    with pytest.raises(grpc.RpcError) as raised:
        ProtoReflectionDescriptorDatabase(gateway.channel()).get_services()
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
