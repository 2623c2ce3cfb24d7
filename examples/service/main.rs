//! demo.Greeter, served through an Adit gateway: it listens on no port, it dials in.
//!
//!     ADIT_API_KEY=<key> cargo run --example service
//!
//! What happens on the tunnel is in `tunnel.rs`; here are only the methods. What they promise is in
//! `examples/proto/greeter.proto`.

mod tunnel;

use std::env;
use std::error::Error;
use std::time::Duration;

use tonic::Status;
use tunnel::{Answer, Call, only};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).parse_default_env().init();
    let key = env::var("ADIT_API_KEY").map_err(|error| format!("ADIT_API_KEY: {error}"))?;
    let address = env::var("ADIT_ADDRESS").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    tunnel::keep(&address, &key, "demo.Greeter", |call| Box::pin(serve(call))).await
}

async fn serve(call: &mut Call) -> Answer {
    match call.method() {
        "Greet" => greet(call).await,
        "Count" => count(call).await,
        "Sum" => sum(call).await,
        "Chat" => chat(call).await,
        other => Err(Status::unimplemented(format!("no method {other}"))),
    }
}

async fn greet(call: &mut Call) -> Answer {
    let Text { text: name } = call.next().await?.unwrap_or_default();
    if name.is_empty() {
        return Err(Status::invalid_argument("one name, please"));
    }
    let hello = if call.metadata("accept-language") == Some("de") { "Hallo" } else { "Hello" };
    only(&Text { text: format!("{hello}, {name}!") })
}

async fn count(call: &mut Call) -> Answer {
    let CountRequest { limit, pause_ms } = call.next().await?.unwrap_or_default();
    for number in 1..=limit {
        call.reply(&Number { number }).await;
        tokio::time::sleep(Duration::from_millis(pause_ms.into())).await;
    }
    Ok(None)
}

async fn sum(call: &mut Call) -> Answer {
    let mut total = 0_i64;
    while let Some(Number { number }) = call.next().await? {
        total = total.wrapping_add(number);
    }
    only(&Number { number: total })
}

async fn chat(call: &mut Call) -> Answer {
    while let Some(Text { text }) = call.next().await? {
        call.reply(&Text { text: format!("You said: {text}") }).await;
    }
    Ok(None)
}

/// `GreetRequest`, `GreetReply` and `ChatMessage`: on the wire they are the same. A project with
/// its own contracts has them generated.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

/// `CountReply`, `SumRequest` and `SumReply`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Number {
    #[prost(int64, tag = "1")]
    number: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CountRequest {
    #[prost(int64, tag = "1")]
    limit: i64,
    #[prost(uint32, tag = "2")]
    pause_ms: u32,
}
