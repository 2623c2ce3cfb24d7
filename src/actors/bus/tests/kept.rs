//! Who comes back reads what is kept and then hears what comes, each event once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::task::yield_now;

use super::*;
use crate::actors::testing::start_buses;
use crate::tunnel::topic::history::Keep;
use crate::tunnel::topic::reader::Reader;

const NAMES: [&str; 3] = ["a", "a.b", "c"];
const KEEP: Keep =
    Keep { events_max: 1_000, bytes_max: 1 << 20, topics_max: 10, total_bytes_max: 1 << 20 };

#[actix::test]
async fn who_comes_back_reads_what_is_kept_after_an_event_and_then_hears_what_comes() {
    let stage = keeping(KEEP);
    let mut publisher = Publisher::new(&stage, 0);
    let sent: Vec<_> = (0..3).map(|_| publisher.publish("a.b")).collect();
    for _ in &sent {
        assert_eq!(publisher.outcome().await.1, Outcome::NoSubscriber);
    }
    let listener = Listener::new(&stage, 1);
    let (mut reader, may_miss) = come_back(&listener, &["a.*"], &sent[..1]).await;
    assert!(!may_miss);
    let last = publisher.publish("a.b");
    let accepted = Outcome::Accepted { subscribers: 1 };
    assert_eq!(publisher.outcome().await, (last.clone(), accepted), "it will read that");
    assert_eq!(listener.heard(), NOTHING, "that is kept");
    let read = listener.membership.read_kept(&mut reader);
    assert!(read.is_end && !read.may_miss);
    assert_eq!(ids(&read.events), [&sent[1..], slice::from_ref(&last)].concat());
    let next = publisher.publish("a.b");
    settle().await;
    assert_eq!(listener.heard(), [next]);
    let totals = stage.window.topics.totals();
    assert_eq!((totals.replayed, totals.delivered, totals.kept_events), (3, 1, 5));
}

#[actix::test]
async fn where_nothing_is_kept_who_comes_back_is_told_so_and_hears_what_comes() {
    let stage = Stage::with(2, Limits::default());
    let publisher = Publisher::new(&stage, 0);
    publisher.publish("a");
    let listener = Listener::new(&stage, 1);
    let (mut reader, may_miss) = come_back(&listener, &["a"], &["known".into()]).await;
    assert!(may_miss);
    assert!(listener.membership.read_kept(&mut reader).events.is_empty());
    let next = publisher.publish("a");
    settle().await;
    assert_eq!(listener.heard(), [next]);
}

#[actix::test]
async fn an_event_that_is_not_delivered_again_is_not_kept_again() {
    let stage = Stage::new();
    let (limits, window) = (stage.limits.clone(), stage.window.clone());
    let kept = KeptEvents::new(Some(KEEP), &window.topics);
    let settings = Settings { limits, deduplicate: true, kept, window };
    let (died, _died) = mpsc::unbounded_channel();
    let bus = BusHandle::start(WorkerId(0), &settings, died);
    let mut publisher = Publisher::new(&stage, 0);
    for _ in 0..2 {
        publisher.publish_as(&bus, "a", "e-1");
        publisher.outcome().await;
    }
    assert_eq!(stage.window.topics.totals().kept_events, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Publishers on two workers publish on and on; whoever comes back meanwhile, on whichever worker,
    /// gets each event after its position once, each publisher's of one name in their order.
    #[test]
    fn between_what_is_kept_and_what_comes_nothing_is_missing_and_nothing_comes_twice(
        pauses in prop::collection::vec((0..2_usize, 0..3_usize, 0..4_usize), 40..80),
        comes_after in prop::collection::vec((0..60_usize, 0..2_usize, 0..3_usize), 1..5),
        reads_after in 0..12_usize,
    ) {
        System::new().block_on(async move {
            let stage = keeping(KEEP);
            let publishers = [0, 1].map(|worker| Publisher::new(&stage, worker));
            // Tasks of their own, because actors have their turns between those.
            let publishing = actix::spawn(async move {
                let mut sent: BTreeMap<(usize, usize), Vec<Arc<str>>> = BTreeMap::new();
                for (who, what, pauses) in pauses {
                    sent.entry((who, what)).or_default().push(publishers[who].publish(NAMES[what]));
                    yields(pauses).await;
                }
                sent
            });
            let coming = comes_after.into_iter().map(|(comes_after, worker, reads)| {
                let listener = Listener::new(&stage, worker);
                actix::spawn(returning(listener, comes_after, reads * reads_after))
            });
            let coming: Vec<_> = coming.collect();
            let sent = publishing.await.unwrap();
            for returning in coming {
                let (listener, mut heard) = returning.await.unwrap();
                settle().await;
                heard.extend(listener.heard());
                assert_eq!(heard.len(), sent.values().map(Vec::len).sum::<usize>(), "each once");
                for of_one in sent.values() {
                    let own = heard.iter().filter(|id| of_one.contains(id));
                    assert_eq!(&own.cloned().collect::<Vec<_>>(), of_one);
                }
            }
        });
    }
}

/// Others have so many turns.
async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Somebody who comes back to all that is kept, and what it has read of that.
async fn returning(
    listener: Listener,
    comes_after: usize,
    reads_after: usize,
) -> (Listener, Vec<Arc<str>>) {
    yields(comes_after).await;
    let (mut reader, _) = come_back(&listener, &["#"], &[]).await;
    yields(reads_after).await;
    let mut heard = Vec::new();
    loop {
        let read = listener.membership.read_kept(&mut reader);
        assert!(!read.may_miss);
        heard.extend(ids(&read.events));
        if read.is_end {
            return (listener, heard);
        }
    }
}

async fn come_back(listener: &Listener, topics: &[&str], heard: &[Arc<str>]) -> (Reader, bool) {
    let patterns: Vec<_> = topics.iter().map(|text| pattern(text)).collect();
    let heard: Vec<_> = heard.iter().map(ToString::to_string).collect();
    let resumed = listener.membership.resume(&patterns, &heard);
    listener.membership.subscribe(patterns);
    listener.membership.settled().await;
    resumed
}

fn ids(events: &[Arc<crate::actors::event::Event>]) -> Vec<Arc<str>> {
    events.iter().map(|event| event.id.clone()).collect()
}

/// A stage with two workers, where so much is kept.
fn keeping(keep: Keep) -> Stage {
    let mut stage = Stage::with(2, Limits::default());
    let (died, _) = mpsc::unbounded_channel();
    stage.buses = start_buses(2, &stage.limits, &stage.window, Some(keep), &died);
    stage
}
