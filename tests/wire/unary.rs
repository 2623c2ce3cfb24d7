//! One message in, one message out.

use crate::support::{Gateway, call_whole, error, ok};

#[tokio::test]
async fn a_call_goes_down_the_tunnel_and_its_answer_comes_back() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    assert_eq!(
        (request.method_path.as_str(), &request.payload[..]),
        ("/demo.Echo/Say", &b"hi"[..])
    );
    peer.answer(ok(&request, "hi back")).await;
    assert_eq!(call.message().await, "hi back");
    call.succeeds().await;
}

#[tokio::test]
async fn an_error_without_a_payload_stays_one_block() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    peer.answer(error(&request, 5, "no such thing: 50% \u{fc}\n")).await;
    assert!(call.is_trailers_only().await);
    let end = call.end().await;
    assert_eq!((end.code.as_str(), end.reason), ("5", None));
    assert_eq!(end.trailers["grpc-message"], "no such thing: 50%25 %C3%BC%0A");
}
