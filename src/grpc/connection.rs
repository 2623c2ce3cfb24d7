//! One HTTP/2 connection: its settings, its keepalive, and who serves each of its streams.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::observe::limits::{self, Limit};
use crate::observe::log::outside;
use crate::observe::tally::{Count, count};
use crate::tls::{ServerConfig, handshake};
use crate::tunnel::limits::STREAMS_MAX;

use super::age::{Aging, Due};
use super::door::Place;
use super::socket::{Reads, Socket};
use super::wire::{Phase, Roles, Shared, Wire};
use super::{forward, head, own, tunnel};

const ESTABLISH_CONNECTION: &str = "/registry.RegistryService/EstablishConnection";

/// Streams reset before they were accepted: past this the connection is closed (CVE-2023-44487). A client
/// whose calls all run out of time resets them together, and those of its queue that follow at once;
/// h2's own 20 took such clients' connections with everything else on them. Nothing is begun for these
/// streams, and [`super::early_cancels`] counts them too. As many as nghttp2 lets pass in one burst.
const PENDING_RESETS_MAX: usize = 1_000;
/// Streams that this side reset for errors of the other, over the connection's life
/// (CVE-2025-8671).
const ERROR_RESETS_MAX: usize = 1_024;
/// The header list that h2 still reads: above our own metadata limit, so that the gateway and not
/// h2 answers what is over that, and room for long grpc-status-details.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// What h2 may buffer of one stream's output.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// What a caller may send of one stream before the gateway has taken it.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What small DATA frames may cost beyond their bytes while they wait; then h2 closes the
/// connection (its own default is half the connection's window, which one stream of 20-byte
/// messages in frames of their own uses up). About a quarter KiB for each frame.
const SMALL_FRAMES_BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// Windows of a tunnel: one stream carries all its calls.
const TUNNEL_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const TUNNEL_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// How long a connection that is closed may take to send why.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one connection until it ends. With `tls`, it begins with a handshake of that.
pub async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    roles: Roles,
    tls: Option<Arc<ServerConfig>>,
    _place: Place,
    wire: Rc<Wire>,
) {
    let (streams_max, timeout) = {
        let limits = wire.worker.tunnels.limits.now();
        (limits.streams_per_connection_max, limits.handshake_timeout)
    };
    let until = Instant::now() + timeout;
    let socket = match tls {
        None => Socket::plain(stream),
        // Behind a pointer, so that connections without TLS are no larger for it.
        Some(server) => match Box::pin(with_tls(stream, server, until, remote)).await {
            Some(socket) => socket,
            None => return,
        },
    };
    let reads = socket.reads();
    let certificate = socket.client_names();
    let handshake = builder(streams_max).handshake::<_, Bytes>(socket);
    let connection = match timeout_at(until, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return handshake_failed(remote, &error),
        Err(elapsed) => {
            limits::hit(Limit::HandshakeTimeout);
            return handshake_failed(remote, &elapsed);
        }
    };
    let shared =
        Rc::new(Shared::new(remote, roles, certificate, &wire.worker.tunnels.limits.now()));
    drive(connection, reads, shared, wire).await;
}

async fn with_tls(
    stream: TcpStream,
    server: Arc<ServerConfig>,
    until: Instant,
    remote: SocketAddr,
) -> Option<Socket> {
    let failed = |cause: &dyn std::error::Error| {
        count(Count::TlsFailed);
        handshake_failed(remote, cause);
    };
    match timeout_at(until, handshake::accept(stream, server)).await {
        Ok(Ok(stream)) => {
            let socket = Socket::tls(stream);
            let names = outside(&socket.client_names().to_string());
            log::debug!("tls: remote={remote} client=[{names}]");
            return Some(socket);
        }
        Ok(Err(error)) => failed(&error),
        Err(elapsed) => {
            limits::hit(Limit::HandshakeTimeout);
            failed(&elapsed);
        }
    }
    None
}

fn handshake_failed(remote: SocketAddr, cause: &dyn std::error::Error) {
    count(Count::HandshakeFailed);
    log::debug!("handshake failed: remote={remote} cause={cause}");
}

fn builder(streams_max: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams(streams_max))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(connection_window(streams_max))
        .data_frame_budget(SMALL_FRAMES_BUDGET_BYTES);
    builder
}

async fn drive(
    mut connection: Connection<Socket, Bytes>,
    reads: Reads,
    shared: Rc<Shared>,
    wire: Rc<Wire>,
) {
    let mut phase = wire.phase.clone();
    let ping_pong = connection.ping_pong();
    let mut dead = pin!(wire.keepalive.until_dead(ping_pong, reads, &shared.round_trips));
    let mut aging = Aging::new(wire.age);
    let mut drains = *phase.borrow_and_update() != Phase::Serving;
    if drains {
        count(Count::ConnectionDrained);
        connection.graceful_shutdown();
    }
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => dispatch(request, respond, &shared, &wire),
                Some(Err(error)) => return ended(&shared, &error),
                None => return,
            },
            () = shared.tunnel_wanted() => widen(&mut connection),
            // Once draining there is no further phase that a connection would act on.
            Ok(()) = phase.changed(), if !drains => {
                drains = true;
                count(Count::ConnectionDrained);
                connection.graceful_shutdown();
            }
            due = aging.due(|| shared.carries()) => match due {
                Due::Leave => {
                    count(Count::ConnectionAged);
                    connection.graceful_shutdown();
                }
                Due::Close => return close(connection, Reason::NO_ERROR).await,
            },
            () = shared.early_cancels.too_many() => {
                count(Count::ConnectionCalmed);
                limits::hit(Limit::EarlyCancels);
                log::info!("connection closed: remote={} too many early cancels", shared.remote);
                return close(connection, Reason::ENHANCE_YOUR_CALM).await;
            }
            () = &mut dead => {
                shared.dead.set(true);
                log::info!("connection dead: remote={} no answer to a ping", shared.remote);
                return;
            }
        }
    }
}

/// A connection has ended on its own, or because h2 found that the other side floods it.
fn ended(shared: &Shared, error: &h2::Error) {
    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        count(Count::ConnectionCalmed);
        log::info!("connection closed: remote={} cause={error}", shared.remote);
    } else {
        log::debug!("connection ended: remote={} cause={error}", shared.remote);
    }
}

/// Ends a connection with all its streams, and says why if the other side still listens.
async fn close(mut connection: Connection<Socket, Bytes>, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closed = async { while matches!(connection.accept().await, Some(Ok(_))) {} };
    // A side that does not read is closed without a word.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
}

/// Room for all streams at once: streams whose tunnels are stuck must not keep the others from
/// sending (RFC 9113 section 5.2 has one window for all of them).
fn connection_window(streams_max: usize) -> u32 {
    streams(streams_max).saturating_mul(STREAM_WINDOW_BYTES)
}

/// The streams to tell of in SETTINGS. Callers queue what is over the number they are told; told of
/// more than is served, they lose calls: most client libraries do not retry a refused stream when the
/// next one is refused too.
fn streams(streams_max: usize) -> u32 {
    u32::try_from(streams_max).unwrap_or(STREAMS_MAX).min(STREAMS_MAX)
}

fn widen(connection: &mut Connection<Socket, Bytes>) {
    connection.set_target_window_size(TUNNEL_CONNECTION_WINDOW_BYTES);
    if let Err(error) = connection.set_initial_window_size(TUNNEL_STREAM_WINDOW_BYTES) {
        // Another change of settings is on its way: the tunnel works, with a smaller window.
        log::debug!("tunnel window not widened: cause={error}");
    }
}

fn dispatch(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Rc<Shared>,
    wire: &Rc<Wire>,
) {
    let Some(mut slot) = shared.take_slot() else {
        count(Count::StreamRefused);
        limits::hit(Limit::StreamsPerConnectionMax);
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    if is_reset(&mut respond) {
        // Nothing is begun for a caller that has left already. If its time was up, it did not change its mind.
        count(Count::StreamGone);
        if head::may_have_waited_in_vain(request.headers()) {
            slot.answered();
        }
        return;
    }
    let path = request.uri().path();
    if shared.roles.tunnels && path == ESTABLISH_CONNECTION {
        return spawn(tunnel::serve(request, respond, slot, shared.clone(), wire.clone()));
    }
    match own::find(path, shared.roles) {
        Some(service) => own::serve(service, request, respond, slot, shared, wire),
        None => forward::serve(request, respond, slot, shared, wire),
    }
}

fn is_reset(respond: &mut SendResponse<Bytes>) -> bool {
    respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn spawn(stream: impl Future<Output = ()> + 'static) {
    actix_rt::spawn(stream);
}
