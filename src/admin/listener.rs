//! The socket and the thread of the metrics listener: they go on when an arbiter is stuck.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::observe::tally::{Count, count};

use super::{Facts, Settings, routes};

/// Connections at once; one more and the oldest is closed. A Prometheus, a few browsers and a few
/// terminals need one each, and connect again.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must have come by then; a connection that is silent for so long is closed.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection this old is closed after its answer, so that nobody holds a place for ever.
const CONNECTION_TIME_MAX: Duration = Duration::from_mins(1);
/// How long that answer may take to be read.
const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long accepting waits when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A metrics listener that is up. It ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// A metrics listener that has its address and serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    socket: StdListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes the address.
    ///
    /// # Errors
    ///
    /// When it cannot be listened on.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = StdListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or nothing to wait for sockets with.
    pub fn serve(self, settings: &Settings, facts: Facts) -> io::Result<Admin> {
        let Self { socket, address } = self;
        let (stop, stopped) = oneshot::channel();
        let router = routes::router(settings, facts);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(socket) {
                    Ok(listener) => tokio::select! {
                        () = accept(listener, router) => {}
                        // The gateway has ended.
                        _ = stopped => {}
                    },
                    Err(error) => log::error!("metrics listener failed: cause={error}"),
                }
            });
        })?;
        Ok(Admin { address, _stop: stop })
    }
}

impl Admin {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// When there are too many, the oldest goes: whoever comes is heard, however many hold a connection and
/// say nothing.
async fn accept(listener: TcpListener, router: Router) {
    let mut open = VecDeque::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        open.retain(|connection: &JoinHandle<()>| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            count(Count::WatcherReplaced);
            oldest.abort();
        }
        open.push_back(tokio::spawn(serve(socket, router.clone())));
    }
}

async fn serve(socket: TcpStream, router: Router) {
    // An answer is written whole; without this its last packet may wait for an acknowledgement.
    drop(socket.set_nodelay(true));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        // One that breaks has nobody left to be told.
        _ = &mut connection => return,
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(LAST_ANSWER_TIME_MAX, connection).await);
}
