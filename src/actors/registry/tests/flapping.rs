//! Tunnels that come and go for hours of paused time.

use super::*;

/// What a registry holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    tunnels: usize,
    calls: usize,
    waiting: usize,
    admitted: usize,
    timers: usize,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look(mpsc::UnboundedSender<Held>);

impl Handler<Look> for Registry {
    type Result = ();

    fn handle(&mut self, Look(seen): Look, _: &mut Self::Context) {
        let held = Held {
            tunnels: self.directory.entries().count(),
            calls: self.board.len(),
            waiting: self.waiting.len(),
            admitted: self.admitted.len(),
            timers: usize::from(self.sweep.is_some()) + usize::from(self.wait_end.is_some()),
        };
        seen.send(held).unwrap();
    }
}

async fn held(registry: &RegistryHandle) -> Held {
    let (seen, mut held) = mpsc::unbounded_channel();
    registry.0.uncounted().do_send(Look(seen));
    next(&mut held).await
}

#[actix::test]
async fn hours_of_flapping_leave_nothing_behind() {
    let limits = Limits { tunnels_per_key_max: 1, ..Limits::default() };
    let stage = Stage::where_calls_wait(2, limits, Duration::from_secs(2));
    let flap = Duration::from_secs(7);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..2 * 60 * 60 / flap.as_secs() {
        let worker = usize::try_from(round % 2).unwrap();
        let wire = stage.attach(Peer { worker, ..Peer::default() }).await;
        // One is answered, one is hung up on, one goes down with the tunnel.
        let mut calls = [stage.forward(), stage.forward(), stage.forward_from(1, whole())];
        for call in &mut calls {
            call.opened().await;
        }
        wire.answer(calls[0].request, answer("hi"));
        wire.home.hang_up(calls[1].request, Failure::Cancelled);
        pass(flap / 2).await;
        stage.registry().tunnel_closed(wire.id);
        assert_eq!(calls[2].failure().await, Failure::TunnelLost);
        settle().await;
        // One waits in vain, one leaves, one is still there when the next tunnel comes.
        let (mut vain, left) = (stage.forward(), stage.forward());
        vain.waits().await;
        stage.registry().hang_up(left.request, Failure::Deadline);
        assert_eq!(vain.refused().await, Failure::NoTunnel);
        refused += 1;
        let mut last = stage.forward_from(1, whole());
        last.waits().await;
        pass(Duration::from_secs(1)).await;
        let next_wire = stage.attach(Peer::default()).await;
        last.opened().await;
        opened += 1;
        next_wire.answer(last.request, answer("hi"));
        stage.registry().tunnel_closed(next_wire.id);
        settle().await;
    }
    assert_eq!(opened, refused);
    pass(Duration::from_secs(10)).await;
    for registry in &stage.registries {
        assert_eq!(held(registry).await, Held::default());
    }
    assert_eq!((stage.waiting_room.calls(), stage.waiting_room.bytes()), (0, 0));
}
