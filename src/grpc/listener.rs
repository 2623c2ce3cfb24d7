//! Accepts connections and hands them to the workers, one after the other.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::observe::limits;
use crate::observe::tally::{Count, count};
use crate::tls::ServerConfig;
use crate::tls::credentials::Credentials;

use super::connection;
use super::door::{Door, Place};
use super::wire::{Roles, Wire};

/// How long to wait after `accept` has failed: long enough that descriptors come free, short
/// enough that nobody notices.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Connections that may wait for one worker; more wait in the kernel.
pub const ARRIVALS_WAITING_MAX: usize = 128;

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Arrival {
    stream: std::net::TcpStream,
    remote: SocketAddr,
    roles: Roles,
    tls: Option<Arc<ServerConfig>>,
    place: Place,
}

/// Accepts until it is dropped. With `credentials`, connections have TLS.
pub async fn accept(
    listener: TcpListener,
    roles: Roles,
    credentials: Option<Credentials>,
    door: Door,
    workers: Vec<mpsc::Sender<Arrival>>,
) {
    for worker in workers.iter().cycle() {
        let arrival = next(&listener, roles, credentials.as_ref(), &door).await;
        if worker.send(arrival).await.is_err() {
            return;
        }
    }
}

async fn next(
    listener: &TcpListener,
    roles: Roles,
    credentials: Option<&Credentials>,
    door: &Door,
) -> Arrival {
    loop {
        let (stream, remote) = match listener.accept().await.and_then(detach) {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn!("accept failed: cause={error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        match door.enter(remote.ip()) {
            Ok(place) => {
                // The handshake is the worker's: a slow one holds up nobody here.
                let tls = credentials.map(Credentials::server);
                return Arrival { stream, remote, roles, tls, place };
            }
            // Closed at once: it costs nothing, and says that there is nobody.
            Err(limit) => {
                limits::hit(limit);
                count(Count::ConnectionRefused);
            }
        }
    }
}

/// Takes a connection off the accepting thread's reactor.
fn detach(
    (stream, remote): (TcpStream, SocketAddr),
) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    stream.set_nodelay(true)?;
    Ok((stream.into_std()?, remote))
}

/// Serves the connections that are handed to one worker, on that worker.
pub async fn serve(mut arrivals: mpsc::Receiver<Arrival>, wire: Rc<Wire>) {
    while let Some(Arrival { stream, remote, roles, tls, place }) = arrivals.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let wire = wire.clone();
                actix_rt::spawn(connection::serve(stream, remote, roles, tls, place, wire));
            }
            Err(error) => log::warn!("connection lost: remote={remote} cause={error}"),
        }
    }
}
