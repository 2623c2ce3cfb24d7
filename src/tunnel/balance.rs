//! Which of several tunnels takes a call.

use super::affinity::Session;
use super::id::TunnelId;

/// The tunnels that could take a call.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Those of the caller's worker: a hop between workers costs about 6 us.
    pub near: &'a [TunnelId],
    /// Those of the others.
    pub far: &'a [TunnelId],
}

/// A difference of so many calls is worth no hop to another worker.
const FEW_CALLS: usize = 8;

type Loaded = (TunnelId, usize);

/// The less busy of two random near tunnels, unless the less busy of two random far ones is clearly
/// less busy still. Two random choices keep the load even without a global order (Mitzenmacher,
/// "The Power of Two Choices"). `coin` is 64 random bits. `load` tells the calls in flight of a
/// tunnel, or that it takes no more; only when both of a draw take no more are the others looked at,
/// one by one, for the least busy.
pub fn choose(
    candidates: Candidates<'_>,
    coin: u64,
    load: impl Fn(TunnelId) -> Option<usize>,
) -> Option<TunnelId> {
    let Candidates { near, far } = candidates;
    let least_busy = |group: &[TunnelId]| less_busy(group.iter().copied(), &load);
    let draw_far = || drawn(far, coin.rotate_right(32), &load);
    let chosen = match drawn(near, coin, &load).or_else(|| least_busy(near)) {
        // Whatever the far ones have, it is not clearly busier.
        Some(near) if near.1 <= FEW_CALLS => near,
        Some(near) => draw_far().filter(|far| clearly_busier(near.1, far.1)).unwrap_or(near),
        None => draw_far().or_else(|| least_busy(far))?,
    };
    Some(chosen.0)
}

/// The tunnel of a session: of those that take more calls, the one that weighs most.
pub fn choose_for(
    session: Session,
    candidates: Candidates<'_>,
    load: impl Fn(TunnelId) -> Option<usize>,
) -> Option<TunnelId> {
    let all = || candidates.near.iter().chain(candidates.far).copied();
    let heaviest = all().max_by_key(|tunnel| session.weight(*tunnel))?;
    if load(heaviest).is_some() {
        return Some(heaviest);
    }
    all().filter(|tunnel| load(*tunnel).is_some()).max_by_key(|tunnel| session.weight(*tunnel))
}

/// More than twice as busy and a few calls: a smaller difference is not worth a hop.
fn clearly_busier(near: usize, far: usize) -> bool {
    near > far.saturating_mul(2).saturating_add(FEW_CALLS)
}

fn drawn(
    group: &[TunnelId],
    coin: u64,
    load: &impl Fn(TunnelId) -> Option<usize>,
) -> Option<Loaded> {
    let count = u64::try_from(group.len()).ok().filter(|count| *count > 0)?;
    // Two different ones: the second is drawn from the others.
    let first = (coin & 0xffff) % count;
    let others = count - 1;
    let second = (others > 0).then(|| (first + 1 + ((coin >> 16) & 0xffff) % others) % count);
    let at = |place: u64| usize::try_from(place).ok().and_then(|place| group.get(place)).copied();
    less_busy([Some(first), second].into_iter().flatten().filter_map(at), load)
}

fn less_busy(
    tunnels: impl Iterator<Item = TunnelId>,
    load: &impl Fn(TunnelId) -> Option<usize>,
) -> Option<Loaded> {
    let loaded = tunnels.filter_map(|tunnel| Some((tunnel, load(tunnel)?)));
    loaded.min_by_key(|(_, load)| *load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::affinity::mixed;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MAX: usize = 20;

    #[test]
    fn the_less_busy_of_two_is_chosen_whatever_the_coin() {
        let loads = Loads::new(&[5, 1], &[]);
        for coin in [0, 1, 0x1_0001, u64::MAX, 0xdead_beef_0bad_cafe] {
            assert_eq!(loads.choose(coin), Some(loads.near[1]));
        }
        assert_eq!(Loads::new(&[], &[]).choose(7), None);
    }

    #[test]
    fn a_tunnel_of_another_worker_is_chosen_only_when_the_near_one_is_clearly_busier() {
        let loads = Loads::new(&[12], &[2]);
        assert_eq!(loads.choose(3), Some(loads.near[0]));
        let loads = Loads::new(&[13], &[2]);
        assert_eq!(loads.choose(3), Some(loads.far[0]));
        let loads = Loads::new(&[], &[2]);
        assert_eq!(loads.choose(3), Some(loads.far[0]));
    }

    #[test]
    fn the_one_free_tunnel_among_many_full_ones_is_found() {
        for place in 0..64 {
            let mut near = [MAX; 64];
            near[place] = MAX - 1;
            let loads = Loads::new(&near, &[MAX; 64]);
            assert_eq!(loads.choose(mixed(place as u64)), Some(loads.near[place]));
            let loads = Loads::new(&[MAX; 64], &near);
            assert_eq!(loads.choose(mixed(place as u64)), Some(loads.far[place]));
        }
    }

    /// Three tunnels, one of them a hundred times slower; calls come evenly, two in the time in
    /// which a quick tunnel answers one.
    #[test]
    fn a_slow_tunnel_gets_few_calls() {
        let (quick, slow) = (10, 1_000);
        let mut loads = Loads::new(&[0, 0, 0], &[]);
        let mut answers: BTreeMap<u64, Vec<TunnelId>> = BTreeMap::new();
        let mut calls = BTreeMap::<TunnelId, u32>::new();
        for now in 0..50_000 {
            for tunnel in answers.remove(&now).unwrap_or_default() {
                *loads.of.get_mut(&tunnel).unwrap() -= 1;
            }
            if now % 5 == 0 {
                let tunnel = loads.choose(mixed(now)).unwrap();
                *loads.of.get_mut(&tunnel).unwrap() += 1;
                *calls.entry(tunnel).or_default() += 1;
                let takes = if tunnel == loads.near[0] { slow } else { quick };
                answers.entry(now + takes).or_default().push(tunnel);
            }
        }
        let to_slow = calls[&loads.near[0]];
        assert!(to_slow * 20 < 10_000, "{to_slow} of 10000 calls wait for the slow one");
        let (one, other) = (calls[&loads.near[1]], calls[&loads.near[2]]);
        assert!(one.abs_diff(other) < 1_000, "the quick ones share the rest: {one}, {other}");
    }

    #[test]
    fn a_session_stays_where_it_is_while_others_come_and_go() {
        let loads = Loads::new(&[0; 4], &[0; 4]);
        let sessions: Vec<_> =
            (0..200u32).map(|number| Session::named(&number.to_be_bytes())).collect();
        let homes: Vec<_> =
            sessions.iter().map(|session| loads.choose_for(*session).unwrap()).collect();
        for gone in loads.near.iter().chain(&loads.far) {
            let mut fewer = loads.clone();
            fewer.of.insert(*gone, MAX);
            for (session, home) in sessions.iter().zip(&homes) {
                let chosen = fewer.choose_for(*session).unwrap();
                assert_eq!(chosen == *home, home != gone, "only the sessions of one move");
            }
        }
    }

    #[derive(Clone)]
    struct Loads {
        near: Vec<TunnelId>,
        far: Vec<TunnelId>,
        of: BTreeMap<TunnelId, usize>,
    }

    impl Loads {
        fn new(near: &[usize], far: &[usize]) -> Self {
            let mut of = BTreeMap::new();
            let mut add = |load: &usize| {
                let tunnel = TunnelId::random();
                of.insert(tunnel, *load);
                tunnel
            };
            let (near, far) =
                (near.iter().map(&mut add).collect(), far.iter().map(&mut add).collect());
            Self { near, far, of }
        }

        fn candidates(&self) -> Candidates<'_> {
            Candidates { near: &self.near, far: &self.far }
        }

        fn load(&self, tunnel: TunnelId) -> Option<usize> {
            self.of.get(&tunnel).copied().filter(|load| *load < MAX)
        }

        fn choose(&self, coin: u64) -> Option<TunnelId> {
            choose(self.candidates(), coin, |tunnel| self.load(tunnel))
        }

        fn choose_for(&self, session: Session) -> Option<TunnelId> {
            choose_for(session, self.candidates(), |tunnel| self.load(tunnel))
        }
    }

    /// What the choice means, written down without a thought for its cost: each group offers the
    /// less busy of any two that are not full, and the rule between near and far decides.
    fn acceptable(loads: &Loads) -> Vec<TunnelId> {
        let usable = |group: &[TunnelId]| -> Vec<Loaded> {
            group.iter().filter_map(|id| Some((*id, loads.load(*id)?))).collect()
        };
        let offers = |group: &[TunnelId]| -> Vec<Loaded> {
            let usable = usable(group);
            // One that is busier than every other is never the less busy of two, unless the other
            // of the two is full.
            let any = usable.len() == 1 || usable.len() < group.len();
            let is_busiest =
                |one: &Loaded| usable.iter().all(|other| one == other || one.1 > other.1);
            usable.iter().copied().filter(|one| any || !is_busiest(one)).collect()
        };
        let (near, far) = (offers(&loads.near), offers(&loads.far));
        // Two far ones that are full say nothing against a near one.
        let far_is_silent = far.is_empty() || loads.far.len() - usable(&loads.far).len() >= 2;
        let near_wins = near
            .iter()
            .filter(|near| far_is_silent || far.iter().any(|far| !clearly_busier(near.1, far.1)));
        let far_wins = far
            .iter()
            .filter(|far| near.is_empty() || near.iter().any(|near| clearly_busier(near.1, far.1)));
        near_wins.chain(far_wins).map(|(tunnel, _)| *tunnel).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_choice_is_one_that_the_rule_allows(
            near in prop::collection::vec(0..=MAX, 0..6),
            far in prop::collection::vec(0..=MAX, 0..6),
            coins in prop::collection::vec(any::<u64>(), 8),
        ) {
            let loads = Loads::new(&near, &far);
            let acceptable = acceptable(&loads);
            for coin in coins {
                match loads.choose(coin) {
                    Some(chosen) => prop_assert!(acceptable.contains(&chosen)),
                    None => prop_assert!(acceptable.is_empty()),
                }
            }
            let session = Session::named(b"any");
            prop_assert_eq!(loads.choose_for(session).is_some(), !acceptable.is_empty());
        }
    }
}
