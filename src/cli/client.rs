//! Asks the metrics listener of a running gateway one question, and waits for the answer no longer
//! than a person would.

use std::io;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// To connect, and again to answer. A gateway that needs longer is stuck, and that is worth saying.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest answer that is read: ten thousand tunnels, each with a page of text.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The token for a metrics listener that asks for one.
pub(super) const TOKEN_VARIABLE: &str = "ADIT_METRICS_TOKEN";

/// Where to ask, and with which token.
#[derive(Debug)]
pub(super) struct Client {
    address: String,
    token: Option<HeaderValue>,
    runtime: tokio::runtime::Runtime,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// Nobody listens there.
    Away(io::Error),
    /// Somebody does, and says nothing in time.
    Late,
    /// The connection ended before the answer did.
    Broken(hyper::Error),
    /// It wants another token, or one at all.
    Token { shown: bool },
    /// It has no such thing, or does not understand the question.
    Refused(String),
    /// What answers is no metrics listener of an Adit.
    Stranger,
    /// Its answer is not what this version of Adit knows.
    Strange(serde_json::Error),
    /// The answer is larger than is read.
    TooLarge,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// What every answer has.
#[derive(Deserialize)]
struct Captured {
    #[serde(rename = "captured_at")]
    _captured_at: String,
}

impl Client {
    /// For the listener at `address`, a host and a port.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let header = |token: String| HeaderValue::from_str(&format!("Bearer {token}"));
        let no_header = |_| format!("{TOKEN_VARIABLE}: has characters that no header can have");
        let token = token.map(header).transpose().map_err(no_header)?;
        let builder = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = builder.map_err(|error| format!("nothing to wait with: {error}"))?;
        Ok(Self { address: address.to_owned(), token, runtime })
    }

    /// Where it asks.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The JSON at `path`.
    pub(super) fn ask(&self, path: &str) -> Result<Bytes, AskError> {
        self.runtime.block_on(async {
            let connecting = TcpStream::connect(self.address.as_str());
            let socket = in_time(connecting).await?.map_err(AskError::Away)?;
            in_time(self.exchange(socket, path)).await?
        })
    }

    async fn exchange(&self, socket: TcpStream, path: &str) -> Result<Bytes, AskError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let mut request =
            Request::get(path).header(HOST, &self.address).body(Empty::<Bytes>::new());
        if let (Ok(request), Some(token)) = (&mut request, &self.token) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let request = request.map_err(|error| AskError::Refused(error.to_string()))?;
        let answered = async {
            let response = sender.send_request(request).await?;
            read(response, self.token.is_some()).await
        };
        // The connection is driven as long as the answer needs it.
        tokio::select! {
            // It knows best what went wrong.
            biased;
            Err(error) = connection => Err(error.into()),
            answer = answered => answer,
        }
    }
}

async fn in_time<T>(waited: impl Future<Output = T>) -> Result<T, AskError> {
    tokio::time::timeout(ANSWER_TIME_MAX, waited).await.map_err(|_| AskError::Late)
}

async fn read(response: Response<Incoming>, shown: bool) -> Result<Bytes, AskError> {
    let (head, body) = response.into_parts();
    if head.status == StatusCode::UNAUTHORIZED {
        return Err(AskError::Token { shown });
    }
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.starts_with(b"application/json") {
        return Err(AskError::Stranger);
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(unread)?.to_bytes();
    if serde_json::from_slice::<Captured>(&body).is_ok() {
        return Ok(body);
    }
    let refusal = serde_json::from_slice::<Refusal>(&body);
    Err(refusal.map_or(AskError::Stranger, |refusal| AskError::Refused(refusal.error)))
}

fn unread(error: Box<dyn std::error::Error + Send + Sync>) -> AskError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => (*error).into(),
        Err(other) if other.is::<LengthLimitError>() => AskError::TooLarge,
        Err(_) => AskError::Stranger,
    }
}

impl From<hyper::Error> for AskError {
    fn from(error: hyper::Error) -> Self {
        let source = std::error::Error::source(&error);
        let is_cut_off = error.is_incomplete_message()
            || error.is_closed()
            || source.and_then(<dyn std::error::Error>::downcast_ref::<io::Error>).is_some();
        // Anything else is about what was said: it is no HTTP, or it came unasked and that was the end.
        if is_cut_off && !error.is_parse() { Self::Broken(error) } else { Self::Stranger }
    }
}

impl AskError {
    /// It may be there again in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Late | Self::Broken(_))
    }

    /// What to tell a person.
    pub(super) fn told(&self, address: &str) -> String {
        match self {
            Self::Away(error) => format!("no gateway at {address}: {error}"),
            Self::Late => {
                let seconds = ANSWER_TIME_MAX.as_secs();
                format!("no gateway at {address}: no answer within {seconds} seconds")
            }
            Self::Broken(error) => format!("no gateway at {address}: {error}"),
            Self::Token { shown: false } => {
                format!("the gateway at {address} asks for its token: set {TOKEN_VARIABLE}")
            }
            Self::Token { shown: true } => {
                format!("the gateway at {address} knows another token than {TOKEN_VARIABLE} has")
            }
            Self::Refused(why) => format!("the gateway at {address}: {why}"),
            Self::Stranger => format!(
                "what listens at {address} is not the metrics listener of an Adit; the line \
                 \"metrics: address=\" in its log says where that is"
            ),
            Self::Strange(error) => format!(
                "the gateway at {address} is of another version, and answers otherwise: {error}"
            ),
            Self::TooLarge => {
                let mebibytes = ANSWER_BYTES_MAX >> 20;
                format!("the answer of {address} has more than {mebibytes} MiB; use --limit")
            }
        }
    }
}
