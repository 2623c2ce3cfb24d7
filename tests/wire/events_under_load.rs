//! Events when there are many: those who are slow, those who come and go, and calls beside them.

use adit::grpc::proto::EventMessage;
use adit::grpc::proto::connection_message::MessageType;
use serde_json::json;

use crate::support::stream::Connection;
use crate::support::{Gateway, KEY, Peer, call_whole, ok, until};

/// The number that an event carries as its id, or how many are missing instead.
enum Told {
    Number(u64),
    Missed(u64),
}

fn told(event: &EventMessage) -> Told {
    if event.event_type == "adit.gap" {
        assert_eq!(event.metadata["topic"], "a");
        Told::Missed(event.metadata["missed"].parse().unwrap())
    } else {
        Told::Number(event.event_id.parse().unwrap())
    }
}

/// Reads `count` events in order, those that are missing counted in their place; how many were missing.
async fn all(peer: &mut Peer, count: u64) -> u64 {
    let (mut next, mut missed) = (0, 0);
    while next < count {
        match told(&peer.event().await) {
            Told::Number(number) => {
                assert_eq!(number, next);
                next += 1;
            }
            Told::Missed(more) => {
                next += more;
                missed += more;
            }
        }
    }
    assert_eq!(next, count);
    missed
}

async fn subscriber_on(connection: &Connection, gateway: &Gateway) -> Peer {
    let mut peer = Peer::dial_on(connection, gateway.address()).await;
    peer.register(KEY, &[], &[]).await;
    peer.connected().await;
    peer.subscribe(&["a"]).await;
    peer
}

async fn subscribed(gateway: &Gateway, subscribers: u64) {
    until("subscriptions", async || {
        let topics = gateway.window().topics.look();
        topics.iter().map(|topic| topic.subscribers).sum::<u64>() == subscribers
    })
    .await;
}

/// Publishes events numbered from 0; reads their outcomes as they come.
async fn publish(publisher: &mut Peer, count: u64, payload: &[u8]) -> u64 {
    for number in 0..count {
        publisher.publish("a", &number.to_string(), payload.to_vec()).await;
    }
    let mut accepted = 0;
    for _ in 0..count {
        accepted += u64::from(publisher.ack().await.subscribers);
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscribers_over_eight_connections_get_every_event_or_are_told_of_it() {
    const EVENTS: u64 = 60;
    let gateway = Gateway::with(json!({ "limits": {
        "streams_per_connection_max": 200, "tunnels_per_key_max": 2_000,
        "subscriber_queue_events_max": 16
    } }));
    let mut subscribers = Vec::new();
    for _ in 0..8 {
        let connection = Connection::open(gateway.address(), None).await;
        for _ in 0..125 {
            subscribers.push(subscriber_on(&connection, &gateway).await);
        }
    }
    subscribed(&gateway, 1_000).await;
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    let accepted = publish(&mut publisher, EVENTS, b"payload").await;
    let mut missed = 0;
    for subscriber in &mut subscribers {
        missed += all(subscriber, EVENTS).await;
    }
    assert_eq!(accepted + missed, 1_000 * EVENTS);
    let totals = gateway.window().topics.totals();
    assert_eq!(totals.delivered, accepted);
    assert_eq!((totals.dropped[0], totals.published[0].0), (("queue_full", missed), "accepted"));
    drop(subscribers);
    until("nothing", async || gateway.window().topics.look().is_empty()).await;
    assert_eq!(gateway.window().topics.totals().subscribers, 0);
}

/// E5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stalls_is_told_what_it_missed_and_ninety_nine_others_miss_nothing() {
    const EVENTS: u64 = 300;
    let gateway = Gateway::with(json!({ "limits": {
        "tunnels_per_key_max": 200, "subscriber_queue_bytes_max": "64KiB"
    } }));
    let narrow = Connection::open(gateway.address(), Some(2_000)).await;
    let mut stalled = subscriber_on(&narrow, &gateway).await;
    let connection = Connection::open(gateway.address(), None).await;
    let other = Connection::open(gateway.address(), None).await;
    let mut quick = Vec::new();
    for number in 0..99 {
        let connection = if number % 2 == 0 { &connection } else { &other };
        quick.push(subscriber_on(connection, &gateway).await);
    }
    subscribed(&gateway, 100).await;
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    for number in 0..EVENTS {
        publisher.publish("a", &number.to_string(), vec![7; 1_000]).await;
        let ack = publisher.ack().await;
        assert!(ack.subscribers >= 99, "{ack:?}");
        for subscriber in &mut quick {
            assert_eq!(subscriber.event().await.event_id, number.to_string());
        }
    }
    let missed = all(&mut stalled, EVENTS).await;
    assert!(missed > 0);
    assert_eq!(gateway.window().topics.totals().dropped[0], ("queue_full", missed));
    publisher.publish("a", "300", "").await;
    assert_eq!(stalled.event().await.event_id, "300", "it has caught up");
}

/// E5
#[tokio::test]
async fn who_takes_nothing_for_too_long_is_closed_and_nobody_else() {
    let gateway = Gateway::with(json!({ "limits": {
        "subscriber_queue_events_max": 4, "slow_consumer_timeout": "200ms"
    } }));
    let narrow = Connection::open(gateway.address(), Some(500)).await;
    let stuck = subscriber_on(&narrow, &gateway).await;
    let mut quick = subscriber_on(&Connection::open(gateway.address(), None).await, &gateway).await;
    subscribed(&gateway, 2).await;
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    until("the end of the stuck one", async || {
        publisher.publish("a", "1", vec![7; 300]).await;
        publisher.ack().await;
        assert_eq!(quick.event().await.event_id, "1");
        gateway.window().tunnels.disconnects() == [("slow_consumer", 1)]
    })
    .await;
    until("its farewell", async || gateway.window().topics.totals().subscribers == 1).await;
    assert_eq!(gateway.window().topics.totals().slow_consumers, 1);
    drop(stuck);
}

/// E8
#[tokio::test]
async fn of_a_publisher_that_dies_in_a_burst_a_beginning_is_delivered_in_order() {
    let gateway = Gateway::start();
    let mut subscriber = gateway.peer_with(&[], &[]).await;
    subscriber.subscribe(&["a"]).await;
    subscribed(&gateway, 1).await;
    let mut publisher = gateway.peer_with(&[], &[]).await;
    let mut sent = 0_u64;
    until("some of it", async || {
        publisher.publish("a", &sent.to_string(), "payload").await;
        sent += 1;
        gateway.window().topics.totals().delivered >= 100
    })
    .await;
    for number in sent..sent + 500 {
        publisher.publish("a", &number.to_string(), "payload").await;
    }
    publisher.reset();
    until("its end", async || gateway.window().tunnels.open().len() == 1).await;
    // On the worker of the one that died: what it sent before comes first.
    let _other = gateway.peer_with(&[], &[]).await;
    let mut heir = gateway.peer_with(&[], &[]).await;
    heir.publish("a", "last", "").await;
    let mut next = 0;
    loop {
        let event = subscriber.event().await;
        if event.event_id == "last" {
            break;
        }
        assert_eq!(event.event_id, next.to_string());
        next += 1;
    }
    assert!((100..=sent + 500).contains(&next), "{next} of {sent} and 500");
    let accepted = ("accepted", next + 1);
    until("the outcomes", async || gateway.window().topics.totals().published[0] == accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_beside_a_publisher_hears_exactly_what_was_accepted_for_it() {
    const EVENTS_MIN: u32 = 500;
    let gateway = Gateway::start();
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    let mut subscriber = gateway.peer_with(&[], &[]).await;
    let publishing = tokio::spawn(async move {
        let (mut number, mut accepted) = (0, 0);
        // Until some were published while it listened, and some while it did not.
        while number < EVENTS_MIN || accepted == 0 || accepted == number {
            publisher.publish("a", &number.to_string(), "payload").await;
            accepted += publisher.ack().await.subscribers;
            number += 1;
        }
        (publisher, accepted)
    });
    let mut rounds = 0;
    while !publishing.is_finished() {
        subscriber.subscribe(&["a"]).await;
        subscriber.unsubscribe(&["a"]).await;
        subscriber.subscribe(&["#", "a"]).await;
        subscriber.unsubscribe(&["a", "#"]).await;
        rounds += 1;
        tokio::task::yield_now().await;
    }
    let (mut publisher, accepted) = publishing.await.unwrap();
    subscriber.subscribe(&["end"]).await;
    until("the end", async || {
        publisher.publish("end", "end", "").await;
        publisher.ack().await.subscribers == 1
    })
    .await;
    let mut heard = Vec::new();
    loop {
        let event = subscriber.event().await;
        if event.event_id == "end" {
            break;
        }
        heard.push(event.event_id.parse::<u64>().unwrap());
    }
    assert!(heard.is_sorted_by(|one, other| one < other), "in order, each once: {heard:?}");
    assert_eq!(heard.len() as u64, u64::from(accepted), "after {rounds} rounds");
}

#[tokio::test]
async fn a_call_is_answered_at_once_on_a_tunnel_whose_queue_of_events_is_full() {
    const WINDOW: u32 = 4_000;
    let gateway = Gateway::start();
    let narrow = Connection::open(gateway.address(), Some(WINDOW)).await;
    let mut peer = Peer::dial_on(&narrow, gateway.address()).await;
    peer.register(KEY, &["demo.Echo"], &["stream"]).await;
    peer.connected().await;
    peer.subscribe(&["a"]).await;
    subscribed(&gateway, 1).await;
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    until("a full queue", async || {
        publisher.publish("a", "1", vec![7; 1_000]).await;
        publisher.ack().await.result == "rejected"
    })
    .await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    until("the call in the queue", async || {
        let tunnels = gateway.window().tunnels.open();
        tunnels.iter().any(|tunnel| tunnel.calls_in_flight == 1)
    })
    .await;
    let mut before = 0;
    let request = loop {
        match peer.receive().await {
            MessageType::Event(_) => before += 1,
            MessageType::Request(request) => break request,
            other => panic!("{other:?}"),
        }
    };
    assert!(before <= 2 * WINDOW / 1_000, "{before} events before the call");
    let waiting: u64 = gateway.window().topics.look().iter().map(|topic| topic.queued).sum();
    assert!(waiting > 1_000, "{waiting}");
    peer.answer(ok(&request, "hi")).await;
    assert_eq!(call.message().await, "hi");
}

#[tokio::test]
async fn every_event_of_a_burst_that_is_refused_is_answered() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer_with(&[], &["event_ack"]).await;
    for number in 0..1_000 {
        peer.publish("a..b", &number.to_string(), "").await;
    }
    let (mut acks, mut errors) = (Vec::new(), 0);
    while acks.len() < 1_000 || errors < 1_000 {
        match peer.receive().await {
            MessageType::EventAck(ack) => acks.push((ack.event_id, ack.result)),
            MessageType::Status(status) if status.message.contains("a..b") => errors += 1,
            other => panic!("a refusal, not {other:?}"),
        }
    }
    let expected = |number: u64| (number.to_string(), "rejected".to_owned());
    assert_eq!(acks, (0..1_000).map(expected).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_that_are_queued_when_the_gateway_stops_are_delivered_before_the_tunnel_ends() {
    let gateway = Gateway::start();
    let mut subscriber = gateway.peer_with(&[], &[]).await;
    subscriber.subscribe(&["a"]).await;
    subscribed(&gateway, 1).await;
    let mut publisher = gateway.peer_with(&[], &["event_ack"]).await;
    for number in 0..500 {
        publisher.publish("a", &number.to_string(), vec![0; 1_000]).await;
    }
    for _ in 0..500 {
        assert_eq!(publisher.ack().await.result, "accepted");
    }
    gateway.ask_to_stop();
    assert_eq!(all(&mut subscriber, 500).await, 0);
    subscriber.ends(14, "draining").await;
}
