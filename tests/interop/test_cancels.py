"""Callers that go away: the service is told, and only of that call."""
import grpc

from conftest import PATIENCE_SECONDS, STREAM_MORE, Outbox, greet, greeter, hello, say

CANCELLED = grpc.StatusCode.CANCELLED.value[0]


def test_a_cancelled_unary_call(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    call.cancel()
    cancel = peer.receives("cancel")
    assert (cancel.request_id, cancel.status_code) == (request.request_id, CANCELLED)


def test_a_cancelled_stream(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Chat(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(say("one"))
    request = peer.receives("request")
    peer.answers(request, say("1"), streaming_info=STREAM_MORE)
    assert next(call).text == "1"
    call.cancel()
    # A cancel is never a half-close: no frame with is_stream_end comes before it.
    cancel = peer.receives("cancel")
    assert (cancel.request_id, cancel.status_code) == (request.request_id, CANCELLED)
    outbox.half_closes()


def test_a_broken_connection_cancels_all_its_calls(gateway, peer):
    leaving, staying = gateway.caller(), gateway.caller()
    kept = staying.Greet.future(greet("Grace"), timeout=PATIENCE_SECONDS)
    kept_request = peer.receives("request")
    calls = [leaving.Greet.future(greet(), timeout=PATIENCE_SECONDS) for _ in range(5)]
    requests = {peer.receives("request").request_id for _ in calls}

    gateway.channels[0].close()
    assert {peer.receives("cancel").request_id for _ in calls} == requests

    peer.answers(kept_request, hello("Hello, Grace!"))
    assert kept.result(PATIENCE_SECONDS) == hello("Hello, Grace!")


def test_a_peer_without_the_feature_is_not_told(gateway, plain_peer):
    caller = gateway.caller()
    call = caller.Greet.future(greet("gone"), timeout=PATIENCE_SECONDS)
    gone = plain_peer.receives("request")
    call.cancel()
    call = caller.Greet.future(greet("here"), timeout=PATIENCE_SECONDS)
    here = plain_peer.receives("request")
    assert greeter.GreetRequest.FromString(here.payload).name == "here"
    plain_peer.answers(gone, hello("nobody hears this"))
    plain_peer.answers(here, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_example_service_stops_working(gateway, start_finishing_service):
    service = start_finishing_service(gateway.address)
    call = gateway.caller().Count(
        greeter.CountRequest(limit=1_000_000, pause_ms=10), timeout=PATIENCE_SECONDS)
    assert next(call).number == 1
    call.cancel()
    # If it still worked on the call, it would not be over for hours.
    service.leaves()
