//! How many tunnels each key and each service may have.

use std::collections::HashMap;

use super::admission::Rejection;
use super::id::ServiceName;
use super::limits::Limits;

/// How much one key may have of everything that is counted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuota {
    /// What the key is called.
    pub key: String,
    /// Tunnels open at once, within what [`Limits`] allow any key.
    pub tunnels_max: usize,
    /// Names that its tunnels serve together.
    pub services_max: usize,
}

/// How many tunnels each key and each service has.
#[derive(Debug, Default)]
pub struct Quota {
    keys: HashMap<String, KeyUse>,
    services: HashMap<ServiceName, usize>,
}

/// What one key has. It is forgotten with its last tunnel.
#[derive(Debug, Default)]
struct KeyUse {
    tunnels: usize,
    /// The names, and how many of its tunnels serve each.
    services: HashMap<ServiceName, usize>,
}

impl KeyQuota {
    /// As much as the gateway allows any key.
    pub fn unlimited(key: &str) -> Self {
        Self { key: key.to_owned(), tunnels_max: usize::MAX, services_max: usize::MAX }
    }
}

impl Quota {
    /// Counts a tunnel in.
    ///
    /// # Errors
    ///
    /// When the key or one of the services has as many as it may; nothing is counted then.
    pub fn enter(
        &mut self,
        key: &KeyQuota,
        services: &[ServiceName],
        limits: &Limits,
    ) -> Result<(), Rejection> {
        self.check_key(key, services, limits)?;
        let max = limits.tunnels_per_service_max;
        let full = |name: &&ServiceName| self.services.get(*name).is_some_and(|open| *open >= max);
        if let Some(service) = services.iter().find(full) {
            return Err(Rejection::TunnelsPerService { service: service.clone(), max });
        }
        let used = self.keys.entry(key.key.clone()).or_default();
        used.tunnels += 1;
        for service in services {
            *used.services.entry(service.clone()).or_default() += 1;
            *self.services.entry(service.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn check_key(
        &self,
        key: &KeyQuota,
        services: &[ServiceName],
        limits: &Limits,
    ) -> Result<(), Rejection> {
        let used = self.keys.get(&key.key);
        let tunnels_max = key.tunnels_max.min(limits.tunnels_per_key_max);
        if used.is_some_and(|used| used.tunnels >= tunnels_max) {
            return Err(Rejection::TunnelsPerKey { max: tunnels_max });
        }
        let is_new =
            |name: &&ServiceName| used.is_none_or(|used| !used.services.contains_key(*name));
        let served = used.map_or(0, |used| used.services.len());
        if served + services.iter().filter(is_new).count() > key.services_max {
            return Err(Rejection::ServicesPerKey { max: key.services_max });
        }
        Ok(())
    }

    /// Counts a tunnel out that was counted in.
    pub fn leave(&mut self, key: &str, services: &[ServiceName]) {
        if let Some(used) = self.keys.get_mut(key) {
            used.tunnels -= 1;
            count_out(&mut used.services, services);
        }
        count_out(&mut self.services, services);
        self.keys.retain(|_, used| used.tunnels > 0);
    }
}

fn count_out(counts: &mut HashMap<ServiceName, usize>, services: &[ServiceName]) {
    for service in services {
        if let Some(open) = counts.get_mut(service) {
            *open -= 1;
        }
    }
    counts.retain(|_, open| *open > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_counted_per_key_and_per_service_and_nothing_is_left() {
        let limits =
            Limits { tunnels_per_key_max: 2, tunnels_per_service_max: 1, ..Limits::default() };
        let (a, b) = ([ServiceName::new("a")], [ServiceName::new("b")]);
        let key = KeyQuota::unlimited("key");
        let mut quota = Quota::default();
        quota.enter(&key, &a, &limits).unwrap();
        assert_eq!(
            quota.enter(&key, &a, &limits),
            Err(Rejection::TunnelsPerService { service: a[0].clone(), max: 1 })
        );
        quota.enter(&key, &b, &limits).unwrap();
        assert_eq!(quota.enter(&key, &[], &limits), Err(Rejection::TunnelsPerKey { max: 2 }));
        quota.leave("key", &a);
        quota.leave("key", &b);
        assert!(quota.keys.is_empty() && quota.services.is_empty());
    }

    #[test]
    fn a_key_may_have_less_than_others() {
        let limits = Limits::default();
        let key = KeyQuota { tunnels_max: 1, ..KeyQuota::unlimited("key") };
        let mut quota = Quota::default();
        quota.enter(&key, &[], &limits).unwrap();
        assert_eq!(quota.enter(&key, &[], &limits), Err(Rejection::TunnelsPerKey { max: 1 }));
        quota.enter(&KeyQuota::unlimited("other"), &[], &limits).unwrap();
    }

    #[test]
    fn the_names_of_a_key_are_counted_over_all_its_tunnels_once_each() {
        let limits = Limits::default();
        let key = KeyQuota { services_max: 2, ..KeyQuota::unlimited("key") };
        let names = ["a", "b", "c"].map(ServiceName::new);
        let mut quota = Quota::default();
        quota.enter(&key, &names[..2], &limits).unwrap();
        quota.enter(&key, &names[1..2], &limits).unwrap();
        let third = quota.enter(&key, &names[1..], &limits);
        assert_eq!(third, Err(Rejection::ServicesPerKey { max: 2 }));
        quota.leave("key", &names[..2]);
        quota.enter(&key, &names[1..], &limits).unwrap();
    }
}
