//! TLS of a listener: what it shows and asks for, and the handshake. Rustls stays in this folder.
//!
//! - [`files`]: certificate, key and client CA, read from their files
//! - [`credentials`]: those now in force, and how they change while the gateway runs
//! - [`handshake`]: one connection's beginning, and the names in its client's certificate

pub mod credentials;
pub mod files;
pub mod handshake;
#[cfg(test)]
pub(crate) mod testing;

/// What a handshake is done with.
pub use tokio_rustls::rustls::ServerConfig;

/// A connection after its handshake.
pub type TlsStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
