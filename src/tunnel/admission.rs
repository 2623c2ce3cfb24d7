//! Which names a peer may register, and why a tunnel is not opened.

use std::fmt;

use super::id::ServiceName;
use super::limits::Limits;

/// Names that belong to the gateway itself, whole or as a package.
const RESERVED: [&str; 6] = [
    "adit",
    "grpc.health.v1",
    "grpc.reflection.v1",
    "grpc.reflection.v1alpha",
    "registry",
    "tunnel",
];

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
    /// A name that belongs to another key.
    Owned(String),
    /// The key has as many tunnels as it may.
    TunnelsPerKey {
        /// How many it may have.
        max: usize,
    },
    /// The key's tunnels serve as many names as they may.
    ServicesPerKey {
        /// How many they may serve.
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

/// Checks the names of a registration and drops duplicates; the order is kept. `judge` says which
/// of them the peer's key allows.
///
/// # Errors
///
/// The first name that may not be registered, with the reason.
pub fn check_names(
    offered: &[String],
    limits: &Limits,
    judge: impl Fn(&str) -> Result<(), Rejection>,
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
        judge(name)?;
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
pub fn is_well_formed(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyServices { max } => write!(f, "a tunnel may register {max} services"),
            Self::NameTooLong { max } => write!(f, "a service name may have {max} bytes"),
            Self::BadName(name) => write!(f, "not a service name: {name:?}"),
            Self::ReservedName(name) => write!(f, "the name {name:?} is reserved"),
            Self::OutOfScope(name) => write!(f, "the key does not allow the name {name:?}"),
            Self::Owned(name) => write!(f, "the name {name:?} belongs to another key"),
            Self::ServicesPerKey { max } => {
                write!(f, "tunnel_limit: the tunnels of the key may serve {max} names")
            }
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
            check_names(&many, &limits, |_| Ok(())),
            Err(Rejection::TooManyServices { max: 64 })
        );
        assert!(check_names(&many[..64], &limits, |_| Ok(())).is_ok());
        assert!(check(&["a".repeat(255).as_str()]).is_ok());
        assert_eq!(check(&["a".repeat(256).as_str()]), Err(Rejection::NameTooLong { max: 255 }));
    }

    #[test]
    fn a_name_that_the_key_does_not_allow_is_refused() {
        let judge = |name: &str| match name {
            "a.S" => Ok(()),
            _ => Err(Rejection::OutOfScope(name.to_owned())),
        };
        let refused = check_names(&["a.S".into(), "b.S".into()], &Limits::default(), judge);
        assert_eq!(refused, Err(Rejection::OutOfScope("b.S".into())));
    }

    fn check(names: &[&str]) -> Result<Vec<ServiceName>, Rejection> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check_names(&names, &Limits::default(), |_| Ok(()))
    }
}
