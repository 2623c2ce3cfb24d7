//! Many at once that do nothing.

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::Scene;
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
    let before = scene.process.resident_bytes();
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
    let closed = async || scene.process.times_logged("tunnel closed") == 150;
    until("the tunnels to be closed", closed).await;
    scene.closes().await;
}
