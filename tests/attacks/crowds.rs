//! Many at once that do nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::process::Process;
use crate::support::{Scene, VICTIM};
use crate::words::{KEY, Peer, soon, until};

const KIB: usize = 1024;

#[tokio::test]
async fn idle_connections_cost_little_and_the_one_too_many_is_refused() {
    let scene = Scene::open(json!({ "limits": { "connections_max": 200 } })).await;
    let before = scene.process.resident_bytes();
    // The victim, the bystander and its caller have three.
    let mut crowd = Vec::new();
    for _ in 0..197 {
        crowd.push(scene.attacker().await);
    }
    let each = scene.process.resident_bytes().saturating_sub(before) / crowd.len();
    assert!(each < 60 * KIB, "{each}");
    let mut one_more = TcpStream::connect(scene.process.address).await.unwrap();
    assert_eq!(soon("a close", one_more.read(&mut [0; 1])).await.unwrap_or(0), 0);
    scene.bystander_is_served().await;
    crowd.clear();
    until("a place", async || {
        let mut next = TcpStream::connect(scene.process.address).await.unwrap();
        next.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes == 1)
    })
    .await;
    assert!(scene.closes().await.count("connections_refused") >= 1);
}

#[tokio::test]
async fn idle_tunnels_cost_little() {
    let scene = Scene::open(json!({ "limits": { "tunnels_per_key_max": 200 } })).await;
    let (before, descriptors) = (scene.process.resident_bytes(), scene.process.descriptors());
    let mut crowd = Vec::new();
    for number in 0..150 {
        let mut peer = Peer::dial(scene.process.address).await;
        let service = format!("demo.Idle{number}");
        peer.register(KEY, &[&service], &["stream", "cancel", "headers"]).await;
        peer.connected().await;
        crowd.push(peer);
    }
    let each = scene.process.resident_bytes().saturating_sub(before) / crowd.len();
    assert!(each < 200 * KIB, "{each}");
    scene.bystander_is_served().await;
    drop(crowd);
    until("the tunnels to be closed", async || scene.process.descriptors() <= descriptors).await;
    scene.closes().await;
}

/// Ten connections bring almost 400 MiB of messages that are never finished to a gateway that may
/// have 256 MiB in all. What its limits do not let in it refuses; it is never out of memory.
#[tokio::test]
async fn a_gateway_with_little_memory_sheds_load_and_lives() {
    let limits = json!({ "limits": { "gathered_bytes_max": "32MiB" } });
    let scene = Scene::open_on(Process::start_within("262144", limits).await).await;
    let announced = [&[0], &4_194_304_u32.to_be_bytes()[..]].concat();
    let mut crowd = Vec::new();
    for _ in 0..10 {
        crowd.push(scene.caller().await);
    }
    let mut sending = tokio::task::JoinSet::new();
    for caller in crowd.iter().cycle().take(100) {
        let (caller, announced) = (caller.clone(), announced.clone());
        sending.spawn(async move {
            let mut call = caller.call(VICTIM).await;
            call.send_raw(&[&announced[..], &vec![7; 4_000_000]].concat(), false).await;
            call
        });
    }
    let mut refused = 0;
    for mut call in sending.join_all().await {
        // The few that were not refused wait for the rest of their messages.
        let end = timeout(Duration::from_millis(50), call.end()).await;
        refused += usize::from(end.is_ok_and(|end| end.reason.as_deref() == Some("queue_full")));
    }
    assert!(refused >= 80, "{refused} of 100 were refused");
    scene.bystander_is_served().await;
    drop(crowd);
    scene.closes().await;
}
