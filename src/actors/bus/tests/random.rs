//! Random sequences of events against a small model.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    Close(usize),
}

const PATTERNS: [&str; 5] = ["a", "a.*", "#", "*.b", "a.#"];
const NAMES: [&str; 4] = ["a", "b", "a.b", "c.d.e"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each listener hears exactly what a small model says, in the order of each publisher, and when
    /// all have gone nothing is left.
    #[test]
    fn everybody_hears_exactly_what_they_listen_to(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let run = run(steps);
        System::new().block_on(run);
    }

    /// The same on one worker when nobody ever waits: what is asked for and published in one breath has
    /// effect in that order, by publisher and name.
    #[test]
    fn everybody_hears_in_order_what_was_published_while_they_came_and_went(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let run = run_in_one_breath(steps);
        System::new().block_on(run);
    }
}

async fn run_in_one_breath(steps: Vec<Step>) {
    let stage = Stage::new();
    let publishers = [0, 0].map(|worker| Publisher::new(&stage, worker));
    let listeners: Vec<_> = (0..4).map(|_| Listener::new(&stage, 0)).collect();
    let mut model: Vec<(BTreeSet<usize>, Vec<Arc<str>>)> = vec![Default::default(); 4];
    let mut sent: BTreeMap<_, BTreeSet<Arc<str>>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Subscribe(who, what) => {
                listeners[who].subscribe(PATTERNS[what]);
                model[who].0.insert(what);
            }
            Step::Unsubscribe(who, what) => {
                listeners[who].unsubscribe(PATTERNS[what]);
                model[who].0.remove(&what);
            }
            Step::Publish(who, what) => {
                let id = publishers[who].publish(NAMES[what]);
                expect(&mut model, NAMES[what], &id);
                sent.entry((who, what)).or_default().insert(id);
            }
            // All of its subscriptions end; it stays to be heard.
            Step::Close(who) => {
                for what in std::mem::take(&mut model[who].0) {
                    listeners[who].unsubscribe(PATTERNS[what]);
                }
            }
        }
    }
    settle().await;
    for (listener, (_, expected)) in listeners.iter().zip(&model) {
        let heard = listener.heard();
        assert_eq!(heard.len(), expected.len());
        for of_one_name in sent.values() {
            let own = |ids: &[Arc<str>]| -> Vec<Arc<str>> {
                ids.iter().filter(|id| of_one_name.contains(*id)).cloned().collect()
            };
            assert_eq!(own(&heard), own(expected));
        }
    }
    drop(listeners);
    settle().await;
    nothing_is_left(&stage);
}

/// Whoever listens will hear the event; how many do.
fn expect(model: &mut [(BTreeSet<usize>, Vec<Arc<str>>)], name: &str, id: &Arc<str>) -> usize {
    let name = TopicName::parse(name, 255).unwrap();
    let mut subscribers = 0;
    for (patterns, expected) in model {
        if patterns.iter().any(|what| pattern(PATTERNS[*what]).matches(&name)) {
            expected.push(id.clone());
            subscribers += 1;
        }
    }
    subscribers
}

async fn run(steps: Vec<Step>) {
    let stage = Stage::with(2, Limits::default());
    let mut publishers = [0, 1].map(|worker| Publisher::new(&stage, worker));
    let mut listeners: Vec<_> = (0..4).map(|number| Listener::new(&stage, number % 2)).collect();
    let mut model: Vec<(BTreeSet<usize>, Vec<Arc<str>>)> = vec![Default::default(); 4];
    for step in steps {
        match step {
            Step::Subscribe(who, what) => {
                listeners[who].subscribe(PATTERNS[what]);
                model[who].0.insert(what);
                settle().await;
            }
            Step::Unsubscribe(who, what) => {
                listeners[who].unsubscribe(PATTERNS[what]);
                model[who].0.remove(&what);
                settle().await;
            }
            Step::Publish(who, what) => {
                let id = publishers[who].publish(NAMES[what]);
                let subscribers = expect(&mut model, NAMES[what], &id);
                let none = Outcome::NoSubscriber;
                let some = Outcome::Accepted { subscribers };
                let expected = if subscribers == 0 { none } else { some };
                assert_eq!(publishers[who].outcome().await, (id, expected));
            }
            Step::Close(who) => {
                assert_eq!(listeners[who].heard(), model[who].1);
                listeners[who] = Listener::new(&stage, who % 2);
                model[who] = Default::default();
                settle().await;
            }
        }
        let topics = model.iter().enumerate();
        let topics =
            topics.flat_map(|(who, (own, _))| own.iter().map(move |what| (who % 2, *what)));
        assert_eq!(running(&stage), topics.collect::<BTreeSet<_>>().len());
    }
    for (listener, (_, expected)) in listeners.iter().zip(&model) {
        assert_eq!(&listener.heard(), expected);
    }
    drop(listeners);
    settle().await;
    nothing_is_left(&stage);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_usize, 0..5_usize).prop_map(|(who, what)| Step::Subscribe(who, what)),
        (0..4_usize, 0..5_usize).prop_map(|(who, what)| Step::Unsubscribe(who, what)),
        (0..2_usize, 0..4_usize).prop_map(|(who, what)| Step::Publish(who, what)),
        (0..4_usize).prop_map(Step::Close),
    ]
}
