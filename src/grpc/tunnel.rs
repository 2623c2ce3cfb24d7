//! A peer's stream: it registers, then frames go down and come up until one side ends it.
//!
//! [`serve`] is the life of a tunnel's stream. The reader never waits for a call: what it reads it
//! hands on at once, bounded by the tunnel's buffers. The writer takes frames off the queue as
//! fast as HTTP/2 lets them go, control first.

mod counted;
mod events;
mod reader;
mod registration;
mod revocation;
mod seen;
mod writer;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, Response, header};

use crate::actors::connection::{Abilities, ConnectionHandle, Opening};
use crate::actors::credit::Credit;
use crate::actors::down::{Down, DownEnd, down};
use crate::actors::lane::EventLane;
use crate::actors::now;
use crate::observe::limits;
use crate::observe::log::outside;
use crate::observe::tally::{Count, count};
use crate::observe::ticks::{self, Tick};
use crate::observe::tunnels::{Closing, TunnelGauge};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::{ServiceName, TunnelId};
use crate::tunnel::liveness::LastSeen;

use super::answer::http_status;
use super::encode::Rules;
use super::head;
use super::limits_reached;
use super::peer_call::{PeerCalls, Whose};
use super::refused_key;
use super::status;
use super::stream::MessageStream;
use super::wire::{Shared, StreamSlot, Wire};

use counted::{Counted, watch};
use events::PeerEvents;
use reader::Reader;
use registration::Registration;
use writer::Writer;

/// Serves one tunnel until it ends.
pub async fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut slot: StreamSlot,
    shared: Rc<Shared>,
    wire: Rc<Wire>,
) {
    let arrived = ticks::now();
    let (parts, body) = request.into_parts();
    let content_type = match head::content_type(&parts.method, &parts.headers) {
        Ok(content_type) => content_type,
        Err(code) => return http_status(respond, slot, code),
    };
    let Ok(mut stream) = respond.send_response(response_head(content_type), false) else { return };
    slot.answered();
    let mut frames =
        MessageStream::new(body, registration::FRAME_BYTES_MAX, wire.gathering.clone());
    match registration::wait(&mut frames, &shared, &wire).await {
        Ok(registration) => {
            let frame_bytes_max = wire.worker.tunnels.limits.now().peer_frame_bytes_max;
            frames.admit(frame_bytes_max);
            slot.becomes_tunnel();
            run(registration, arrived, frames, stream, &shared, &wire).await;
        }
        Err(end) => {
            if end == TunnelEnd::BadKey {
                refused_key::shown("tunnel", shared.remote, &wire).await;
            } else {
                log::info!("tunnel refused: remote={} reason={end}", shared.remote);
            }
            limits_reached::by_tunnel(&end).into_iter().for_each(limits::hit);
            wire.worker.window.tunnels.refused(status::of_tunnel_end(&end).1);
            // A peer that is gone needs no answer.
            drop(stream.send_trailers(status::tunnel_trailers(&end)));
        }
    }
}

fn response_head(content_type: HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn run(
    registration: Registration,
    arrived: Tick,
    frames: MessageStream,
    stream: SendStream<Bytes>,
    shared: &Shared,
    wire: &Rc<Wire>,
) {
    let tunnel = TunnelId::random();
    log::info!(
        "tunnel opening: tunnel={tunnel} key={} remote={} services=[{}] features=[{}]",
        registration.quota.key,
        shared.remote,
        outside(&join(&registration.services)),
        registration.features.granted().join(" "),
    );
    count(Count::TunnelOpened);
    let (down, down_end) = down(EventLane::new(&wire.worker.tunnels.limits.now()));
    let credential = registration.credential;
    let services = registration.services.clone();
    let (watched, held) = watch(tunnel, &registration, arrived, shared, wire);
    let _interest = shared.round_trips.interest(watched.gauge().clone());
    let ended = {
        let whose = Whose { credential, remote: shared.remote };
        let parts = open(tunnel, registration, whose, down, watched.gauge(), held, wire);
        let (names, keys) = (shared.certificate.clone(), wire.keys.clone());
        let refused = revocation::until_refused(credential, services, names, keys);
        parts.run(frames, stream, down_end, refused, wire).await
    };
    let ended = if shared.dead.get() { TunnelEnd::ConnectionDead } else { ended };
    if ended == TunnelEnd::SlowConsumer {
        wire.worker.window.topics.slow_consumer();
    }
    watched.close(Closing {
        refused: status::of_tunnel_end(&ended).1,
        closed: status::of_disconnect(&ended),
        detail: ended.to_string(),
    });
    limits_reached::by_tunnel(&ended).into_iter().for_each(limits::hit);
    count(Count::TunnelClosed);
    log::info!("tunnel closed: tunnel={tunnel} reason={ended}");
}

fn join(names: &[ServiceName]) -> String {
    names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" ")
}

/// An open tunnel, before it runs.
struct Parts {
    tunnel: TunnelId,
    whose: Whose,
    connection: ConnectionHandle,
    down: Down,
    credit: Credit,
    buffer: Allowance,
    own_calls: Allowance,
    heard: LastSeen,
    sent: LastSeen,
    gauge: Arc<TunnelGauge>,
    rules: Rules,
}

fn open(
    tunnel: TunnelId,
    registration: Registration,
    whose: Whose,
    down: Down,
    gauge: &Arc<TunnelGauge>,
    counted: Counted,
    wire: &Wire,
) -> Parts {
    let limits = wire.worker.tunnels.limits.now();
    let Registration { quota, services, features, .. } = registration;
    let Counted { credit, own_calls, load } = counted;
    let now = now();
    let (heard, sent) = (LastSeen::new(now), LastSeen::new(now));
    let buffer = Allowance::new(limits.tunnel_buffer_bytes_max);
    let opening = Opening {
        tunnel,
        worker: wire.worker.id,
        key: quota,
        services,
        abilities: Abilities {
            plain: features.is_plain(),
            streams: features.stream,
            cancels: features.cancel,
            drains: features.drain,
        },
        down: down.clone(),
        credit: credit.clone(),
        buffer: buffer.clone(),
        own_calls: own_calls.clone(),
        heard: heard.clone(),
        sent: sent.clone(),
        gauge: gauge.clone(),
        load,
    };
    let connection = ConnectionHandle::open(opening, wire.worker.tunnels.clone());
    let rules = Rules::under(&limits, features);
    Parts {
        tunnel,
        whose,
        connection,
        down,
        credit,
        buffer,
        own_calls,
        heard,
        sent,
        gauge: gauge.clone(),
        rules,
    }
}

/// Closes the connection actor when the task of its wire is gone, on whatever road: without this a
/// panic here would leave a tunnel that is chosen and carries nothing. A reason given before stays.
struct CloseOnDrop(ConnectionHandle);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.abandoned();
    }
}

impl Parts {
    async fn run(
        self,
        frames: MessageStream,
        stream: SendStream<Bytes>,
        down_end: DownEnd,
        refused: impl Future<Output = TunnelEnd>,
        wire: &Rc<Wire>,
    ) -> TunnelEnd {
        let Self { tunnel, whose, connection, down, credit, buffer, .. } = self;
        let Self { own_calls, heard, sent, gauge, rules, .. } = self;
        let writer = Writer {
            stream,
            down: down_end,
            connection: connection.clone(),
            rules,
            limits: wire.worker.tunnels.limits.clone(),
            tunnel,
            workers: wire.worker.count,
            sent,
            gauge: gauge.clone(),
        };
        let credential = whose.credential;
        let (events, membership) = PeerEvents::new(
            wire.clone(),
            credential,
            tunnel,
            &connection,
            down.clone(),
            buffer.clone(),
            rules.features.event_ack,
        );
        let narrowed = events::follow_key(wire.keys.clone(), credential, membership);
        let calls = PeerCalls::new(wire.clone(), whose, own_calls, down, credit, buffer, rules);
        let reader = Reader {
            frames,
            connection: connection.clone(),
            calls,
            events,
            heard,
            heartbeats: reader::heartbeats(now()),
            gauge,
            tunnel,
            wire: wire.clone(),
            unreadable: 0,
        };
        let _guard = CloseOnDrop(connection.clone());
        let key = async {
            tokio::select! {
                biased;
                end = refused => connection.close(end),
                () = narrowed => {}
            }
        };
        // Each of these is asked when there is something for it, and not each time that a frame goes.
        let mut beside =
            FuturesUnordered::from_iter([reader.run().boxed_local(), key.boxed_local()]);
        let mut writing = std::pin::pin!(writer.run());
        tokio::select! {
            biased;
            end = &mut writing => return end,
            _ = beside.next() => {}
        }
        // The connection knows why; the writer says it to the peer.
        writing.await
    }
}
