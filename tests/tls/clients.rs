//! The other end of a handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, Error, RootCertStore, SupportedProtocolVersion,
};

use crate::certificates::{Authority, Pair};
use crate::support::stream::Connection;
use crate::support::{Caller, KEY, Peer, soon};

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// How a client shakes hands.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
}

impl Client {
    /// A gRPC client that trusts this authority.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::new(authority, None, &VERSIONS)
    }

    /// One that shows a certificate too.
    pub(crate) fn showing(authority: &Authority, pair: &Pair) -> Self {
        Self::new(authority, Some(pair), &VERSIONS)
    }

    pub(crate) fn new(
        authority: &Authority,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&authority.certificate)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate(&pair.certificate)], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config }
    }

    /// Offers these protocols and no others.
    pub(crate) fn offers(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn shakes_hands(
        &self,
        address: SocketAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = "localhost".try_into().unwrap();
        soon("a handshake", connector.connect(name, socket)).await
    }

    pub(crate) async fn connects(&self, address: SocketAddr) -> Connection {
        Connection::over(self.shakes_hands(address).await.unwrap(), None).await
    }

    pub(crate) async fn caller(&self, address: SocketAddr) -> Caller {
        Caller::on(self.connects(address).await, address)
    }

    /// A peer that has sent its registration.
    pub(crate) async fn registers(&self, address: SocketAddr, service: &str) -> Peer {
        let mut peer = Peer::dial_on(&self.connects(address).await, address).await;
        peer.register(KEY, &[service], &["stream", "cancel"]).await;
        peer
    }

    /// A peer whose tunnel is open.
    pub(crate) async fn peer(&self, address: SocketAddr, service: &str) -> Peer {
        let mut peer = self.registers(address, service).await;
        peer.connected().await;
        peer
    }

    /// Whether the gateway goes on to HTTP/2, where its SETTINGS come first.
    pub(crate) async fn is_taken(&self, address: SocketAddr) -> bool {
        let Ok(mut stream) = self.shakes_hands(address).await else { return false };
        soon("SETTINGS or an alert", stream.read_exact(&mut [0])).await.is_ok()
    }

    /// The alert that the gateway ends the handshake with. With TLS 1.3 it comes when the client
    /// is done already, and has to be read.
    pub(crate) async fn is_refused(&self, address: SocketAddr) -> AlertDescription {
        let error = match self.shakes_hands(address).await {
            Err(error) => error,
            Ok(mut stream) => soon("an alert", stream.read_exact(&mut [0])).await.unwrap_err(),
        };
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Error::AlertReceived(alert)) => *alert,
            other => panic!("{other:?} is no alert"),
        }
    }
}

/// Sends bytes; everything that comes back until the gateway closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon("the end", socket.read_to_end(&mut answer)).await.unwrap();
    answer
}

pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
