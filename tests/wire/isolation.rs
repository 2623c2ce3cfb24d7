//! One slow or large call must not hold up the others, and nothing may be mixed up.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{Caller, Gateway, Peer, call_whole, ok, stream_end, stream_part};

#[tokio::test]
async fn a_caller_that_stops_reading_does_not_slow_another() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let stalled = Caller::connect_narrow(gateway.address(), 0).await;
    let other = gateway.caller().await;

    let _stalled_call = call_whole(&stalled, "/demo.Echo/Count", "").await;
    let stalled_request = peer.request().await;
    for n in 0..200 {
        peer.answer(stream_part(&stalled_request, Bytes::from(vec![7; 16_000]))).await;
        let text = format!("{n}");
        let mut call = call_whole(&other, "/demo.Echo/Say", &text).await;
        peer.echo().await;
        assert_eq!(call.message().await, text);
        call.succeeds().await;
    }
}

#[tokio::test]
async fn a_caller_that_pushes_bulk_does_not_hold_up_a_small_call() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let bulk = gateway.caller().await;
    let other = gateway.caller().await;

    let mut call = bulk.call("/demo.Echo/Upload").await;
    call.send([1; 60_000]).await;
    peer.request().await;
    let pushing = tokio::spawn(async move {
        // 12 MB through a share of 64 KiB: it is pushed back, and never more than that ahead.
        for _ in 0..200 {
            call.send([1; 60_000]).await;
        }
        call
    });
    let mut small = call_whole(&other, "/demo.Echo/Say", "small").await;
    let mut ahead = 0;
    let request = loop {
        let request = peer.request().await;
        if request.method_path == "/demo.Echo/Say" {
            break request;
        }
        ahead += 1;
    };
    assert!(ahead <= 200, "{ahead}");
    peer.answer(ok(&request, "small")).await;
    assert_eq!(small.message().await, "small");
    let reading = tokio::spawn(async move {
        for _ in ahead..200 {
            peer.request().await;
        }
    });
    // The call stays open until its last message has come down: a hang-up would cancel it.
    let _call = pushing.await.unwrap();
    reading.await.unwrap();
}

/// The size and kind of one call.
#[derive(Clone, Debug)]
struct Plan {
    kind: usize,
    sizes: Vec<usize>,
}

/// 200 calls of all four kinds; most messages are small, some are up to 1 MiB.
fn plans() -> Vec<Plan> {
    let size = prop_oneof![8 => 0..4_096usize, 3 => 0..65_536usize, 1 => 0..=1_048_576usize];
    let plan = (0..4usize, prop::collection::vec(size, 1..4))
        .prop_map(|(kind, sizes)| Plan { kind, sizes });
    let plans = prop::collection::vec(plan, 200);
    plans.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

/// Content that differs from call to call and from byte to byte.
fn content(seed: usize, size: usize) -> Bytes {
    (0..size)
        .map(|n| (n.wrapping_mul(31) ^ seed.wrapping_mul(131) ^ (n >> 8)).to_le_bytes()[0])
        .collect()
}

#[tokio::test]
async fn two_hundred_calls_of_all_kinds_at_once_come_back_byte_for_byte() {
    let gateway = Gateway::start();
    let mut peers = Vec::new();
    for _ in 0..2 {
        peers.push(tokio::spawn(serve(gateway.peer("demo.Mix").await)));
    }
    let callers = [gateway.caller().await, gateway.caller().await, gateway.caller().await];
    let calls: Vec<_> = plans()
        .into_iter()
        .enumerate()
        .map(|(seed, plan)| tokio::spawn(run(callers[seed % 3].clone(), seed, plan)))
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    peers.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn run(caller: Caller, seed: usize, plan: Plan) {
    let messages: Vec<Bytes> =
        plan.sizes.iter().enumerate().map(|(n, size)| content(seed * 7 + n, *size)).collect();
    let (first, rest) = messages.split_first().unwrap();
    match plan.kind {
        0 => {
            let mut call = call_whole(&caller, "/demo.Mix/Unary", first).await;
            assert_eq!(call.message().await, first);
            call.succeeds().await;
        }
        1 => {
            let mut call = caller.call("/demo.Mix/Last").await;
            for message in &messages {
                call.send(message).await;
            }
            call.half_close();
            assert_eq!(call.message().await, messages.last().unwrap());
            call.succeeds().await;
        }
        2 => {
            let mut call = call_whole(&caller, "/demo.Mix/Thrice", first).await;
            for _ in 0..3 {
                assert_eq!(call.message().await, first);
            }
            call.succeeds().await;
        }
        _ => {
            let mut call = caller.call("/demo.Mix/Chat").await;
            for message in [first].into_iter().chain(rest) {
                call.send(message).await;
                assert_eq!(call.message().await, message);
            }
            call.half_close();
            call.succeeds().await;
        }
    }
}

/// Serves the four methods of `demo.Mix` until the tunnel is dropped.
async fn serve(mut peer: Peer) {
    let mut last = std::collections::HashMap::new();
    loop {
        let request = peer.request().await;
        let end = request.streaming_info.unwrap().is_stream_end;
        let payload = request.payload.clone();
        match request.method_path.as_str() {
            "/demo.Mix/Unary" => peer.answer(ok(&request, payload)).await,
            "/demo.Mix/Last" if end => {
                let payload: Bytes = last.remove(&request.request_id).unwrap_or(payload);
                peer.answer(ok(&request, payload)).await;
            }
            "/demo.Mix/Last" => drop(last.insert(request.request_id, payload)),
            "/demo.Mix/Thrice" => {
                for _ in 0..3 {
                    peer.answer(stream_part(&request, payload.clone())).await;
                }
                peer.answer(stream_end(&request)).await;
            }
            _ if end => peer.answer(stream_end(&request)).await,
            _ => peer.answer(stream_part(&request, payload)).await,
        }
    }
}
