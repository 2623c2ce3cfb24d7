//! Events on tunnels: who hears what, what is refused, and what publishers are told.

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::{EventMessage, SubscriptionRequest};
use prost::Message;
use serde_json::{Value, json};

use crate::support::{Gateway, KEY, Peer, key, until};

/// A peer that hears what becomes of its events.
async fn acked(gateway: &Gateway) -> Peer {
    gateway.peer_with(&[], &["event_ack"]).await
}

/// Publishes until so many hear it: a subscription on another worker takes a moment.
async fn heard_by(publisher: &mut Peer, topic: &str, subscribers: u32) {
    until("subscriptions", async || {
        publisher.publish(topic, "probe", "").await;
        publisher.ack().await.subscribers == subscribers
    })
    .await;
}

/// The next event that is no probe.
async fn next(peer: &mut Peer) -> EventMessage {
    loop {
        let event = peer.event().await;
        if event.event_id != "probe" {
            return event;
        }
    }
}

async fn outcome(peer: &mut Peer) -> (String, String, u32) {
    let ack = peer.ack().await;
    (ack.event_id, ack.result, ack.subscribers)
}

fn told(id: &str, result: &str, subscribers: u32) -> (String, String, u32) {
    (id.to_owned(), result.to_owned(), subscribers)
}

// === Who hears what ===

#[tokio::test]
async fn an_event_reaches_who_listens_with_what_its_publisher_left_out_filled_in() {
    let gateway = Gateway::start();
    let (mut one, mut other) = (gateway.peer_with(&[], &[]).await, acked(&gateway).await);
    one.subscribe(&["orders.*"]).await;
    other.subscribe(&["orders.eu", "orders.#"]).await;
    let mut publisher = acked(&gateway).await;
    heard_by(&mut publisher, "orders.eu", 2).await;
    let sent = EventMessage {
        event_type: "orders.eu".to_owned(),
        publisher_id: "made up".to_owned(),
        payload: "paid".into(),
        metadata: [("ce-type", "paid"), ("ce-source", "/shop")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..EventMessage::default()
    };
    publisher.send(MessageType::Event(sent.clone())).await;
    let ack = publisher.ack().await;
    assert_eq!((ack.result.as_str(), ack.subscribers), ("accepted", 2));
    for peer in [&mut one, &mut other] {
        let event = next(peer).await;
        assert_eq!(event.event_id, ack.event_id);
        assert_eq!(event.event_id.len(), 36, "a UUID");
        assert_eq!(event.publisher_id, publisher.id);
        assert!(event.timestamp > 1_700_000_000);
        assert_eq!(
            (event.event_type, event.payload, event.metadata),
            (sent.event_type.clone(), sent.payload.clone(), sent.metadata.clone())
        );
    }
    let given = EventMessage { event_id: "mine".to_owned(), timestamp: 7, ..sent };
    publisher.send(MessageType::Event(given)).await;
    let event = next(&mut one).await;
    assert_eq!((event.event_id.as_str(), event.timestamp), ("mine", 7));
}

#[tokio::test]
async fn who_does_not_listen_any_more_or_has_gone_gets_nothing() {
    let gateway = Gateway::start();
    let (mut one, mut other) =
        (gateway.peer_with(&[], &[]).await, gateway.peer_with(&[], &[]).await);
    let mut publisher = acked(&gateway).await;
    one.subscribe(&["a", "b"]).await;
    other.subscribe(&["a"]).await;
    heard_by(&mut publisher, "a", 2).await;
    let listens = |id: &str| {
        let tunnels = gateway.window().tunnels.open();
        tunnels.into_iter().find(|tunnel| tunnel.id == id).unwrap().topics
    };
    assert_eq!(
        (listens(&one.id), listens(&other.id)),
        (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned()])
    );
    one.unsubscribe(&["a"]).await;
    heard_by(&mut publisher, "a", 1).await;
    assert_eq!(listens(&one.id), ["b"]);
    publisher.publish("b", "of b", "").await;
    assert_eq!(next(&mut one).await.event_id, "of b");
    other.half_close();
    until("nobody", async || {
        publisher.publish("a", "probe", "").await;
        loop {
            match outcome(&mut publisher).await {
                (id, ..) if id == "of b" => {}
                (_, result, subscribers) => return (&*result, subscribers) == ("no_subscriber", 0),
            }
        }
    })
    .await;
    one.half_close();
    until("no topic", async || gateway.window().topics.look().is_empty()).await;
}

/// E1
#[tokio::test]
async fn an_event_that_nobody_listens_to_is_no_error() {
    let gateway = Gateway::start();
    let mut publisher = acked(&gateway).await;
    publisher.publish("a.b", "e-1", "payload").await;
    assert_eq!(outcome(&mut publisher).await, told("e-1", "no_subscriber", 0));
    let mut plain = gateway.peer_with(&[], &[]).await;
    plain.publish("a.b", "e-2", "payload").await;
    plain.subscribe(&["a.b"]).await;
    plain.publish("a.b", "e-3", "payload").await;
    assert_eq!(plain.event().await.event_id, "e-3", "nothing is said of the first");
    assert_eq!(gateway.window().topics.totals().published[1], ("no_subscriber", 2));
}

// === What is refused ===

const SCOPED: &str = "a-key-with-scopes-0123456789-0123456789-abc";

fn scoped(settings: Value) -> Value {
    json!({ "keys": [key("tests", KEY, json!({})), key("scoped", SCOPED, settings)] })
}

async fn scoped_peer(gateway: &Gateway) -> Peer {
    let mut peer = Peer::dial(gateway.address()).await;
    peer.register(SCOPED, &[], &["event_ack"]).await;
    peer.connected().await;
    peer
}

/// E3
#[tokio::test]
async fn what_a_key_does_not_allow_is_refused_by_name_and_the_tunnel_lives() {
    let scopes = json!({ "publish": ["orders.#"], "subscribe": ["orders.*"] });
    let gateway = Gateway::with(scoped(scopes));
    let mut peer = scoped_peer(&gateway).await;
    let refused = |topic: &str| {
        format!("PERMISSION_DENIED scope: topic \"{topic}\": the key does not allow this topic")
    };
    for wider in ["orders.#", "#", "*.eu", "users", "orders"] {
        peer.subscribe(&[wider]).await;
        assert_eq!(peer.refusal().await, refused(wider));
    }
    peer.publish("users.new", "e-1", "").await;
    assert_eq!(peer.refusal().await, refused("users.new"));
    let ack = peer.ack().await;
    assert_eq!((ack.event_id.as_str(), ack.result.as_str()), ("e-1", "rejected"));
    assert_eq!(ack.message, refused("users.new"));
    peer.subscribe(&["orders.*"]).await;
    peer.publish("orders.eu", "e-2", "").await;
    let (mut heard, mut acked) = (false, false);
    while !(heard && acked) {
        match peer.receive().await {
            MessageType::Event(event) => heard = event.event_id == "e-2",
            MessageType::EventAck(ack) => acked = ack.subscribers == 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_comes_to_allow_less_ends_subscriptions_and_later_events() {
    let gateway = Gateway::with(scoped(json!({})));
    let mut peer = scoped_peer(&gateway).await;
    peer.subscribe(&["orders.*", "users"]).await;
    heard_by(&mut acked(&gateway).await, "users", 1).await;
    peer.event().await;
    gateway.reload(scoped(json!({ "publish": ["users"], "subscribe": ["users"] }))).await;
    let refused = "PERMISSION_DENIED scope: topic \"orders.*\": the key does not allow this topic";
    assert_eq!(peer.refusal().await, refused);
    peer.publish("orders.eu", "e-1", "").await;
    assert!(peer.refusal().await.starts_with("PERMISSION_DENIED scope: topic \"orders.eu\""));
    assert_eq!(outcome(&mut peer).await, told("e-1", "rejected", 0));
    peer.publish("users", "e-2", "").await;
    let frames = [peer.receive().await, peer.receive().await];
    assert!(frames.iter().any(|frame| matches!(frame, MessageType::Event(_))), "{frames:?}");
}

/// E4
#[tokio::test]
async fn a_topic_that_is_none_is_refused_and_begins_nothing() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer_with(&[], &[]).await;
    let long = "x".repeat(256);
    let refused =
        |topic: &str, why: &str| format!("INVALID_ARGUMENT bad_event: topic \"{topic}\": {why}");
    let empty_word = "between two dots of a topic there is a word";
    for (topic, why) in [
        ("", "a topic has at least one word"),
        (&long, "a topic has 255 bytes at most"),
        ("a..b", empty_word),
        (".", empty_word),
        ("a b", "a topic has no spaces and no control characters"),
    ] {
        // Of a topic that is too long its beginning is told.
        let told = &topic[..topic.len().min(255)];
        peer.publish(topic, "e", "").await;
        assert_eq!(peer.refusal().await, refused(told, why));
        peer.subscribe(&[topic]).await;
        assert_eq!(peer.refusal().await, refused(told, why));
    }
    for wildcard in ["*", "a.#"] {
        peer.publish(wildcard, "e", "").await;
        let why = "what is published has a name without * and #";
        assert_eq!(peer.refusal().await, refused(wildcard, why));
    }
    peer.subscribe(&["a*"]).await;
    assert_eq!(peer.refusal().await, refused("a*", "* and # stand for whole words"));
    peer.publish("adit.gap", "e", "").await;
    assert!(peer.refusal().await.starts_with("PERMISSION_DENIED scope: topic \"adit.gap\""));
    peer.publish("a.b", "e", "").await;
    peer.publish("a.b", &"i".repeat(129), "").await;
    assert_eq!(peer.refusal().await, refused("a.b", "an event_id has 128 bytes at most"));
    assert_eq!(gateway.window().topics.look(), [], "no topic begins by what is published");
}

/// E4
#[tokio::test]
async fn a_topic_that_is_no_text_is_refused() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer_with(&[], &[]).await;
    let event = EventMessage { event_type: "XX".to_owned(), ..EventMessage::default() };
    let subscription = SubscriptionRequest {
        event_types: vec!["XX".to_owned()],
        ..SubscriptionRequest::default()
    };
    for frame in [MessageType::Event(event), MessageType::Subscription(subscription)] {
        let frame = adit::grpc::proto::ConnectionMessage { message_type: Some(frame) };
        let mut bytes = frame.encode_to_vec();
        let place = bytes.windows(2).position(|pair| pair == b"XX").unwrap();
        bytes[place] = 0xff;
        peer.send_bytes(&bytes).await;
        assert_eq!(
            peer.refusal().await,
            "INVALID_ARGUMENT bad_event: topic \"\": a text is not UTF-8"
        );
    }
}

/// E4
#[tokio::test]
async fn one_subscription_more_than_allowed_or_one_topic_is_refused_by_name() {
    let gateway = Gateway::with(json!({ "limits": { "topics_max": 300 } }));
    let (mut one, mut other) =
        (gateway.peer_with(&[], &[]).await, gateway.peer_with(&[], &[]).await);
    let topics: Vec<String> = (0..257).map(|number| format!("t{number}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    one.subscribe(&topics).await;
    assert_eq!(
        one.refusal().await,
        "RESOURCE_EXHAUSTED topic_limit: topic \"t256\": a subscriber has 256 subscriptions at most"
    );
    heard_by(&mut acked(&gateway).await, "t255", 1).await;
    let more: Vec<String> = (0..45).map(|number| format!("more{number}")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    other.subscribe(&more).await;
    assert_eq!(
        other.refusal().await,
        "RESOURCE_EXHAUSTED topic_limit: topic \"more44\": there are 300 topics at most"
    );
    other.subscribe(&["t0"]).await;
    one.unsubscribe(&["t255"]).await;
    // The other worker learns of it in a moment.
    until("a place", async || {
        other.subscribe(&["last"]).await;
        gateway.window().topics.look().iter().any(|topic| topic.pattern == "last")
    })
    .await;
}

/// E6
#[tokio::test]
async fn a_payload_of_a_mebibyte_passes_and_one_byte_more_is_refused() {
    let gateway = Gateway::start();
    let mut subscriber = gateway.peer_with(&[], &[]).await;
    subscriber.subscribe(&["a"]).await;
    let mut publisher = acked(&gateway).await;
    heard_by(&mut publisher, "a", 1).await;
    publisher.publish("a", "too large", vec![7; (1 << 20) + 1]).await;
    let refused =
        "RESOURCE_EXHAUSTED message_too_large: topic \"a\": a payload has 1048576 bytes at most";
    assert_eq!(publisher.refusal().await, refused);
    assert_eq!(outcome(&mut publisher).await, told("too large", "rejected", 0));
    publisher.publish("a", "just right", vec![7; 1 << 20]).await;
    assert_eq!(outcome(&mut publisher).await, told("just right", "accepted", 1));
    let event = next(&mut subscriber).await;
    assert_eq!((event.event_id.as_str(), event.payload.len()), ("just right", 1 << 20));
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused() {
    let gateway = Gateway::start();
    let mut publisher = acked(&gateway).await;
    let pairs = |pairs: usize, bytes: usize| EventMessage {
        event_type: "a".to_owned(),
        metadata: (0..pairs).map(|number| (number.to_string(), "x".repeat(bytes))).collect(),
        ..EventMessage::default()
    };
    for message in [pairs(101, 1), pairs(1, 32 * 1024)] {
        publisher.send(MessageType::Event(message)).await;
        assert!(publisher.refusal().await.starts_with("RESOURCE_EXHAUSTED metadata_too_large"));
        assert_eq!(publisher.ack().await.result, "rejected");
    }
    publisher.send(MessageType::Event(pairs(100, 200))).await;
    assert_eq!(publisher.ack().await.result, "no_subscriber");
}

#[tokio::test]
async fn an_event_for_which_its_publisher_has_no_room_is_refused() {
    let gateway = Gateway::with(json!({ "limits": {
        "message_bytes_max": "1KiB", "call_buffer_bytes_max": "1KiB",
        "tunnel_buffer_bytes_max": "1KiB"
    } }));
    let mut publisher = acked(&gateway).await;
    publisher.publish("a", "large", vec![7; 2_000]).await;
    let refused = publisher.refusal().await;
    assert!(refused.starts_with("RESOURCE_EXHAUSTED queue_full: topic \"a\""), "{refused}");
    assert_eq!(outcome(&mut publisher).await, told("large", "rejected", 0));
    publisher.publish("a", "small", vec![7; 500]).await;
    assert_eq!(outcome(&mut publisher).await, told("small", "no_subscriber", 0));
}

#[tokio::test]
async fn an_event_too_large_for_a_frame_is_told_as_missed() {
    let limits = json!({ "classic_frame_bytes_max": "1KiB" });
    let gateway = Gateway::with(json!({ "limits": limits }));
    let mut peer = gateway.peer_with(&[], &[]).await;
    peer.subscribe(&["a"]).await;
    peer.publish("a", "large", vec![7; 2_000]).await;
    peer.publish("a", "small", vec![7; 500]).await;
    let gap = peer.event().await;
    assert_eq!((gap.event_type.as_str(), gap.metadata["missed"].as_str()), ("adit.gap", "1"));
    assert_eq!(peer.event().await.event_id, "small");
    assert_eq!(gateway.window().topics.totals().dropped[2], ("too_large", 1));
}

/// E7
#[tokio::test]
async fn the_same_event_twice_is_counted_and_delivered_once_where_that_is_configured() {
    for (deduplicate, delivered) in [(false, 2), (true, 1)] {
        let gateway = Gateway::with(json!({ "events": { "deduplicate": deduplicate } }));
        let mut peer = acked(&gateway).await;
        peer.subscribe(&["a"]).await;
        for id in ["twice", "twice", "last"] {
            peer.publish("a", id, "").await;
        }
        let (mut events, mut accepted) = (Vec::new(), 0);
        while accepted < 3 || events.last().is_none_or(|id| id != "last") {
            match peer.receive().await {
                MessageType::Event(event) => events.push(event.event_id),
                MessageType::EventAck(ack) => {
                    assert_eq!(ack.result, "accepted");
                    accepted += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(events.iter().filter(|id| *id == "twice").count(), delivered);
        assert_eq!(gateway.window().topics.totals().duplicates, 1);
    }
}

#[tokio::test]
async fn of_a_frame_with_very_many_topics_those_that_a_peer_may_have_are_looked_at() {
    let gateway = Gateway::start();
    let mut peer = acked(&gateway).await;
    let topics: Vec<String> = (0..100_000).map(|number| format!("t{number}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    peer.subscribe(&topics).await;
    assert!(peer.refusal().await.contains("topic \"t256\": a subscriber has 256"));
    heard_by(&mut acked(&gateway).await, "t255", 1).await;
    assert_eq!(peer.event().await.event_id, "probe", "nothing is said of the rest");
}
