//! Which names a peer may register, and how many tunnels it may open.

use std::collections::HashMap;
use std::fmt;

use super::allowance::Allowance;
use super::id::ServiceName;
use super::limits::Limits;

/// Names that belong to the gateway itself, whole or as a package.
const RESERVED: [&str; 5] =
    ["grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha", "registry", "tunnel"];

/// Why a tunnel is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// More names than a tunnel may register.
    TooManyServices {
        /// How many may be registered.
        max: usize,
    },
    /// A name longer than names may be.
    NameTooLong {
        /// How many bytes it may have.
        max: usize,
    },
    /// A name that no method path could carry.
    BadName(String),
    /// A name of the gateway's own.
    ReservedName(String),
    /// A name outside of what the key allows.
    OutOfScope(String),
    /// The key has as many tunnels as it may.
    TunnelsPerKey {
        /// How many it may have.
        max: usize,
    },
    /// The service has as many tunnels as it may.
    TunnelsPerService {
        /// The service.
        service: ServiceName,
        /// How many it may have.
        max: usize,
    },
    /// The gateway is shutting down.
    Draining,
}

/// Checks the names of a registration and drops duplicates; the order is kept.
///
/// # Errors
///
/// The first name that may not be registered, with the reason.
pub fn check_names(
    offered: &[String],
    limits: &Limits,
    allowed: impl Fn(&str) -> bool,
) -> Result<Vec<ServiceName>, Rejection> {
    if offered.len() > limits.services_per_tunnel_max {
        return Err(Rejection::TooManyServices { max: limits.services_per_tunnel_max });
    }
    let mut names: Vec<ServiceName> = Vec::with_capacity(offered.len());
    for name in offered {
        if name.len() > limits.service_name_bytes_max {
            return Err(Rejection::NameTooLong { max: limits.service_name_bytes_max });
        }
        if !is_well_formed(name) {
            return Err(Rejection::BadName(name.clone()));
        }
        if is_reserved(name) {
            return Err(Rejection::ReservedName(name.clone()));
        }
        if !allowed(name) {
            return Err(Rejection::OutOfScope(name.clone()));
        }
        if !names.iter().any(|known| known.as_str() == name) {
            names.push(ServiceName::new(name));
        }
    }
    Ok(names)
}

/// Whether a name belongs to the gateway itself.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|own| {
        name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Dot-separated parts of letters, digits, `_` and `-`: what fits in one segment of a path.
fn is_well_formed(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

/// How many tunnels each key and each service has.
#[derive(Debug, Default)]
pub struct Quota {
    keys: HashMap<String, usize>,
    services: HashMap<ServiceName, Served>,
}

/// A name that a tunnel offers, and what all its tunnels share.
#[derive(Clone, Debug)]
pub struct Service {
    /// The name.
    pub name: ServiceName,
    /// The calls in flight to it, in the whole gateway.
    pub calls: Allowance,
}

/// The tunnels of a name, and its calls in flight.
#[derive(Debug)]
struct Served {
    tunnels: usize,
    calls: Allowance,
}

impl Quota {
    /// Counts a tunnel in and returns what it shares with others of the same names.
    ///
    /// # Errors
    ///
    /// When the key or one of the services has as many as it may; nothing is counted then.
    pub fn enter(
        &mut self,
        key: &str,
        services: &[ServiceName],
        limits: &Limits,
    ) -> Result<Vec<Service>, Rejection> {
        if self.keys.get(key).is_some_and(|open| *open >= limits.tunnels_per_key_max) {
            return Err(Rejection::TunnelsPerKey { max: limits.tunnels_per_key_max });
        }
        let max = limits.tunnels_per_service_max;
        let full = |name: &&ServiceName| {
            self.services.get(*name).is_some_and(|served| served.tunnels >= max)
        };
        if let Some(service) = services.iter().find(full) {
            return Err(Rejection::TunnelsPerService { service: service.clone(), max });
        }
        *self.keys.entry(key.to_owned()).or_default() += 1;
        Ok(services.iter().map(|name| self.offer(name)).collect())
    }

    fn offer(&mut self, name: &ServiceName) -> Service {
        let served = self.services.entry(name.clone()).or_insert_with(|| Served {
            tunnels: 0,
            // How many there may be is said by who takes a place.
            calls: Allowance::new(usize::MAX),
        });
        served.tunnels += 1;
        Service { name: name.clone(), calls: served.calls.clone() }
    }

    /// Counts a tunnel out that was counted in.
    pub fn leave(&mut self, key: &str, services: &[ServiceName]) {
        if let Some(open) = self.keys.get_mut(key) {
            *open -= 1;
        }
        for service in services {
            if let Some(served) = self.services.get_mut(service) {
                served.tunnels -= 1;
            }
        }
        self.keys.retain(|_, open| *open > 0);
        self.services.retain(|_, served| served.tunnels > 0);
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyServices { max } => write!(f, "a tunnel may register {max} services"),
            Self::NameTooLong { max } => write!(f, "a service name may have {max} bytes"),
            Self::BadName(name) => write!(f, "not a service name: {name:?}"),
            Self::ReservedName(name) => write!(f, "the name {name:?} is reserved"),
            Self::OutOfScope(name) => write!(f, "the key does not allow the name {name:?}"),
            Self::TunnelsPerKey { max } => write!(f, "tunnel_limit: a key may open {max} tunnels"),
            Self::TunnelsPerService { service, max } => {
                write!(f, "tunnel_limit: {service} may have {max} tunnels")
            }
            Self::Draining => f.write_str("the gateway is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_one_by_one_and_duplicates_collapse() {
        let names = check(&["demo.Echo", "lower", "a-b_c.D1", "demo.Echo"]).unwrap();
        assert_eq!(names, ["demo.Echo", "lower", "a-b_c.D1"].map(ServiceName::new));
        assert_eq!(check(&[]), Ok(vec![]), "a peer may only call and listen");
        for bad in ["", "/", "a b", "a/b", ".a", "a.", "a..b", "ä", "a\n"] {
            assert_eq!(check(&[bad]), Err(Rejection::BadName(bad.into())), "{bad}");
        }
    }

    #[test]
    fn the_gateways_own_names_are_reserved() {
        for name in [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "registry.RegistryService",
            "registry",
            "tunnel.TunnelService",
        ] {
            assert_eq!(check(&[name]), Err(Rejection::ReservedName(name.into())), "{name}");
        }
        assert!(check(&["registrybook.Service", "my.registry.Service"]).is_ok());
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let many: Vec<String> = (0..65).map(|n| format!("s{n}")).collect();
        let limits = Limits::default();
        assert_eq!(
            check_names(&many, &limits, |_| true),
            Err(Rejection::TooManyServices { max: 64 })
        );
        assert!(check_names(&many[..64], &limits, |_| true).is_ok());
        assert!(check(&["a".repeat(255).as_str()]).is_ok());
        assert_eq!(check(&["a".repeat(256).as_str()]), Err(Rejection::NameTooLong { max: 255 }));
    }

    #[test]
    fn a_name_outside_the_keys_scope_is_refused() {
        let refused =
            check_names(&["b.S".into()], &Limits::default(), |name| name.starts_with("a."));
        assert_eq!(refused, Err(Rejection::OutOfScope("b.S".into())));
    }

    #[test]
    fn tunnels_are_counted_per_key_and_per_service_and_nothing_is_left() {
        let limits =
            Limits { tunnels_per_key_max: 2, tunnels_per_service_max: 1, ..Limits::default() };
        let (a, b) = ([ServiceName::new("a")], [ServiceName::new("b")]);
        let mut quota = Quota::default();
        quota.enter("key", &a, &limits).unwrap();
        assert_eq!(
            quota.enter("key", &a, &limits).unwrap_err(),
            Rejection::TunnelsPerService { service: a[0].clone(), max: 1 }
        );
        quota.enter("key", &b, &limits).unwrap();
        let refused = quota.enter("key", &[], &limits).unwrap_err();
        assert_eq!(refused, Rejection::TunnelsPerKey { max: 2 });
        quota.leave("key", &a);
        quota.leave("key", &b);
        assert!(quota.keys.is_empty() && quota.services.is_empty());
    }

    fn check(names: &[&str]) -> Result<Vec<ServiceName>, Rejection> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check_names(&names, &Limits::default(), |_| true)
    }
}
