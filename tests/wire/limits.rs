//! What happens at each limit, and that it is the call at the limit that it happens to.

use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::support::{
    Caller, Gateway, KEY, Peer, call_whole, ok, soon, stream_end, stream_part, until,
};

#[tokio::test]
async fn calls_in_all_are_limited_and_told_when_to_come_back() {
    let gateway = Gateway::with(json!({ "limits": { "calls_max": 1 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut first = call_whole(&caller, "/demo.Echo/Say", "first").await;
    let request = peer.request().await;
    let mut second = call_whole(&caller, "/demo.Echo/Say", "").await;
    let end = second.end().await;
    assert_eq!((end.code.as_str(), end.reason.as_deref()), ("8", Some("inflight_limit")));
    assert_eq!(end.trailers["grpc-retry-pushback-ms"], "1000");
    peer.answer(ok(&request, "first")).await;
    first.message().await;
    first.succeeds().await;
    until("the slot to be free", || async {
        let mut probe = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "50m")]).await;
        probe.send_last("").await;
        probe.end().await.reason.as_deref() == Some("deadline")
    })
    .await;
}

#[tokio::test]
async fn calls_on_a_tunnel_are_limited_and_the_next_tunnel_takes_over() {
    let gateway = Gateway::with(json!({ "limits": { "calls_per_tunnel_max": 1 } }));
    let mut one = gateway.peer("demo.Echo").await;
    let mut two = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _first = call_whole(&caller, "/demo.Echo/Say", "").await;
    let _second = call_whole(&caller, "/demo.Echo/Say", "").await;
    one.request().await;
    two.request().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(8, "inflight_limit").await;
}

#[tokio::test]
async fn a_full_queue_refuses_new_calls_at_once_and_control_still_gets_through() {
    let gateway = Gateway::with(json!({ "limits": {
        "tunnel_queue_bytes_max": "128KiB", "call_queue_bytes_max": "64KiB",
    } }));
    // The peer lets in next to nothing, so what is sent to it queues up.
    let mut peer = Peer::dial_narrow(gateway.address(), 2048).await;
    peer.register(KEY, &["demo.Echo"], &["stream", "cancel"]).await;
    peer.connected().await;
    let caller = gateway.caller().await;
    let mut queued = Vec::new();
    loop {
        let headers = [("grpc-timeout", "20S")];
        let mut call = caller.call_headers("/demo.Echo/Say", &headers).await;
        call.send_last([7; 60_000]).await;
        // A first half of the calls fits; which is the first that does not, shows its end.
        queued.push(call);
        if queued.len() == 8 {
            break;
        }
    }
    let mut refused = queued.pop().unwrap();
    refused.fails(8, "queue_full").await;
    // The first in the queue is answered as soon as the peer reads.
    let request = peer.request().await;
    peer.answer(ok(&request, "taken")).await;
    assert_eq!(queued[0].message().await, "taken");
}

#[tokio::test]
async fn an_empty_queue_admits_any_legal_message() {
    let gateway = Gateway::with(json!({ "limits": {
        "tunnel_queue_bytes_max": "64KiB", "call_queue_bytes_max": "64KiB",
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", vec![7; 1_000_000]).await;
    peer.echo().await;
    assert_eq!(call.message().await.len(), 1_000_000);
}

#[tokio::test]
async fn a_frame_larger_than_peers_accept_is_not_sent() {
    let gateway = Gateway::with(json!({ "limits": { "classic_frame_bytes_max": "10KiB" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    call_whole(&caller, "/demo.Echo/Say", [7; 10 * 1024]).await.fails(8, "message_too_large").await;
    // The peer never saw the call: there is nothing to cancel.
    let mut small = call_whole(&caller, "/demo.Echo/Say", [7; 9 * 1024]).await;
    peer.echo().await;
    assert_eq!(small.message().await.len(), 9 * 1024);
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_held_up_to_the_calls_buffer() {
    let gateway = Gateway::with(json!({ "limits": {
        "message_bytes_max": "64KiB", "call_buffer_bytes_max": "128KiB",
        "tunnel_buffer_bytes_max": "1MiB",
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let slow = Caller::connect_narrow(gateway.address(), 0).await;
    let other = gateway.caller().await;

    let mut call = call_whole(&slow, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    for _ in 0..4 {
        peer.answer(stream_part(&request, Bytes::from(vec![7; 60_000]))).await;
    }
    // The call at the limit ends, and the peer is told; the others do not notice.
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    call.initial().await;
    call.fails(8, "queue_full").await;
    let mut next = call_whole(&other, "/demo.Echo/Say", "next").await;
    peer.echo().await;
    assert_eq!(next.message().await, "next");
}

#[tokio::test]
async fn the_buffers_of_all_calls_of_a_tunnel_are_limited_together() {
    let gateway = Gateway::with(json!({ "limits": {
        "message_bytes_max": "64KiB", "call_buffer_bytes_max": "128KiB",
        "tunnel_buffer_bytes_max": "192KiB",
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let slow = Caller::connect_narrow(gateway.address(), 0).await;
        calls.push((call_whole(&slow, "/demo.Echo/Count", "").await, slow));
        let request = peer.request().await;
        for _ in 0..2 {
            peer.answer(stream_part(&request, Bytes::from(vec![7; 60_000]))).await;
        }
    }
    // 2 x 60,000 bytes of the first call and 60,000 of the second fit.
    peer.cancel().await;
    let (mut second, _) = calls.pop().unwrap();
    second.initial().await;
    second.fails(8, "queue_full").await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_and_a_place_comes_back() {
    let gateway = Gateway::with(json!({ "limits": { "connections_max": 2 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.echo().await;
    assert_eq!(call.message().await, "hi");

    let mut third = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    assert_eq!(soon("a close", third.read(&mut [0; 1])).await.unwrap(), 0);
    drop((call, caller));
    until("a place", async || {
        let mut next = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
        // SETTINGS come to whoever is let in.
        next.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes == 1)
    })
    .await;
}

#[tokio::test]
async fn what_has_come_of_messages_in_part_is_limited_for_everybody_together() {
    let gateway = Gateway::with(json!({ "limits": { "gathered_bytes_max": "40KiB" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let announced = [&[0], &60_000_u32.to_be_bytes()[..]].concat();
    let mut one = caller.call("/demo.Echo/Say").await;
    one.send_raw(&[&announced[..], &[7; 20_000]].concat(), false).await;
    one.send_raw(&[7; 10_000], false).await;
    let mut other = caller.call("/demo.Echo/Say").await;
    other.send_raw(&[&announced[..], &[7; 20_000]].concat(), false).await;
    other.send_raw(&[7; 10_000], false).await;
    other.fails(8, "queue_full").await;

    // The room comes back with the message.
    one.send_raw(&[7; 10_000], false).await;
    one.send_raw(&[7; 20_000], true).await;
    one.fails(8, "queue_full").await;
    let mut small = call_whole(&caller, "/demo.Echo/Say", [7; 30_000]).await;
    peer.echo().await;
    assert_eq!(small.message().await.len(), 30_000);
}

#[tokio::test]
async fn a_connection_that_does_not_read_leaves_room_for_the_others() {
    let gateway = Gateway::with(json!({ "limits": {
        "message_bytes_max": "64KiB", "call_buffer_bytes_max": "128KiB",
        "tunnel_buffer_bytes_max": "512KiB",
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let slow = Caller::connect_narrow(gateway.address(), 0).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(call_whole(&slow, "/demo.Echo/Say", "").await);
        let request = peer.request().await;
        peer.answer(ok(&request, Bytes::from(vec![7; 60_000]))).await;
    }
    let other = gateway.caller().await;
    let mut call = call_whole(&other, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(ok(&request, Bytes::from(vec![7; 60_000]))).await;
    assert_eq!(call.message().await.len(), 60_000);
    call.succeeds().await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_is_ended_by_its_deadline_although_the_answer_is_complete() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let slow = Caller::connect_narrow(gateway.address(), 0).await;
    let mut call = slow.call_headers("/demo.Echo/Say", &[("grpc-timeout", "300m")]).await;
    call.send_last("").await;
    let request = peer.request().await;
    peer.answer(ok(&request, Bytes::from(vec![7; 60_000]))).await;
    call.initial().await;
    call.fails(4, "deadline").await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_for_too_long_is_given_up() {
    let gateway = Gateway::with(json!({ "limits": { "send_stall_timeout": "200ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let slow = Caller::connect_narrow(gateway.address(), 0).await;
    let mut call = call_whole(&slow, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    peer.answer(stream_part(&request, Bytes::from(vec![7; 60_000]))).await;
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    call.initial().await;
    assert_eq!(call.was_reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_buffer_is_given_back_as_the_caller_reads() {
    let gateway = Gateway::with(json!({ "limits": {
        "message_bytes_max": "64KiB", "call_buffer_bytes_max": "128KiB",
        "tunnel_buffer_bytes_max": "128KiB",
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    for _ in 0..50 {
        peer.answer(stream_part(&request, Bytes::from(vec![7; 60_000]))).await;
        assert_eq!(call.message().await.len(), 60_000);
    }
    peer.answer(stream_end(&request)).await;
    call.succeeds().await;
}

#[tokio::test]
async fn a_message_that_has_begun_must_come_and_a_call_may_be_silent() {
    let gateway = Gateway::with(json!({ "limits": { "message_timeout": "200ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut silent = caller.call("/demo.Echo/Chat").await;
    let mut begun = caller.call("/demo.Echo/Chat").await;
    begun.send("whole").await;
    let request = peer.request().await;
    begun.send_raw(&[0, 0, 0, 0, 9, b'x'], false).await;
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    begun.fails(4, "deadline").await;
    silent.send("not too late").await;
    assert_eq!(peer.request().await.payload, "not too late");
}

#[tokio::test]
async fn a_call_on_which_nothing_moves_ends_where_that_is_configured() {
    let gateway = Gateway::with(json!({ "limits": { "stream_idle_timeout": "300ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Chat").await;
    call.send("ping").await;
    let request = peer.request().await;
    peer.answer(stream_part(&request, "pong")).await;
    assert_eq!(call.message().await, "pong");
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    call.fails(4, "idle").await;
}
