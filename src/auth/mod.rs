//! Which keys exist and what each of them allows.
//!
//! The ring knows digests, never keys. A key is long and random, so its unsalted SHA-256 gives
//! nothing away and can be looked up in one step.

pub mod certificate;
pub mod grant;
pub mod guesses;
pub mod key;
pub mod network;
pub mod pattern;
pub mod topics;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use grant::{KeyGrant, Scope};
use key::{KeyDigest, SAMPLE_KEY};

/// The keys that open the gateway. Two keys may have the same grant: an old one and the one that
/// takes its place.
#[derive(Clone, Default)]
pub struct Keyring {
    places: HashMap<KeyDigest, Place>,
    grants: HashMap<String, Arc<KeyGrant>>,
    /// Calls of `demo.Greeter` may go to who registered `Greeter`: who owns the one owns the other.
    unqualified: bool,
}

/// A key on the ring.
#[derive(Clone, Debug)]
struct Place {
    grant: Arc<KeyGrant>,
    /// The first moment at which it is good no more.
    expires: Option<SystemTime>,
}

/// A key that was shown and was good. It may be so no longer: [`Keyring::look_up`].
#[derive(Clone, Copy, Debug)]
pub struct Credential(KeyDigest);

/// What a key that was shown is good for.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The key.
    pub credential: Credential,
    /// What it allows now.
    pub grant: Arc<KeyGrant>,
    /// Until when.
    pub expires: Option<SystemTime>,
}

/// Why a key that was shown is good for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// The ring does not have it.
    Unknown,
    /// Its time is up.
    Expired,
}

/// Why a name may not be registered with a key that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForThisKey {
    /// The key's scope does not have the name.
    OutOfScope,
    /// The name belongs to another key, which names it in full.
    Owned,
}

/// Why a key was not put on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRefused {
    /// Another grant has this id.
    DuplicateId,
    /// The same key is on the ring already.
    DuplicateKey {
        /// The id it has there.
        id: String,
    },
    /// It is the key that the documentation shows, which everyone knows.
    Sample,
    /// It is the digest of no text at all: a peer that sends no key would pass.
    Empty,
}

impl Keyring {
    /// A ring without keys: nobody gets in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether calls of `demo.Greeter` may go to who registered `Greeter`.
    #[must_use]
    pub fn matching_unqualified(self, unqualified: bool) -> Self {
        Self { unqualified, ..self }
    }

    /// Puts a key on the ring, for as long as it is good.
    ///
    /// # Errors
    ///
    /// Refuses another grant with the same id, the same key twice, the documentation's sample key
    /// and the empty key.
    pub fn add(
        &mut self,
        digest: KeyDigest,
        grant: &Arc<KeyGrant>,
        expires: Option<SystemTime>,
    ) -> Result<(), KeyRefused> {
        if digest == KeyDigest::of(SAMPLE_KEY.as_bytes()) {
            return Err(KeyRefused::Sample);
        }
        if digest == KeyDigest::of(b"") {
            return Err(KeyRefused::Empty);
        }
        if self.grants.get(grant.id()).is_some_and(|other| !Arc::ptr_eq(other, grant)) {
            return Err(KeyRefused::DuplicateId);
        }
        match self.places.entry(digest) {
            Entry::Occupied(other) => {
                Err(KeyRefused::DuplicateKey { id: other.get().grant.id().to_owned() })
            }
            Entry::Vacant(place) => {
                self.grants.insert(grant.id().to_owned(), grant.clone());
                place.insert(Place { grant: grant.clone(), expires });
                Ok(())
            }
        }
    }

    /// What the presented key allows at this moment.
    ///
    /// The presented bytes are hashed before anything is compared, and digests compare in constant
    /// time, so how long this takes says nothing about the keys on the ring.
    ///
    /// # Errors
    ///
    /// If the ring does not have the key, or its time is up.
    pub fn check(&self, presented: &[u8], now: SystemTime) -> Result<Admission, BadKey> {
        self.look_up(Credential(KeyDigest::of(presented)), now)
    }

    /// What a key that was good before allows at this moment.
    ///
    /// # Errors
    ///
    /// If it has been taken off the ring, or its time is up.
    pub fn look_up(&self, credential: Credential, now: SystemTime) -> Result<Admission, BadKey> {
        let Place { grant, expires } = self.places.get(&credential.0).ok_or(BadKey::Unknown)?;
        if expires.is_some_and(|expires| expires <= now) {
            return Err(BadKey::Expired);
        }
        Ok(Admission { credential, grant: grant.clone(), expires: *expires })
    }

    /// Whether a name may be registered under this grant. A name that some key writes out in full
    /// belongs to the keys that do, and so does any other under which its calls could be caught; who
    /// came first makes no difference.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn may_register(&self, grant: &KeyGrant, name: &str) -> Result<(), NotForThisKey> {
        if !grant.register.allows(name) {
            return Err(NotForThisKey::OutOfScope);
        }
        let mut others = self.grants.values().filter(|other| !other.shared);
        if !grant.register.names(name) && others.any(|other| self.owns(other, name)) {
            return Err(NotForThisKey::Owned);
        }
        Ok(())
    }

    fn owns(&self, grant: &KeyGrant, name: &str) -> bool {
        let catches = |own: &str| match (own.rsplit_once('.'), name.rsplit_once('.')) {
            (Some((_, last)), None) => last == name,
            (None, Some((_, last))) => last == own,
            (None, None) | (Some(_), Some(_)) => false,
        };
        grant.register.names(name) || self.unqualified && grant.register.exact_names().any(catches)
    }

    /// The ring in place of an older one, whose count of calls in flight goes on under the same id.
    #[must_use]
    pub fn in_place_of(mut self, older: &Self) -> Self {
        for grant in self.grants.values_mut() {
            if let Some(before) = older.grants.get(grant.id()) {
                let calls = before.calls.clone();
                calls.resize(grant.calls.limit());
                *grant = Arc::new(KeyGrant { calls, ..KeyGrant::clone(grant) });
            }
        }
        for place in self.places.values_mut() {
            if let Some(grant) = self.grants.get(place.grant.id()) {
                place.grant = grant.clone();
            }
        }
        self
    }

    /// Every grant, in no order.
    pub fn grants(&self) -> impl Iterator<Item = &KeyGrant> {
        self.grants.values().map(Arc::as_ref)
    }

    /// The ids of grants of which no key is good at this moment, in order.
    pub fn expired(&self, now: SystemTime) -> Vec<&str> {
        let good = |grant: &Arc<KeyGrant>| {
            let mut places = self.places.values().filter(|place| Arc::ptr_eq(&place.grant, grant));
            places.any(|place| place.expires.is_none_or(|expires| now < expires))
        };
        let expired = self.grants.values().filter(|grant| !good(grant));
        let mut ids: Vec<_> = expired.map(|grant| grant.id()).collect();
        ids.sort_unstable();
        ids
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody can get in.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids: Vec<&String> = self.grants.keys().collect();
        ids.sort_unstable();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

impl fmt::Display for KeyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId => f.write_str("another key has this id"),
            Self::DuplicateKey { id } => write!(f, "is the same key as `{id}`"),
            Self::Sample => f.write_str(
                "is the sample key from the documentation, which everyone knows; \
                 run `adit key new` for one of your own",
            ),
            Self::Empty => f.write_str("is the digest of an empty text, not of a key"),
        }
    }
}

impl std::error::Error for KeyRefused {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::key::ApiKey;
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn a_key_opens_with_its_own_grant_and_nothing_else_does() {
        let (bots, edge) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let mut ring = Keyring::new();
        ring.add(bots.digest(), &grant("bots", &["demo.*"]), None).unwrap();
        ring.add(edge.digest(), &grant("edge", &["*"]), None).unwrap();

        let found = ring.check(bots.reveal().as_bytes(), NOW).unwrap().grant;
        assert_eq!(found.id(), "bots");
        assert!(found.register.allows("demo.Echo"));
        assert!(!found.register.allows("chat.Room"));

        let bad = |presented: &[u8]| ring.check(presented, NOW).unwrap_err() == BadKey::Unknown;
        assert!(bad(b""));
        assert!(bad(&bots.reveal().as_bytes()[1..]));
        assert!(bad(bots.digest().to_string().as_bytes()), "a digest is no key");
    }

    #[test]
    fn an_id_and_a_key_are_taken_once() {
        let mut ring = Keyring::new();
        let key = ApiKey::generate().unwrap();
        ring.add(key.digest(), &grant("bots", &["*"]), None).unwrap();

        let again = ring.add(key.digest(), &grant("edge", &["*"]), None);
        assert_eq!(again, Err(KeyRefused::DuplicateKey { id: "bots".into() }));
        let other = ApiKey::generate().unwrap();
        let same_id = ring.add(other.digest(), &grant("bots", &["*"]), None);
        assert_eq!(same_id, Err(KeyRefused::DuplicateId));
        assert_eq!(ring.len(), 1);
        assert!(ring.check(other.reveal().as_bytes(), NOW).is_err());
    }

    #[test]
    fn a_key_and_the_one_before_it_have_one_grant_until_the_old_one_expires() {
        let (new, old) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let bots = grant("bots", &["*"]);
        let mut ring = Keyring::new();
        ring.add(new.digest(), &bots, None).unwrap();
        ring.add(old.digest(), &bots, Some(NOW + Duration::from_secs(1))).unwrap();

        let admission = ring.check(old.reveal().as_bytes(), NOW).unwrap();
        assert!(Arc::ptr_eq(&admission.grant, &bots));
        let later = NOW + Duration::from_secs(1);
        assert_eq!(ring.look_up(admission.credential, later).unwrap_err(), BadKey::Expired);
        assert!(ring.check(new.reveal().as_bytes(), later).is_ok());
        assert_eq!(ring.expired(later), Vec::<&str>::new(), "one of the two is good");
    }

    #[test]
    fn a_grant_without_a_good_key_is_told() {
        let mut ring = Keyring::new();
        let key = ApiKey::generate().unwrap();
        ring.add(key.digest(), &grant("bots", &["*"]), Some(NOW)).unwrap();
        assert_eq!(ring.expired(NOW), ["bots"]);
    }

    #[test]
    fn a_name_belongs_to_the_keys_that_write_it_out() {
        let mut ring = Keyring::new();
        let mut add = |grant: &Arc<KeyGrant>| {
            ring.add(ApiKey::generate().unwrap().digest(), grant, None).unwrap();
        };
        let (owner, twin) =
            (grant("owner", &["demo.Echo"]), grant("twin", &["demo.*", "demo.Echo"]));
        let anybody = grant("anybody", &["*"]);
        let open = KeyGrant { shared: true, ..KeyGrant::clone(&grant("open", &["demo.Open"])) };
        for grant in [&owner, &twin, &anybody, &Arc::new(open)] {
            add(grant);
        }
        assert_eq!(ring.may_register(&owner, "demo.Echo"), Ok(()));
        assert_eq!(ring.may_register(&twin, "demo.Echo"), Ok(()));
        assert_eq!(ring.may_register(&anybody, "demo.Echo"), Err(NotForThisKey::Owned));
        assert_eq!(ring.may_register(&anybody, "demo.Open"), Ok(()), "it is shared");
        assert_eq!(ring.may_register(&anybody, "demo.Other"), Ok(()), "nobody owns it");
        assert_eq!(ring.may_register(&owner, "demo.Open"), Err(NotForThisKey::OutOfScope));
    }

    #[test]
    fn who_owns_a_name_owns_it_with_and_without_its_package_where_both_are_the_same() {
        let (full, last) = (grant("full", &["demo.Echo"]), grant("last", &["Chat"]));
        let anybody = grant("anybody", &["*"]);
        let named = grant("named", &["Echo"]);
        for (unqualified, expected) in [(true, Err(NotForThisKey::Owned)), (false, Ok(()))] {
            let mut ring = Keyring::new().matching_unqualified(unqualified);
            for grant in [&full, &last, &anybody, &named] {
                ring.add(ApiKey::generate().unwrap().digest(), grant, None).unwrap();
            }
            assert_eq!(ring.may_register(&anybody, "room.Chat"), expected);
            assert_eq!(ring.may_register(&named, "Echo"), Ok(()), "it is written out");
        }
        let mut ring = Keyring::new().matching_unqualified(true);
        ring.add(ApiKey::generate().unwrap().digest(), &full, None).unwrap();
        assert_eq!(ring.may_register(&anybody, "Echo"), Err(NotForThisKey::Owned));
        assert_eq!(ring.may_register(&anybody, "other.Echo"), Ok(()));
    }

    #[test]
    fn calls_in_flight_go_on_counting_in_the_next_ring() {
        let key = ApiKey::generate().unwrap();
        let ring_for = |calls_max| {
            let calls = crate::tunnel::allowance::Allowance::new(calls_max);
            let grant = KeyGrant { calls, ..KeyGrant::clone(&grant("bots", &["*"])) };
            let mut ring = Keyring::new();
            ring.add(key.digest(), &Arc::new(grant), None).unwrap();
            ring
        };
        let calls =
            |ring: &Keyring| ring.check(key.reveal().as_bytes(), NOW).unwrap().grant.calls.clone();
        let first = ring_for(2);
        let in_flight = calls(&first).take(2).unwrap();
        let second = ring_for(1).in_place_of(&first);
        assert!(calls(&second).take(1).is_none());
        drop(in_flight);
        let _one = calls(&second).take(1).unwrap();
        assert!(calls(&second).take(1).is_none(), "the new limit holds");
    }

    #[test]
    fn the_sample_key_and_the_empty_key_are_refused() {
        let mut ring = Keyring::new();
        let sample = KeyDigest::of(SAMPLE_KEY.as_bytes());
        assert_eq!(ring.add(sample, &grant("bots", &["*"]), None), Err(KeyRefused::Sample));
        let empty = KeyDigest::of(b"");
        assert_eq!(ring.add(empty, &grant("bots", &["*"]), None), Err(KeyRefused::Empty));
        assert!(ring.is_empty());
    }

    #[test]
    fn debug_shows_ids_and_no_digest() {
        let mut ring = Keyring::new();
        let key = ApiKey::generate().unwrap();
        ring.add(key.digest(), &grant("bots", &["*"]), None).unwrap();
        assert_eq!(format!("{ring:?}"), r#"Keyring(["bots"])"#);
    }

    fn grant(id: &str, register: &[&str]) -> Arc<KeyGrant> {
        let patterns = register.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(KeyGrant { register: Scope::of(patterns), ..KeyGrant::unlimited(id) })
    }
}
