//! HTTP/2 frame by frame, as no library would write it: what an attacker sends, and what it gets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};

use crate::words::soon;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Frame types, flags and codes of RFC 9113, sections 6 and 7.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What an attack sends on a stream.
pub(crate) type Blow = dyn Fn(u32) -> Vec<u8>;

/// What has come back so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The code of the first GOAWAY and what it says.
    pub(crate) goaway: Option<(u32, String)>,
    /// The connection has ended, well or not.
    pub(crate) closed: bool,
    /// Streams that were reset, by code.
    pub(crate) resets: BTreeMap<u32, usize>,
    /// Blocks of headers, the first and the last of an answer alike.
    pub(crate) headers: usize,
    /// Streams that were ended with `END_STREAM`.
    pub(crate) ended: usize,
    pub(crate) data_bytes: usize,
    pub(crate) pongs: usize,
    pub(crate) settings_acks: usize,
    /// All bytes, whatever they were.
    pub(crate) bytes: usize,
}

/// One connection.
pub(crate) struct Raw {
    writer: Arc<Mutex<OwnedWriteHalf>>,
    seen: watch::Receiver<Seen>,
    reading: tokio::task::JoinHandle<()>,
    next_stream: u32,
}

/// How a connection behaves beside what a test sends on it.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Whether it says yes to the gateway's settings and pings.
    pub(crate) acknowledges: bool,
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, Manners { acknowledges: true }).await
    }

    pub(crate) async fn connect_with(address: SocketAddr, manners: Manners) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (reader, writer) = socket.into_split();
        let writer = Arc::new(Mutex::new(writer));
        let (tell, seen) = watch::channel(Seen::default());
        let reading = tokio::spawn(read(reader, writer.clone(), manners, tell));
        Self { writer, seen, reading, next_stream: 1 }
    }

    /// Connects and says hello: a preface and empty settings.
    pub(crate) async fn hello(address: SocketAddr) -> Self {
        let raw = Self::connect(address).await;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        soon(
            "the gateway's yes to the settings",
            raw.seen.clone().wait_for(|s| s.settings_acks > 0),
        )
        .await
        .unwrap();
        raw
    }

    /// Sends bytes. Whether the connection still takes them.
    pub(crate) async fn send(&self, bytes: &[u8]) -> bool {
        soon("room to send", async { self.writer.lock().await.write_all(bytes).await })
            .await
            .is_ok()
    }

    /// The id of a stream that has not been used.
    pub(crate) fn stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Begins a call and leaves it open; its stream.
    pub(crate) async fn open(&mut self, path: &str) -> u32 {
        let stream = self.stream();
        self.send(&frame(HEADERS, END_HEADERS, stream, &request(path))).await;
        stream
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what has come is like this.
    pub(crate) async fn until(&self, what: &str, is_so: impl FnMut(&Seen) -> bool) -> Seen {
        soon(what, self.seen.clone().wait_for(is_so)).await.unwrap().clone()
    }

    /// Waits until the connection is closed, and tells all that came.
    pub(crate) async fn is_closed(&self) -> Seen {
        self.until("the connection to be closed", |seen| seen.closed).await
    }

    /// The GOAWAY that must come.
    pub(crate) async fn goes_away(&self) -> (u32, String) {
        let seen = self.until("a GOAWAY", |seen| seen.goaway.is_some() || seen.closed).await;
        seen.goaway.clone().unwrap_or_else(|| panic!("closed without a word: {seen:?}"))
    }

    /// Sends a ping and waits for its answer: everything sent before has been read.
    pub(crate) async fn is_heard(&self) -> Seen {
        let before = self.seen().pongs;
        self.send(&frame(PING, 0, 0, &[7; 8])).await;
        self.until("an answer to a ping", |seen| seen.pongs > before || seen.closed).await
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    writer: Arc<Mutex<OwnedWriteHalf>>,
    manners: Manners,
    tell: watch::Sender<Seen>,
) {
    // An end with an error is an end.
    while let Ok((kind, flags, _, payload)) = next_frame(&mut reader).await {
        let answer = match kind {
            SETTINGS if flags & ACK == 0 => Some(frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => Some(frame(PING, ACK, 0, &payload)),
            _ => None,
        };
        if let Some(answer) = answer.filter(|_| manners.acknowledges) {
            // The gateway may be gone by now.
            let _ = writer.lock().await.write_all(&answer).await;
        }
        tell.send_modify(|seen| note(seen, kind, flags, &payload));
    }
    tell.send_modify(|seen| seen.closed = true);
    // The test looks at what came as long as it likes.
    tell.closed().await;
}

async fn next_frame(reader: &mut OwnedReadHalf) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok((head[3], head[4], stream, payload))
}

fn note(seen: &mut Seen, kind: u8, flags: u8, payload: &[u8]) {
    seen.bytes += 9 + payload.len();
    let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    match kind {
        HEADERS => seen.headers += 1,
        DATA => seen.data_bytes += payload.len(),
        RST_STREAM => *seen.resets.entry(number(0)).or_default() += 1,
        GOAWAY if seen.goaway.is_none() => {
            seen.goaway = Some((number(4), String::from_utf8_lossy(&payload[8..]).into_owned()));
        }
        PING if flags & ACK != 0 => seen.pongs += 1,
        SETTINGS if flags & ACK != 0 => seen.settings_acks += 1,
        _ => {}
    }
    if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
        seen.ended += 1;
    }
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The end of a stream that its opener wants no more.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub(crate) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// One setting (RFC 9113 section 6.5.2).
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// The block of headers of a gRPC call: indexed fields and literals without Huffman coding, of
/// which the other side keeps nothing (RFC 7541 section 6.2.2).
pub(crate) fn request(path: &str) -> Vec<u8> {
    // POST, http
    let mut block = vec![0x83, 0x86];
    // :path and :authority by the numbers of their names, content-type (31) in two bytes
    for (name, value) in [(&[4][..], path), (&[1], "localhost"), (&[15, 16], "application/grpc")] {
        block.extend_from_slice(name);
        text(&mut block, value.as_bytes());
    }
    field(&mut block, "te", b"trailers");
    block
}

/// Adds a field whose name is written out.
pub(crate) fn field(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    block.push(0);
    text(block, name.as_bytes());
    text(block, value);
}

/// A string with its length in front, in seven bits and as many more bytes as it takes.
pub(crate) fn text(block: &mut Vec<u8>, bytes: &[u8]) {
    integer(block, 0, 7, bytes.len());
    block.extend_from_slice(bytes);
}

/// An integer as HPACK writes it, behind the bits that are in its first byte already.
pub(crate) fn integer(block: &mut Vec<u8>, first: u8, bits: u32, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return block.push(first | u8::try_from(value).unwrap());
    }
    block.push(first | u8::try_from(most).unwrap());
    value -= most;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// A gRPC message with its prefix.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    crate::words::stream::frame(0, payload)
}

/// A pause between two blows of an attack whose pace is what is tested.
pub(crate) async fn pace(pause: Duration) {
    let mut ticks = tokio::time::interval(pause);
    ticks.tick().await;
    ticks.tick().await;
}
