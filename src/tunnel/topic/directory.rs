//! Who listens to which topics: on this worker one by one, and on which others at all.
//!
//! ```text
//!               first subscriber here: the topic begins here
//!   nobody here ------------------------------------------> listened to here
//!               <------------------------------------------
//!               last one here gone: it ends here
//! ```

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::refusal::EventRefusal;
use super::tree::TopicTree;
use super::{TopicName, TopicPattern};
use crate::tunnel::id::{MemberId, WorkerId};

/// The topics that somebody listens to. `T` is what serves one on this worker; a clone of it is cheap.
#[derive(Debug)]
pub struct TopicDirectory<T> {
    topics: TopicTree<Entry<T>>,
    subscriptions: FxHashMap<MemberId, BTreeSet<TopicPattern>>,
}

/// A pattern that somebody listens to.
#[derive(Debug)]
struct Entry<T> {
    here: Option<Here<T>>,
    elsewhere: BTreeSet<WorkerId>,
}

#[derive(Debug)]
struct Here<T> {
    topic: T,
    subscribers: usize,
}

/// How much may be listened to.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Topics, by everybody.
    pub topics: usize,
    /// Topics, by one member.
    pub subscriptions: usize,
}

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    /// The topic.
    pub topic: T,
    /// The member is its first subscriber here, or was its last one.
    pub is_edge: bool,
}

/// Where an event goes.
#[derive(Debug)]
pub struct Route<'d, T> {
    /// The topics here that mean its name.
    pub here: Vec<&'d T>,
    /// The workers that have others.
    pub elsewhere: BTreeSet<WorkerId>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { here: None, elsewhere: BTreeSet::new() }
    }
}

impl<T> Default for TopicDirectory<T> {
    fn default() -> Self {
        Self { topics: TopicTree::default(), subscriptions: FxHashMap::default() }
    }
}

impl<T: Clone> TopicDirectory<T> {
    /// A member listens to a pattern; `begin` makes the topic if nobody here does yet. `None` if it
    /// listens already.
    ///
    /// # Errors
    ///
    /// When there are as many as there may be.
    pub fn subscribe(
        &mut self,
        member: MemberId,
        pattern: &TopicPattern,
        most: Most,
        begin: impl FnOnce() -> T,
    ) -> Result<Option<Changed<T>>, EventRefusal> {
        let own = self.subscriptions.get(&member);
        if own.is_some_and(|own| own.contains(pattern)) {
            return Ok(None);
        }
        if own.map_or(0, BTreeSet::len) >= most.subscriptions {
            return Err(EventRefusal::Subscriptions { max: most.subscriptions });
        }
        if self.topics.len() >= most.topics && self.topics.get(pattern).is_none() {
            return Err(EventRefusal::Topics { max: most.topics });
        }
        self.subscriptions.entry(member).or_default().insert(pattern.clone());
        let here = &mut self.topics.get_or_insert_with(pattern, Entry::default).here;
        let is_edge = here.is_none();
        let here = here.get_or_insert_with(|| Here { topic: begin(), subscribers: 0 });
        here.subscribers += 1;
        Ok(Some(Changed { topic: here.topic.clone(), is_edge }))
    }

    /// A member listens to a pattern no more. `None` if it did not.
    pub fn unsubscribe(&mut self, member: MemberId, pattern: &TopicPattern) -> Option<Changed<T>> {
        let own = self.subscriptions.get_mut(&member)?;
        if !own.remove(pattern) {
            return None;
        }
        if own.is_empty() {
            self.subscriptions.remove(&member);
        }
        let entry = self.topics.get_mut(pattern)?;
        let here = entry.here.as_mut()?;
        here.subscribers -= 1;
        let changed = Changed { topic: here.topic.clone(), is_edge: here.subscribers == 0 };
        if changed.is_edge {
            entry.here = None;
            self.tidy(pattern);
        }
        Some(changed)
    }

    /// Whether a member listens to anything.
    pub fn listens(&self, member: MemberId) -> bool {
        self.subscriptions.contains_key(&member)
    }

    /// The patterns that a member listens to.
    pub fn patterns_of(&self, member: MemberId) -> Vec<TopicPattern> {
        self.subscriptions.get(&member).into_iter().flatten().cloned().collect()
    }

    /// What serves the topics that a member listens to.
    pub fn topics_of(&self, member: MemberId) -> Vec<T> {
        let own = self.subscriptions.get(&member).into_iter().flatten();
        let here = own.filter_map(|pattern| self.topics.get(pattern)?.here.as_ref());
        here.map(|here| here.topic.clone()).collect()
    }

    /// What served a topic here is gone, if it is the one that `is_it` knows; the members that
    /// listened to it, which do so no more.
    pub fn lose(&mut self, pattern: &TopicPattern, is_it: impl Fn(&T) -> bool) -> Vec<MemberId> {
        let here = self.topics.get(pattern).and_then(|entry| entry.here.as_ref());
        if !here.is_some_and(|here| is_it(&here.topic)) {
            return Vec::new();
        }
        let listeners = self.subscriptions.iter().filter(|(_, own)| own.contains(pattern));
        let listeners: Vec<_> = listeners.map(|(member, _)| *member).collect();
        for member in &listeners {
            self.unsubscribe(*member, pattern);
        }
        listeners
    }

    /// Somebody on another worker listens to a pattern.
    pub fn begun_elsewhere(&mut self, pattern: &TopicPattern, worker: WorkerId) {
        self.topics.get_or_insert_with(pattern, Entry::default).elsewhere.insert(worker);
    }

    /// Nobody on that worker does any more.
    pub fn ended_elsewhere(&mut self, pattern: &TopicPattern, worker: WorkerId) {
        if let Some(entry) = self.topics.get_mut(pattern) {
            entry.elsewhere.remove(&worker);
            self.tidy(pattern);
        }
    }

    /// Where an event of this name goes.
    pub fn route(&self, name: &TopicName) -> Route<'_, T> {
        let mut route = Route { here: Vec::new(), elsewhere: BTreeSet::new() };
        for entry in self.topics.matches(name) {
            route.here.extend(entry.here.as_ref().map(|here| &here.topic));
            route.elsewhere.extend(&entry.elsewhere);
        }
        route
    }

    /// How many patterns somebody listens to, anywhere.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    fn tidy(&mut self, pattern: &TopicPattern) {
        let entry = self.topics.get(pattern);
        if entry.is_some_and(|entry| entry.here.is_none() && entry.elsewhere.is_empty()) {
            self.topics.remove(pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: Most = Most { topics: 4, subscriptions: 3 };

    #[test]
    fn the_first_subscriber_begins_a_topic_and_the_last_one_ends_it() {
        let mut directory = TopicDirectory::default();
        let (one, other) = (MemberId::random(), MemberId::random());
        let edge = |is_edge| Some(Changed { topic: 1, is_edge });
        assert_eq!(directory.subscribe(one, &pattern("a.*"), MOST, || 1), Ok(edge(true)));
        assert_eq!(directory.subscribe(other, &pattern("a.*"), MOST, || 2), Ok(edge(false)));
        assert_eq!(directory.subscribe(one, &pattern("a.*"), MOST, || 3), Ok(None), "already");
        assert_eq!(directory.route(&name("a.b")).here, [&1]);
        assert_eq!(directory.unsubscribe(one, &pattern("a.*")), edge(false));
        assert_eq!(directory.unsubscribe(one, &pattern("a.*")), None);
        assert_eq!(directory.unsubscribe(other, &pattern("a.*")), edge(true));
        assert!(directory.is_empty() && directory.subscriptions.is_empty());
    }

    #[test]
    fn there_is_a_last_topic_and_a_last_subscription() {
        let mut directory = TopicDirectory::default();
        let (one, other) = (MemberId::random(), MemberId::random());
        for text in ["a", "b", "c"] {
            assert!(directory.subscribe(one, &pattern(text), MOST, || ()).is_ok());
        }
        assert_eq!(
            directory.subscribe(one, &pattern("d"), MOST, || ()),
            Err(EventRefusal::Subscriptions { max: 3 })
        );
        directory.begun_elsewhere(&pattern("d"), WorkerId(1));
        assert_eq!(
            directory.subscribe(other, &pattern("e"), MOST, || ()),
            Err(EventRefusal::Topics { max: 4 })
        );
        assert!(directory.subscribe(other, &pattern("d"), MOST, || ()).is_ok(), "it is there");
        assert_eq!(directory.len(), 4);
    }

    #[test]
    fn what_served_a_topic_is_lost_once_and_its_subscribers_with_it() {
        let mut directory = TopicDirectory::default();
        let (one, other) = (MemberId::random(), MemberId::random());
        for (member, text) in [(one, "a"), (other, "a"), (other, "b")] {
            directory.subscribe(member, &pattern(text), MOST, || 1).unwrap();
        }
        assert_eq!(directory.lose(&pattern("a"), |topic| *topic == 2), []);
        let mut lost = directory.lose(&pattern("a"), |topic| *topic == 1);
        lost.sort_unstable();
        let mut expected = [one, other];
        expected.sort_unstable();
        assert_eq!(lost, expected);
        assert_eq!(directory.patterns_of(other), [pattern("b")]);
        assert_eq!((directory.topics_of(other), directory.topics_of(one)), (vec![1], vec![]));
        assert_eq!(directory.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Subscribe(usize, usize),
        Unsubscribe(usize, usize),
        Leave(usize),
        Begun(usize, usize),
        Ended(usize, usize),
    }

    const PATTERNS: [&str; 6] = ["a", "a.b", "a.*", "#", "*.b", "a.#"];

    proptest! {
        /// Whatever happens, an event goes to exactly those who listen, and nothing is left of who left.
        #[test]
        fn an_event_goes_to_exactly_those_who_listen(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let most = Most { topics: 100, subscriptions: 100 };
            let members: Vec<_> = (0..3).map(|_| MemberId::random()).collect();
            let mut directory = TopicDirectory::default();
            let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Subscribe(who, what) => {
                        let begin = || what;
                        let changed =
                            directory.subscribe(members[who], &pattern(PATTERNS[what]), most, begin);
                        let is_edge = !here.iter().any(|(_, other)| *other == what);
                        let expected = here.insert((who, what)).then_some(Changed { topic: what, is_edge });
                        prop_assert_eq!(changed, Ok(expected));
                    }
                    Step::Unsubscribe(who, what) => {
                        let changed = directory.unsubscribe(members[who], &pattern(PATTERNS[what]));
                        let was = here.remove(&(who, what));
                        let is_edge = !here.iter().any(|(_, other)| *other == what);
                        prop_assert_eq!(changed, was.then_some(Changed { topic: what, is_edge }));
                    }
                    Step::Leave(who) => {
                        for left in directory.patterns_of(members[who]) {
                            directory.unsubscribe(members[who], &left);
                        }
                        here.retain(|(other, _)| *other != who);
                    }
                    Step::Begun(worker, what) => {
                        directory.begun_elsewhere(&pattern(PATTERNS[what]), WorkerId(worker));
                        elsewhere.insert((worker, what));
                    }
                    Step::Ended(worker, what) => {
                        directory.ended_elsewhere(&pattern(PATTERNS[what]), WorkerId(worker));
                        elsewhere.remove(&(worker, what));
                    }
                }
                for text in ["a", "b", "a.b", "c.b", "a.b.c"] {
                    let is_meant = |what: &usize| pattern(PATTERNS[*what]).matches(&name(text));
                    let route = directory.route(&name(text));
                    let found: BTreeSet<_> = route.here.into_iter().copied().collect();
                    let of_here = here.iter().map(|(_, what)| *what).filter(is_meant);
                    prop_assert_eq!(found, of_here.collect::<BTreeSet<_>>());
                    let of_others = elsewhere.iter().filter(|(_, what)| is_meant(what));
                    let workers: BTreeSet<_> = of_others.map(|(worker, _)| WorkerId(*worker)).collect();
                    prop_assert_eq!(route.elsewhere, workers);
                }
                let all: BTreeSet<_> = here.iter().chain(&elsewhere).map(|(_, what)| *what).collect();
                prop_assert_eq!(directory.len(), all.len());
            }
            let listening: BTreeSet<_> = here.iter().map(|(who, _)| members[*who]).collect();
            let known: BTreeSet<_> = directory.subscriptions.keys().copied().collect();
            prop_assert_eq!(known, listening);
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_usize, 0..6_usize).prop_map(|(who, what)| Step::Subscribe(who, what)),
            (0..3_usize, 0..6_usize).prop_map(|(who, what)| Step::Unsubscribe(who, what)),
            (0..3_usize).prop_map(Step::Leave),
            (1..3_usize, 0..6_usize).prop_map(|(worker, what)| Step::Begun(worker, what)),
            (1..3_usize, 0..6_usize).prop_map(|(worker, what)| Step::Ended(worker, what)),
        ]
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 255).unwrap()
    }

    fn name(text: &str) -> TopicName {
        TopicName::parse(text, 255).unwrap()
    }
}
