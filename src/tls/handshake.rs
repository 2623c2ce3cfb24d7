//! The beginning of a connection with TLS. What goes wrong is told to the other side in an alert, which
//! is a number and no text, and to the log.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;
use webpki::EndEntityCert;

use super::TlsStream;
use crate::auth::certificate::CertificateNames;

/// A fatal alert of a handshake that has no keys yet (RFC 8446 section 6): gRPC needs HTTP/2, and over
/// TLS that is agreed on by name.
const NO_PROTOCOL: [u8; 7] = {
    let (alert, fatal, no_application_protocol) = (21, 2, 120);
    [alert, 3, 3, 0, 2, fatal, no_application_protocol]
};

/// Shakes hands.
///
/// # Errors
///
/// When the other side is gone, speaks no TLS 1.2 or 1.3, does not offer `h2`, or shows no certificate
/// where one is asked for, or one that is not good.
pub async fn accept(stream: TcpStream, server: Arc<ServerConfig>) -> io::Result<TlsStream> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    if hello.client_hello().alpn().is_none() {
        // Rustls refuses who offers other protocols only, and would let this one pass. An alert
        // that finds no room in an empty socket's buffer has nobody to read it.
        drop(hello.io.try_write(&NO_PROTOCOL));
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client offers no ALPN"));
    }
    hello.into_stream(server).await
}

/// The names in the certificate that the other side showed. None if it was not asked for one.
pub fn client_names(stream: &TlsStream) -> CertificateNames {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    // It was verified, so it can be read.
    let names = certificate.and_then(|der| {
        let certificate = EndEntityCert::try_from(der).ok()?;
        Some(CertificateNames::new(certificate.valid_dns_names(), certificate.valid_uri_names()))
    });
    names.unwrap_or_default()
}
