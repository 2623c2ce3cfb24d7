//! What a directory tells beside a tunnel for a call: how names fare, and whom to ask about schemas.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Directory, NoPick, Pick};
use crate::tunnel::balance::{self, Candidates};
use crate::tunnel::id::{ServiceName, TunnelId, unqualified};
use crate::tunnel::route::Route;

/// As many services are asked one question. A file that none of so many knows is somebody's
/// mistake, and each question is a call to somebody who did not expect it.
pub const WITNESSES_MAX: usize = 8;

/// How a service that is known fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// At least one tunnel may be chosen for it.
    Serving,
    /// No tunnel may be.
    NotServing,
}

/// One who can be asked what a service looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The service, under the name that its tunnel offers.
    pub service: ServiceName,
    /// The tunnel.
    pub tunnel: TunnelId,
}

impl<L> Directory<L> {
    /// How calls to the service would fare. `None` if it is not known; in the grace after a start
    /// too, because a name that nobody has registered yet may be a slip of whoever asks.
    pub fn condition(&self, service: &str, now: Instant) -> Option<Condition> {
        let served = self.is_served(service)
            || self.routing.match_unqualified && self.is_served(unqualified(service));
        if served {
            return Some(Condition::Serving);
        }
        self.is_known(service, now).then_some(Condition::NotServing)
    }

    /// How each known name of those that `admits` fares. `None` if there are more than `max`.
    pub fn conditions(
        &self,
        admits: impl Fn(&str) -> bool,
        max: usize,
        now: Instant,
    ) -> Option<BTreeMap<ServiceName, Condition>> {
        let known = self.routes.keys().chain(&self.declared).chain(self.remembered.names(now));
        let mut conditions = BTreeMap::new();
        for name in known.filter(|name| admits(name.as_str())) {
            let condition = if self.is_served(name.as_str()) {
                Condition::Serving
            } else {
                Condition::NotServing
            };
            conditions.insert(name.clone(), condition);
            if conditions.len() > max {
                return None;
            }
        }
        Some(conditions)
    }

    /// The names, of those that `admits`, that calls can be put through to, in order. `None` if there
    /// are more than `max`.
    pub fn served(&self, admits: impl Fn(&str) -> bool, max: usize) -> Option<Vec<ServiceName>> {
        let served = self.routes.keys().filter(|name| self.is_served(name.as_str()));
        let served = served.filter(|name| admits(name.as_str()));
        let mut served: Vec<_> = served.take(max.saturating_add(1)).cloned().collect();
        served.sort_unstable();
        (served.len() <= max).then_some(served)
    }

    /// Whom to ask about a symbol, or about something that has no name of a service in it, best
    /// first. `known` are those who have answered the same caller before, the last one last.
    ///
    /// A symbol that is, or is inside, a service that is served is that service's business alone.
    /// Otherwise those come first whose names share most of the symbol's packages, then those who
    /// have answered before. Of each service the tunnel that has answered is asked again, so that
    /// its caller sees one version of its schema. Nobody is asked for a service that `admits` does not.
    pub fn witnesses(
        &self,
        symbol: Option<&str>,
        known: &[Witness],
        admits: impl Fn(&str) -> bool,
        coin: u64,
        load: impl Fn(&L) -> usize,
    ) -> Vec<Witness> {
        let services = match symbol.and_then(|symbol| self.owner(symbol)) {
            Some((asked, owner)) => admits(asked).then_some(owner).into_iter().collect(),
            None => self.likely(symbol.unwrap_or_default(), known, &admits),
        };
        let mut witnesses: Vec<Witness> = Vec::new();
        for service in services {
            let Some(route) = self.routes.get(service) else { continue };
            let before = known
                .iter()
                .rev()
                .find(|witness| witness.service == *service && route.may_choose(witness.tunnel));
            let tunnel = before.map(|witness| witness.tunnel).or_else(|| {
                let (near, far) = (route.near.able(false), route.far.able(false));
                balance::choose(Candidates { near, far }, coin, |tunnel| {
                    self.tunnels.get(&tunnel).map(|entry| load(&entry.line))
                })
            });
            // A tunnel that offers several names is one server.
            if let Some(tunnel) = tunnel
                && !witnesses.iter().any(|witness| witness.tunnel == tunnel)
            {
                witnesses.push(Witness { service: service.clone(), tunnel });
            }
        }
        witnesses
    }

    /// The one tunnel that a question is for, unless it was tried or may not be chosen.
    pub(super) fn pick_only(&self, only: &Witness, avoid: &[TunnelId]) -> Result<Pick<'_>, NoPick> {
        if avoid.contains(&only.tunnel) {
            return Err(NoPick::AllTried);
        }
        let route = self.routes.get(&only.service).filter(|route| route.may_choose(only.tunnel));
        let entry = self.tunnels.get(&only.tunnel);
        let (route, entry) = route.zip(entry).ok_or(NoPick::Nobody)?;
        Ok(Pick { tunnel: only.tunnel, worker: entry.worker, calls: &route.calls })
    }

    /// The service that the symbol is, or is inside, as it is asked for and as it is registered: the
    /// longest name.
    fn owner<'s>(&self, symbol: &'s str) -> Option<(&'s str, &ServiceName)> {
        let ends = symbol.match_indices('.').map(|(end, _)| end);
        let ends: Vec<usize> = ends.chain([symbol.len()]).collect();
        ends.into_iter().rev().find_map(|end| {
            let name = &symbol[..end];
            let served = |name: &str| {
                self.routes
                    .get_key_value(name)
                    .map(|(name, _)| name)
                    .filter(|_| self.is_served(name))
            };
            let last_part = self.routing.match_unqualified.then(|| unqualified(name));
            let owner = served(name).or_else(|| last_part.and_then(served))?;
            Some((name, owner))
        })
    }

    /// The served names that are the likeliest to know the symbol, best first.
    fn likely<'d>(
        &'d self,
        symbol: &str,
        known: &[Witness],
        admits: impl Fn(&str) -> bool,
    ) -> Vec<&'d ServiceName> {
        let mut best = BTreeSet::new();
        let served = self.routes.keys().filter(|name| self.is_served(name.as_str()));
        for name in served.filter(|name| admits(name.as_str())) {
            let heard = known.iter().rposition(|witness| witness.service == *name);
            let shared = parts_in_common(name.as_str(), symbol);
            best.insert((Reverse((shared, heard.map_or(0, |place| place + 1))), name));
            if best.len() > WITNESSES_MAX {
                best.pop_last();
            }
        }
        best.into_iter().map(|(_, name)| name).collect()
    }

    fn is_served(&self, name: &str) -> bool {
        self.routes.get(name).is_some_and(Route::is_ready)
    }
}

fn parts_in_common(one: &str, other: &str) -> usize {
    one.split('.').zip(other.split('.')).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::allowance::Allowance;
    use crate::tunnel::directory::{Entry, Routing, Standing, Wish};
    use crate::tunnel::id::{MethodPath, WorkerId};
    use crate::tunnel::quota::Service;
    use std::time::Duration;

    #[test]
    fn a_service_fares_as_its_tunnels_do() {
        let (mut directory, start) = directory();
        assert_eq!(directory.condition("demo.Echo", start), None);
        let one = attach(&mut directory, &["demo.Echo"]);
        let other = attach(&mut directory, &["demo.Echo"]);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::Serving));
        directory.set_standing(one, Standing::Late);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::Serving));
        directory.set_standing(other, Standing::Draining);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::NotServing));
        directory.set_standing(one, Standing::Ready);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::Serving));
        directory.detach(one, start);
        directory.detach(other, start);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::NotServing));
        let forgotten = start + Duration::from_mins(10);
        assert_eq!(directory.condition("demo.Echo", forgotten), None);
    }

    #[test]
    fn the_grace_after_a_start_makes_no_name_known_and_a_declaration_does() {
        let (mut directory, start) = directory();
        directory.routing.startup_grace = Duration::from_secs(10);
        assert_eq!(directory.condition("demo.Echo", start), None);
        assert_eq!(directory.condition("declared.Name", start), Some(Condition::NotServing));
    }

    #[test]
    fn a_service_fares_as_its_last_part_does_where_calls_go_there() {
        let (mut directory, start) = directory();
        attach(&mut directory, &["Echo"]);
        assert_eq!(directory.condition("demo.Echo", start), Some(Condition::Serving));
        directory.routing.match_unqualified = false;
        assert_eq!(directory.condition("demo.Echo", start), None);
    }

    #[test]
    fn all_known_names_are_told_unless_there_are_too_many() {
        let (mut directory, start) = directory();
        attach(&mut directory, &["a.A", "b.B"]);
        let gone = attach(&mut directory, &["c.C"]);
        directory.detach(gone, start);
        let conditions = directory.conditions(|_| true, 4, start).unwrap();
        let told: Vec<_> = conditions.iter().map(|(name, how)| (name.as_str(), *how)).collect();
        let (yes, no) = (Condition::Serving, Condition::NotServing);
        assert_eq!(told, [("a.A", yes), ("b.B", yes), ("c.C", no), ("declared.Name", no)]);
        assert_eq!(directory.conditions(|_| true, 3, start), None);
        assert_eq!(
            directory.served(|_| true, 2),
            Some(vec!["a.A", "b.B"].into_iter().map(ServiceName::new).collect())
        );
        assert_eq!(directory.served(|_| true, 1), None);
    }

    #[test]
    fn a_symbol_in_a_service_is_its_business_alone() {
        let (mut directory, _) = directory();
        for name in ["demo.Echo", "demo.Echo.Inner", "demo.Other", "Plain"] {
            attach(&mut directory, &[name]);
        }
        assert_eq!(asked(&directory, Some("demo.Echo"), &[]), ["demo.Echo"]);
        assert_eq!(asked(&directory, Some("demo.Echo.Say"), &[]), ["demo.Echo"]);
        assert_eq!(asked(&directory, Some("demo.Echo.Inner.Say"), &[]), ["demo.Echo.Inner"]);
        assert_eq!(asked(&directory, Some("any.Plain.Say"), &[]), ["Plain"]);
        assert_eq!(asked(&directory, Some(""), &[]).len(), 4);
    }

    #[test]
    fn others_are_asked_by_what_their_names_share_and_by_what_they_have_answered() {
        let (mut directory, _) = directory();
        let mut known = Vec::new();
        for name in ["a.b.One", "a.c.Two", "x.Three", "y.Four"] {
            let tunnel = attach(&mut directory, &[name]);
            known.push(Witness { service: ServiceName::new(name), tunnel });
        }
        let (three, four) = (known[2].clone(), known[3].clone());
        assert_eq!(
            asked(&directory, Some("a.c.Reply"), &[three.clone(), four.clone()]),
            ["a.c.Two", "a.b.One", "y.Four", "x.Three"]
        );
        assert_eq!(asked(&directory, None, &[four, three])[..2], ["x.Three", "y.Four"]);
    }

    #[test]
    fn a_tunnel_that_has_answered_is_asked_again_while_it_is_ready() {
        let (mut directory, _) = directory();
        let tunnels: Vec<_> = (0..8).map(|_| attach(&mut directory, &["demo.Echo"])).collect();
        let known = [Witness { service: ServiceName::new("demo.Echo"), tunnel: tunnels[3] }];
        let ask = |directory: &Directory<()>, coin| {
            directory.witnesses(Some("demo.Echo"), &known, |_| true, coin, |()| 0)[0].tunnel
        };
        assert!((0..50).all(|coin| ask(&directory, coin) == tunnels[3]));
        directory.set_standing(tunnels[3], Standing::Late);
        assert!((0..50).all(|coin| ask(&directory, coin) != tunnels[3]));
    }

    #[test]
    fn a_question_goes_to_its_tunnel_and_to_no_other() {
        let (mut directory, start) = directory();
        let one = attach(&mut directory, &["demo.Echo"]);
        let other = attach(&mut directory, &["demo.Echo"]);
        let path = MethodPath::parse("/reserved.Name/Ask").unwrap();
        let only = Witness { service: ServiceName::new("demo.Echo"), tunnel: one };
        let pick = |directory: &Directory<()>, avoid: &[TunnelId]| {
            let (only, load_max, coin) = (Some(&only), 1, 0);
            let (needs_stream, session) = (false, None);
            let wish = Wish { path: &path, needs_stream, session, only, avoid, load_max, coin };
            directory.pick(&wish, start, |()| 0).map(|pick| pick.tunnel)
        };
        assert_eq!(pick(&directory, &[other]), Ok(one));
        assert_eq!(pick(&directory, &[one]), Err(NoPick::AllTried));
        directory.set_standing(one, Standing::Late);
        assert_eq!(pick(&directory, &[]), Err(NoPick::Nobody));
        directory.detach(one, start);
        assert_eq!(pick(&directory, &[]), Err(NoPick::Nobody));
    }

    #[test]
    fn each_tunnel_is_asked_once_and_not_too_many_are() {
        let (mut directory, _) = directory();
        attach(&mut directory, &["a.A", "b.B"]);
        assert_eq!(asked(&directory, None, &[]), ["a.A"]);
        for n in 0..20 {
            attach(&mut directory, &[&format!("many.S{n}")]);
        }
        assert_eq!(asked(&directory, Some("many.Message"), &[]).len(), WITNESSES_MAX);
    }

    #[test]
    fn nothing_is_told_of_names_that_the_asker_may_not_use() {
        let (mut directory, start) = directory();
        for name in ["a.One", "b.Two", "Plain"] {
            attach(&mut directory, &[name]);
        }
        let admits = |name: &str| name.starts_with("a.");
        assert_eq!(directory.conditions(admits, 1, start).unwrap().len(), 1);
        assert_eq!(directory.served(admits, 1), Some(vec![ServiceName::new("a.One")]));
        let asked = |symbol: Option<&str>| {
            let witnesses = directory.witnesses(symbol, &[], admits, 7, |()| 0);
            witnesses.iter().map(|witness| witness.service.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(asked(Some("a.One.Say")), ["a.One"]);
        assert_eq!(asked(Some("b.Two.Say")), Vec::<String>::new());
        assert_eq!(asked(Some("b.Reply")), ["a.One"]);
        assert_eq!(asked(None), ["a.One"]);
        // Its path would be allowed, as it is called.
        assert_eq!(asked(Some("a.Plain")), ["Plain"]);
    }

    fn directory() -> (Directory<()>, Instant) {
        let start = Instant::now();
        let routing = Routing { startup_grace: Duration::ZERO, ..Routing::default() };
        (Directory::new(WorkerId(0), routing, 9, [ServiceName::new("declared.Name")], start), start)
    }

    fn attach(directory: &mut Directory<()>, names: &[&str]) -> TunnelId {
        let tunnel = TunnelId::random();
        let calls = Allowance::new(usize::MAX);
        let service = |name: &&str| Service { name: ServiceName::new(name), calls: calls.clone() };
        let services = names.iter().map(service).collect();
        let (worker, standing) = (WorkerId(0), Standing::Ready);
        directory.attach(tunnel, Entry { worker, services, streams: true, standing, line: () });
        tunnel
    }

    fn asked(directory: &Directory<()>, symbol: Option<&str>, known: &[Witness]) -> Vec<String> {
        let witnesses = directory.witnesses(symbol, known, |_| true, 7, |()| 0);
        witnesses.iter().map(|witness| witness.service.as_str().to_owned()).collect()
    }
}
