//! A NATS server, and as much of its protocol as subscribers and a publisher need.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::audience::{Audience, TOPIC};
use super::{Outcome, Proxy};

/// Read at once.
const READ_BYTES: usize = 64 * 1024;

/// Starts a server on a port of its own choice.
pub(crate) fn server() -> Outcome<Proxy> {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", "-1"]).env("GOMAXPROCS", "2");
    Proxy::start(command, "Listening for client connections on ")
}

/// The connection of the publisher.
pub(crate) struct Publisher(Connection);

impl Publisher {
    pub(crate) async fn open(server: SocketAddr) -> Outcome<Self> {
        Ok(Self(Connection::open(server).await?))
    }

    /// Publishes so many events, and waits until the server has them all.
    pub(crate) async fn publish(&mut self, events: usize, payload: &Bytes) -> Outcome<()> {
        let head = format!("PUB {TOPIC} {}\r\n", payload.len());
        let one = [head.as_bytes(), payload, b"\r\n"].concat();
        self.0.socket.write_all(&one.repeat(events)).await?;
        self.0.round_trip().await
    }
}

/// Opens the connections of an audience; when it returns, all of it listens.
pub(crate) async fn subscribe(
    server: SocketAddr,
    connections: usize,
    audience: &Arc<Audience>,
) -> Outcome<()> {
    for number in 0..connections {
        let mut connection = Connection::open(server).await?;
        let own = (number..audience.len()).step_by(connections);
        let subscriptions: String = own.map(|sid| format!("SUB {TOPIC} {sid}\r\n")).collect();
        connection.socket.write_all(subscriptions.as_bytes()).await?;
        connection.round_trip().await?;
        let audience = audience.clone();
        tokio::spawn(async move {
            while let Ok(said) = connection.next().await {
                if let Said::Message { sid } = said {
                    audience.hear(sid);
                }
            }
        });
    }
    Ok(())
}

struct Connection {
    socket: TcpStream,
    read: BytesMut,
}

/// What a server says.
enum Said {
    /// A message for a subscription.
    Message { sid: usize },
    /// It has done what came before the question.
    Pong,
    /// Nothing that matters here.
    Other,
}

impl Connection {
    async fn open(server: SocketAddr) -> Outcome<Self> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        socket.write_all(b"CONNECT {\"verbose\":false}\r\n").await?;
        Ok(Self { socket, read: BytesMut::new() })
    }

    /// Waits until the server has done all that it was told.
    async fn round_trip(&mut self) -> Outcome<()> {
        self.socket.write_all(b"PING\r\n").await?;
        while !matches!(self.next().await?, Said::Pong) {}
        Ok(())
    }

    async fn next(&mut self) -> std::io::Result<Said> {
        let line = loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let line = self.read.split_to(line + 2).freeze();
        let line = std::str::from_utf8(&line).unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["MSG", _, sid, bytes] => {
                let whole = bytes.parse().unwrap_or(0) + 2;
                while self.read.len() < whole {
                    self.fill().await?;
                }
                self.read.advance(whole);
                Ok(Said::Message { sid: sid.parse().unwrap_or(usize::MAX) })
            }
            ["PING"] => {
                self.socket.write_all(b"PONG\r\n").await?;
                Ok(Said::Other)
            }
            ["PONG"] => Ok(Said::Pong),
            ["-ERR", ..] => Err(std::io::Error::other(line.to_owned())),
            _ => Ok(Said::Other),
        }
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        self.read.reserve(READ_BYTES);
        match self.socket.read_buf(&mut self.read).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
