//! The gateway tells which services there are, and asks them what they look like.

use adit::app::Ended;
use adit::grpc::own_proto::reflection::server_reflection_request::MessageRequest;
use adit::grpc::own_proto::reflection::server_reflection_response::MessageResponse;
use adit::grpc::own_proto::reflection::{
    ErrorResponse, FileDescriptorResponse, ServerReflectionRequest, ServerReflectionResponse,
};
use adit::grpc::proto::streaming_info::StreamType;
use adit::grpc::proto::{ForwardRequest, ForwardResponse};
use prost::Message;
use serde_json::json;

use crate::support::caller::CallerCall;
use crate::support::{Caller, Gateway, KEY, error, key, ok, stream_end, stream_part};

const BOTS: &str = "the-key-of-the-bots-0123456789-0123456789";

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

#[tokio::test]
async fn the_list_has_what_can_be_called_now() {
    let gateway = Gateway::start();
    let _peer = gateway.peer_with(&["demo.Echo", "Plain"], &[]).await;
    for version in [V1, V1_ALPHA] {
        let mut stream = Stream::open(&gateway.caller().await, version).await;
        let answer = stream.ask(MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Plain",
                "adit.events.v1.EventService",
                "demo.Echo",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
        );
        stream.ends_well().await;
    }
}

#[tokio::test]
async fn what_the_gateway_itself_serves_it_describes_itself() {
    let gateway = Gateway::start();
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    for question in [
        symbol("grpc.health.v1.Health"),
        symbol("grpc.reflection.v1alpha.ServerReflection"),
        MessageRequest::FileByFilename("grpc/reflection/v1/reflection.proto".to_owned()),
    ] {
        let answer = stream.ask(question).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
        assert!(files.file_descriptor_proto[0].len() > 100);
    }
    stream.ends_well().await;
}

#[tokio::test]
async fn a_question_goes_to_the_service_and_further_ones_to_the_same_tunnel() {
    let gateway = Gateway::start();
    let mut one = gateway.peer("demo.Echo").await;
    let mut two = gateway.plain_peer("demo.Echo").await;
    let _other = gateway.peer("other.Service").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;

    stream.send(symbol("demo.Echo.Say")).await;
    let (asked, request) = tokio::select! {
        request = one.request() => (&mut one, request),
        request = two.request() => (&mut two, request),
    };
    assert_eq!(request.method_path, V1);
    let info = request.streaming_info.unwrap();
    assert_eq!((info.stream_type(), info.is_stream_end), (StreamType::Unary, true));
    assert!((1..=5).contains(&request.timeout_seconds), "{request:?}");
    assert_eq!(question(&request), symbol("demo.Echo.Say"));
    asked.answer(answer(&request, file("echo"))).await;
    assert_eq!(stream.answer().await, file("echo"));

    for n in 0..10 {
        let name = MessageRequest::FileByFilename(format!("{n}.proto"));
        let next = if n % 2 == 0 { name } else { symbol("demo.Echo") };
        stream.send(next.clone()).await;
        let request = asked.request().await;
        assert_eq!(question(&request), next);
        asked.answer(answer(&request, file("more"))).await;
        assert_eq!(stream.answer().await, file("more"));
    }
    stream.ends_well().await;
}

#[tokio::test]
async fn an_answer_may_come_as_a_stream() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol("demo.Echo")).await;
    let request = peer.request().await;
    peer.answer(stream_part(&request, response(file("streamed")).encode_to_vec())).await;
    peer.answer(stream_end(&request)).await;
    assert_eq!(stream.answer().await, file("streamed"));
}

#[tokio::test]
async fn a_server_that_knows_the_first_version_alone_is_asked_by_that_from_then_on() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol("demo.Echo")).await;
    for path in [V1, V1_ALPHA] {
        let request = peer.request().await;
        assert_eq!(request.method_path, path);
        let unknown = error(&request, 12, "no such method");
        peer.answer(if path == V1 { unknown } else { answer(&request, file("old")) }).await;
    }
    assert_eq!(stream.answer().await, file("old"));
    stream.send(symbol("demo.Echo")).await;
    let request = peer.request().await;
    assert_eq!(request.method_path, V1_ALPHA);
    peer.answer(answer(&request, file("old"))).await;
    assert_eq!(stream.answer().await, file("old"));
}

#[tokio::test]
async fn what_nobody_can_tell_is_not_found_and_the_stream_goes_on() {
    let gateway = Gateway::start();
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    assert_eq!(code(&stream.ask(symbol("demo.Echo")).await), 5, "nobody is there");

    let mut peer = gateway.peer("demo.Echo").await;
    stream.send(symbol("demo.Echo")).await;
    for _ in [V1, V1_ALPHA] {
        let request = peer.request().await;
        peer.answer(error(&request, 12, "no reflection")).await;
    }
    assert_eq!(code(&stream.answer().await), 5, "no reflection");

    let own = MessageResponse::ErrorResponse(ErrorResponse {
        error_code: 13,
        error_message: "of the service".to_owned(),
    });
    for (n, bad) in [Some(own), None].into_iter().enumerate() {
        stream.send(symbol("demo.Echo")).await;
        let request = peer.request().await;
        let message = bad.map_or(b"\xff".to_vec(), |bad| response(bad).encode_to_vec());
        peer.answer(ok(&request, message)).await;
        assert_eq!(code(&stream.answer().await), 5, "{n}");
    }
    assert_eq!(code(&stream.ask_nothing().await), 3);
    stream.ends_well().await;
}

#[tokio::test]
async fn others_are_asked_until_one_knows() {
    let gateway = Gateway::start();
    let mut one = gateway.peer("a.One").await;
    let mut two = gateway.peer("b.Two").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol("b.Reply")).await;
    let request = two.request().await;
    two.answer(error(&request, 5, "not mine")).await;
    let request = one.request().await;
    one.answer(answer(&request, file("found"))).await;
    assert_eq!(stream.answer().await, file("found"));
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_told_and_so_is_the_caller() {
    let gateway = Gateway::with(json!({ "limits": { "reflection_timeout": "100ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol("demo.Echo")).await;
    let request = peer.request().await;
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    assert_eq!(code(&stream.answer().await), 4);
    stream.ends_well().await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_question_back() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    // One answer first: only then does the stream have a head.
    stream.ask(symbol("grpc.health.v1.Health")).await;
    stream.send(symbol("demo.Echo")).await;
    let request = peer.request().await;
    stream.call.cancel();
    assert_eq!(peer.cancel().await.request_id, request.request_id);
}

#[tokio::test]
async fn a_tunnel_that_is_lost_in_between_is_not_found() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol("demo.Echo")).await;
    peer.request().await;
    peer.reset();
    assert_eq!(code(&stream.answer().await), 5);
}

#[tokio::test]
async fn reflection_needs_the_key_that_calls_need() {
    let gateway = Gateway::with(json!({ "callers": { "require_key": true } }));
    let caller = gateway.caller().await;
    for version in [V1, V1_ALPHA] {
        Stream::open(&caller, version).await.call.fails(16, "no_credentials").await;
    }
    let call = caller.call_headers(V1, &[("x-adit-key", KEY)]).await;
    let answer = Stream { call }.ask(MessageRequest::ListServices(String::new())).await;
    assert!(matches!(answer, MessageResponse::ListServicesResponse(_)), "{answer:?}");
}

#[tokio::test]
async fn a_caller_sees_what_its_key_may_call_and_its_questions_count_for_the_key() {
    let limits = json!({ "calls_max": 1 });
    let bots = json!({ "register": [], "call": ["a.*"], "limits": limits });
    let gateway = Gateway::with(json!({
        "keys": [key("tests", KEY, json!({})), key("bots", BOTS, bots)],
        "callers": { "require_key": true }
    }));
    let mut one = gateway.peer("a.One").await;
    let _two = gateway.peer("b.Two").await;
    let caller = gateway.caller().await;
    let call = caller.call_headers(V1, &[("x-adit-key", BOTS)]).await;
    let mut stream = Stream { call };
    let list = stream.ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = list else { panic!("{list:?}") };
    assert_eq!(list.service[0].name, "a.One");
    assert_eq!(list.service.len(), 5, "the other four are the gateway's own");
    assert_eq!(code(&stream.ask(symbol("b.Two")).await), 5);

    let mut call = caller.call_headers("/a.One/Say", &[("x-adit-key", BOTS)]).await;
    call.send_last("").await;
    let request = one.request().await;
    assert_eq!(code(&stream.ask(symbol("a.One")).await), 8);
    one.answer(ok(&request, "")).await;
    call.message().await;
    call.succeeds().await;

    stream.send(symbol("a.One")).await;
    let request = one.request().await;
    one.answer(answer(&request, file("one"))).await;
    assert_eq!(stream.answer().await, file("one"));
}

#[tokio::test]
async fn other_machines_see_health_and_no_reflection_unless_it_is_switched_on() {
    for (reflection, code) in [(json!(null), "12"), (json!(true), "0")] {
        let listener = json!({ "address": "0.0.0.0:0", "reflection": reflection });
        let gateway = Gateway::with(json!({ "listeners": [listener] }));
        let caller = gateway.caller().await;
        for version in [V1, V1_ALPHA] {
            let mut call = caller.call_headers(version, &[("x-adit-key", KEY)]).await;
            call.half_close();
            assert_eq!(call.end().await.code, code);
        }
        let mut health = caller.call("/grpc.health.v1.Health/Check").await;
        health.send_last("").await;
        assert_eq!(health.message().await, "\x08\x01");
        health.succeeds().await;
    }
}

#[tokio::test]
async fn a_stream_of_questions_ends_with_the_gateway_and_does_not_hold_it_up() {
    let gateway = Gateway::start();
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.ask(MessageRequest::ListServices(String::new())).await;
    gateway.ask_to_stop();
    stream.call.fails(14, "draining").await;
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_question_that_is_too_long_ends_the_stream() {
    let gateway = Gateway::start();
    let mut stream = Stream::open(&gateway.caller().await, V1).await;
    stream.send(symbol(&"x".repeat(20_000))).await;
    assert_eq!(stream.call.end().await.code, "11");
}

/// A caller's stream of questions.
struct Stream {
    call: CallerCall,
}

impl Stream {
    async fn open(caller: &Caller, version: &str) -> Self {
        Self { call: caller.call(version).await }
    }

    async fn send(&mut self, question: MessageRequest) {
        let message_request = Some(question);
        let request = ServerReflectionRequest { host: "here".to_owned(), message_request };
        self.call.send(request.encode_to_vec()).await;
    }

    async fn answer(&mut self) -> MessageResponse {
        let response = ServerReflectionResponse::decode(self.call.message().await).unwrap();
        assert_eq!(response.valid_host, response.original_request.unwrap().host);
        response.message_response.unwrap()
    }

    async fn ask(&mut self, question: MessageRequest) -> MessageResponse {
        self.send(question).await;
        self.answer().await
    }

    async fn ask_nothing(&mut self) -> MessageResponse {
        self.call.send("").await;
        self.answer().await
    }

    async fn ends_well(&mut self) {
        self.call.half_close();
        self.call.succeeds().await;
    }
}

fn symbol(name: &str) -> MessageRequest {
    MessageRequest::FileContainingSymbol(name.to_owned())
}

/// What a peer is asked.
fn question(request: &ForwardRequest) -> MessageRequest {
    let question = ServerReflectionRequest::decode(request.payload.clone()).unwrap();
    assert_eq!(question.host, "here");
    question.message_request.unwrap()
}

fn file(content: &'static str) -> MessageResponse {
    let file_descriptor_proto = vec![content.into()];
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

fn response(answer: MessageResponse) -> ServerReflectionResponse {
    ServerReflectionResponse {
        message_response: Some(answer),
        ..ServerReflectionResponse::default()
    }
}

fn answer(request: &ForwardRequest, answer: MessageResponse) -> ForwardResponse {
    ok(request, response(answer).encode_to_vec())
}

fn code(answer: &MessageResponse) -> i32 {
    let MessageResponse::ErrorResponse(error) = answer else { panic!("{answer:?}") };
    error.error_code
}
