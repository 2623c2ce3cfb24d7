//! How many connections may be open: in all, and from one address.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::auth::network::network;
use crate::observe::limits::Limit;
use crate::tunnel::allowance::{Allowance, Hold};

/// With so many addresses, those without a connection are forgotten. There are never more than
/// this and the open connections together.
const FORGET_FROM: usize = 1_024;

/// Lets connections in. Clones, of one thread, count together.
#[derive(Clone, Debug)]
pub struct Door {
    all: Allowance,
    per_address_max: Rc<Cell<usize>>,
    addresses: Rc<RefCell<HashMap<IpAddr, Allowance>>>,
}

/// The place of one open connection; its drop gives it back, on whatever thread.
#[derive(Debug)]
pub struct Place {
    _in_all: Hold,
    _of_address: Option<Hold>,
}

impl Door {
    /// A door for as many connections as `all` allows, and `per_address_max` from one address.
    pub fn new(all: Allowance, per_address_max: usize) -> Self {
        Self { all, per_address_max: Rc::new(Cell::new(per_address_max)), addresses: Rc::default() }
    }

    /// How many connections are open.
    pub fn open(&self) -> &Allowance {
        &self.all
    }

    /// Lets so many in from now on.
    pub fn resize(&self, all: usize, per_address_max: usize) {
        self.all.resize(all);
        self.per_address_max.set(per_address_max);
        for allowance in self.addresses.borrow().values() {
            allowance.resize(per_address_max);
        }
    }

    /// A place for a connection from `address`, which stands for its whole network, if there is one.
    /// Loopback, where everything behind a proxy on this machine comes from, is limited in all only.
    ///
    /// # Errors
    ///
    /// Which limit leaves none.
    pub fn enter(&self, address: IpAddr) -> Result<Place, Limit> {
        let in_all = self.all.take(1).ok_or(Limit::ConnectionsMax)?;
        if address.to_canonical().is_loopback() {
            return Ok(Place { _in_all: in_all, _of_address: None });
        }
        let address = network(address);
        let mut addresses = self.addresses.borrow_mut();
        if addresses.len() >= FORGET_FROM {
            addresses.retain(|_, allowance| allowance.used() > 0);
        }
        let allowance =
            addresses.entry(address).or_insert_with(|| Allowance::new(self.per_address_max.get()));
        let of_address = allowance.take(1).ok_or(Limit::ConnectionsPerAddressMax)?;
        Ok(Place { _in_all: in_all, _of_address: Some(of_address) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_for_each_address_and_come_back() {
        let door = Door::new(Allowance::new(4), 2);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = door.enter(one).unwrap();
        let _second = door.enter(one).unwrap();
        assert!(door.enter(one).is_err(), "two of one address");
        let _third = door.enter(other).unwrap();
        drop(first);
        let _fourth = door.enter(one).unwrap();
        let _fifth = door.enter(other).unwrap();
        assert!(door.enter(IpAddr::from([192, 0, 2, 3])).is_err(), "four in all");
    }

    #[test]
    fn an_ipv6_network_has_the_places_of_one_address_and_loopback_has_no_network() {
        let door = Door::new(Allowance::new(10), 1);
        let of = |text: &str| door.enter(text.parse().unwrap());
        let _first = of("2001:db8:0:1::1").unwrap();
        assert!(of("2001:db8:0:1::2").is_err(), "the same network");
        let _second = of("2001:db8:0:2::1").unwrap();
        let _local = [of("::1").unwrap(), of("::1").unwrap()];
    }

    #[test]
    fn loopback_is_limited_in_all_only_and_addresses_without_connections_are_forgotten() {
        let door = Door::new(Allowance::new(10), 1);
        let local: Vec<_> = (0..5).map(|_| door.enter(IpAddr::from([127, 0, 0, 1]))).collect();
        assert!(local.iter().all(Result::is_ok));
        for (a, b) in (0..20).flat_map(|a| (0..100).map(move |b| (a, b))) {
            assert!(door.enter(IpAddr::from([192, 0, a, b])).is_ok());
        }
        assert!(door.addresses.borrow().len() <= FORGET_FROM);
    }
}
