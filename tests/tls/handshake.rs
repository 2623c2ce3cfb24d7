//! Who gets in, and what the others see of it.

use adit::observe::tally::{Count, counted};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, HandshakeKind};

use crate::certificates::{Authority, Files};
use crate::clients::{Client, VERSIONS, raw};
use crate::support::{Gateway, call_whole, soon, until};

/// The preface of HTTP/2 and an empty SETTINGS frame.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A fatal alert in a record of its own, without the two bytes of the version.
fn is_alert(bytes: &[u8], alert: AlertDescription) -> bool {
    bytes.len() == 7 && bytes[..2] == [21, 3] && bytes[3..] == [0, 2, 2, u8::from(alert)]
}

fn gateway(files: &Files) -> Gateway {
    Gateway::with(json!({ "listeners": [files.listener()] }))
}

#[tokio::test]
async fn calls_and_tunnels_go_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let gateway = gateway(&Files::of(&authority.signs("localhost")));
    for version in VERSIONS {
        let client = Client::new(&authority, None, &[version]);
        let mut peer = client.peer(gateway.address(), "demo.Echo").await;
        let caller = client.caller(gateway.address()).await;
        let message = "m".repeat(100_000);
        let mut call = call_whole(&caller, "/demo.Echo/Say", &message).await;
        peer.echo().await;
        assert_eq!(call.message().await, message);
        call.succeeds().await;
        peer.half_close();
        assert!(peer.end().await["grpc-status"] == "0");
    }
}

#[tokio::test]
async fn listeners_with_and_without_tls_serve_the_same_names() {
    let authority = Authority::new();
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [{ "address": "127.0.0.1:0" }, files.listener()]
    }));
    let mut peer = Client::trusting(&authority).peer(gateway.addresses[1], "demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.echo().await;
    assert_eq!(call.message().await, "hi");
}

/// Whether a certificate is good is for who it is shown to: the gateway serves with it, and warns.
#[tokio::test]
async fn a_client_refuses_an_expired_certificate_and_one_of_another_authority() {
    let authority = Authority::new();
    let refused = |client: Client, gateway: Gateway| async move {
        let before = counted(Count::TlsFailed);
        let error = client.shakes_hands(gateway.address()).await.unwrap_err();
        until("the failure to be counted", || async { counted(Count::TlsFailed) > before }).await;
        error.get_ref().and_then(|error| error.downcast_ref::<Error>()).cloned()
    };
    let expired = gateway(&Files::of(&authority.signs_expired()));
    assert!(matches!(
        refused(Client::trusting(&authority), expired).await,
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
    let good = gateway(&Files::of(&authority.signs("localhost")));
    assert_eq!(
        refused(Client::trusting(&Authority::new()), good).await,
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    );
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_refused_where_one_is_asked_for() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({ "listeners": [files.listener_for(&clients)] }));
    let before = (counted(Count::HandshakeFailed), counted(Count::TlsFailed));
    let stranger = Authority::new().signs("agent.example.com");
    let cases = [
        (None, AlertDescription::CertificateRequired),
        (Some(clients.signs_expired()), AlertDescription::CertificateExpired),
        (Some(stranger), AlertDescription::UnknownCA),
    ];
    for (pair, alert) in cases {
        for version in VERSIONS {
            let client = Client::new(&authority, pair.as_ref(), &[version]);
            assert_eq!(client.is_refused(gateway.address()).await, alert, "{version:?}");
        }
    }
    until("six failures to be counted", || async {
        counted(Count::HandshakeFailed) >= before.0 + 6 && counted(Count::TlsFailed) >= before.1 + 6
    })
    .await;
    let good = Client::showing(&authority, &clients.signs("agent.example.com"));
    drop(good.peer(gateway.address(), "demo.Echo").await);
}

#[tokio::test]
async fn a_session_is_taken_up_again_only_where_no_certificate_would_be_passed_over() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [files.listener(), files.listener_for(&clients)]
    }));
    let pair = clients.signs("agent.example.com");
    for (address, kind) in
        gateway.addresses.iter().zip([HandshakeKind::Resumed, HandshakeKind::Full])
    {
        for version in VERSIONS {
            let client = Client::new(&authority, Some(&pair), &[version]);
            // SETTINGS come after what the client could take the session up with.
            assert!(client.is_taken(*address).await);
            let again = client.shakes_hands(*address).await.unwrap();
            assert_eq!(again.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_offer_h2_is_told_so() {
    let authority = Authority::new();
    let gateway = gateway(&Files::of(&authority.signs("localhost")));
    for offered in [&["http/1.1"][..], &["http/1.1", "h3"], &[]] {
        for version in VERSIONS {
            let client = Client::new(&authority, None, &[version]).offers(offered);
            let told = client.is_refused(gateway.address()).await;
            assert_eq!(told, AlertDescription::NoApplicationProtocol, "{offered:?} {version:?}");
        }
    }
    let both = Client::trusting(&authority).offers(&["http/1.1", "h2"]);
    drop(both.peer(gateway.address(), "demo.Echo").await);
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let authority = Authority::new();
    let gateway = gateway(&Files::of(&authority.signs("localhost")));
    let alpn = [0, 16, 0, 5, 0, 3, 2, b'h', b'2'];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 1];
    for (extensions, alert) in [
        // As a client has them that knows no more, and as one that was told to go no further.
        (alpn.to_vec(), AlertDescription::HandshakeFailure),
        ([&alpn[..], &signatures].concat(), AlertDescription::ProtocolVersion),
    ] {
        let answer = raw(gateway.address(), &hello_of_tls_1_1(&extensions)).await;
        assert!(is_alert(&answer, alert), "{answer:?}");
    }
}

/// Offers ECDHE-RSA-AES128-SHA and RSA-AES128-SHA.
fn hello_of_tls_1_1(extensions: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let offer = [0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0, 0, length(extensions)];
    let hello = [&[3, 2], &[7; 32][..], &offer, extensions].concat();
    [&[22, 3, 1, 0, length(&hello) + 4, 1, 0, 0, length(&hello)], &hello[..]].concat()
}

#[tokio::test]
async fn who_speaks_no_tls_gets_an_alert_and_no_text() {
    let authority = Authority::new();
    let gateway = gateway(&Files::of(&authority.signs("localhost")));
    for bytes in [HTTP2, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff"] {
        let answer = raw(gateway.address(), bytes).await;
        assert_eq!((answer.len(), answer[0]), (7, 21), "{answer:?}");
    }
}

#[tokio::test]
async fn handshakes_that_stop_hold_up_nobody_and_are_over_in_time() {
    let authority = Authority::new();
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [files.listener()], "limits": { "handshake_timeout": "500ms" }
    }));
    let client = Client::trusting(&authority);
    let mut stopped = Vec::new();
    for bytes in [&b""[..], b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"] {
        for _ in 0..20 {
            let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
            socket.write_all(bytes).await.unwrap();
            stopped.push(socket);
        }
    }
    let mut peer = client.peer(gateway.address(), "demo.Echo").await;
    let caller = client.caller(gateway.address()).await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "quick").await;
    peer.echo().await;
    assert_eq!(call.message().await, "quick");
    for mut socket in stopped {
        soon("the end", socket.read_to_end(&mut Vec::new())).await.unwrap();
    }
    // TLS alone is not all of the handshake.
    let mut silent = client.shakes_hands(gateway.address()).await.unwrap();
    let mut settings = Vec::new();
    drop(soon("the end", silent.read_to_end(&mut settings)).await);
    call.succeeds().await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_said_in_tls_too() {
    let authority = Authority::new();
    let gateway = gateway(&Files::of(&authority.signs("localhost")));
    let client = Client::trusting(&authority);
    let mut stream = client.shakes_hands(gateway.address()).await.unwrap();
    stream.write_all(HTTP2).await.unwrap();
    // The gateway's own SETTINGS: it has seen ours, or will before it closes.
    stream.read_exact(&mut [0; 9]).await.unwrap();
    gateway.ask_to_stop();
    // GOAWAY comes with a ping, which this client does not answer; so it half-closes.
    stream.shutdown().await.unwrap();
    // Without a close_notify of the gateway's this is an error.
    soon("close_notify", stream.read_to_end(&mut Vec::new())).await.unwrap();
}
