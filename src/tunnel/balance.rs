//! Which of several tunnels takes a call.

use super::id::TunnelId;

/// A tunnel that could take the call.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Whether it lives on the caller's worker: a hop between workers costs about 6 us.
    pub local: bool,
    /// Its calls in flight.
    pub load: usize,
}

/// The less busy of two random local tunnels, unless the less busy of two random others is
/// clearly less busy still. Two random choices keep the load even without a global order
/// (Mitzenmacher, "The Power of Two Choices"). `coin` is 64 random bits.
pub fn choose(candidates: &[Candidate], coin: u64) -> Option<TunnelId> {
    let near = less_busy_of_two(candidates, true, coin);
    let far = less_busy_of_two(candidates, false, coin.rotate_right(32));
    match (near, far) {
        (Some(near), Some(far)) if clearly_busier(near.load, far.load) => Some(far.tunnel),
        (near, far) => near.or(far).map(|candidate| candidate.tunnel),
    }
}

/// More than twice as busy and a few calls: a smaller difference is not worth a hop.
fn clearly_busier(near: usize, far: usize) -> bool {
    near > far.saturating_mul(2).saturating_add(8)
}

fn less_busy_of_two(candidates: &[Candidate], local: bool, coin: u64) -> Option<Candidate> {
    let group = || candidates.iter().filter(move |candidate| candidate.local == local);
    let count = u64::try_from(group().count()).ok().filter(|count| *count > 0)?;
    let nth = |bits: u64| group().nth(usize::try_from(bits % count).unwrap_or(0)).copied();
    // Two different ones: the second is drawn from the others.
    let first = coin & 0xffff;
    let second =
        if count > 1 { first % count + 1 + ((coin >> 16) & 0xffff) % (count - 1) } else { 0 };
    match (nth(first), nth(second)) {
        (Some(one), Some(other)) if other.load < one.load => Some(other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_busy_of_two_is_chosen_whatever_the_coin() {
        let (idle, busy) = (candidate(true, 1), candidate(true, 5));
        for coin in [0, 1, 0x1_0001, u64::MAX, 0xdead_beef_0bad_cafe] {
            assert_eq!(choose(&[busy, idle], coin), Some(idle.tunnel));
        }
        assert_eq!(choose(&[], 7), None);
    }

    #[test]
    fn a_tunnel_of_another_worker_is_chosen_only_when_the_near_one_is_clearly_busier() {
        let far = candidate(false, 2);
        let near = |load| candidate(true, load);
        let busy = near(12);
        assert_eq!(choose(&[far, busy], 3), Some(busy.tunnel));
        assert_eq!(choose(&[far, near(13)], 3), Some(far.tunnel));
        assert_eq!(choose(&[far], 3), Some(far.tunnel));
    }

    fn candidate(local: bool, load: usize) -> Candidate {
        Candidate { tunnel: TunnelId::random(), local, load }
    }
}
