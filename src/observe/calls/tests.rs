//! Every number against calls that are known, and the room there is for names.

use super::names::HISTOGRAM_LINES;
use super::*;

const OK: Status = Status::OK;
const UNIMPLEMENTED: i32 = 12;
const UNAVAILABLE: i32 = 14;

fn calls(workers: usize, series_max: usize, names: &[&str]) -> (Arc<Calls>, Vec<CallCounter>) {
    let calls = Arc::new(Calls::new(workers, series_max));
    calls.served(names.iter().copied());
    let counters = (0..workers).map(|worker| CallCounter::new(calls.clone(), worker)).collect();
    (calls, counters)
}

fn answered(status: Status) -> End {
    End {
        status,
        reason: None,
        duration_nanoseconds: 2_000_000,
        overhead_nanoseconds: Some(40_000),
        bytes_in: 100,
        bytes_out: 3_000,
    }
}

fn failed(status: i32, reason: &str) -> End {
    let reason = Reason::named(reason);
    let status = Status::numbered(status);
    End { reason, overhead_nanoseconds: None, bytes_in: 0, bytes_out: 0, ..answered(status) }
}

fn call(counter: &CallCounter, path: &str, end: End) {
    counter.begin(path, ticks::now()).end(end);
}

fn method<'m>(all: &'m [MethodSnapshot], name: &str) -> &'m MethodSnapshot {
    all.iter().find(|method| method.method == name).expect("the method")
}

fn statuses(method: &MethodSnapshot) -> Vec<(&'static str, u64)> {
    method.by_status.iter().map(|status| (status.status, status.duration.count())).collect()
}

/// Lines that the text format would have for the longest list.
fn lines(all: &[MethodSnapshot]) -> usize {
    all.iter().map(|method| method.by_status.len() * HISTOGRAM_LINES).sum()
}

#[test]
fn every_number_is_that_of_the_calls_made() {
    let (calls, counters) = calls(2, 2_000, &["demo.Echo"]);
    for _ in 0..3 {
        call(&counters[0], "/demo.Echo/Say", answered(OK));
    }
    call(&counters[1], "/demo.Echo/Say", answered(OK));
    call(&counters[1], "/demo.Echo/Say", failed(UNAVAILABLE, "tunnel_lost"));
    let streaming = counters[0].begin("/demo.Echo/Chat", ticks::now());
    (0..5).for_each(|_| streaming.message_in());
    (0..2).for_each(|_| streaming.clone().message_out());

    let methods = calls.methods();
    let names: Vec<_> = methods.iter().map(|method| method.method.as_str()).collect();
    assert_eq!(names, ["demo.Echo/Chat", "demo.Echo/Say", "other"]);
    let say = method(&methods, "demo.Echo/Say");
    assert_eq!((say.started, statuses(say)), (5, vec![("OK", 4), ("UNAVAILABLE", 1)]));
    assert_eq!((say.overhead.count(), say.overhead.counts[2]), (4, 4));
    assert!((say.overhead.sum - 4.0 * 0.000_04).abs() < 1e-12);
    let ok = &say.by_status[0];
    assert_eq!(ok.duration.counts[8], 4);
    assert!((ok.duration.sum - 0.008).abs() < 1e-12);
    assert_eq!((ok.received_bytes.counts[1], ok.sent_bytes.counts[3]), (4, 4));
    assert!((ok.sent_bytes.sum - 12_000.0).abs() < 1e-9);
    let chat = method(&methods, "demo.Echo/Chat");
    assert_eq!((chat.started, statuses(chat)), (1, vec![]));

    let services = calls.services();
    let echo = &services[0];
    assert_eq!((echo.service.as_str(), echo.started, echo.ended), ("demo.Echo", 6, 5));
    assert_eq!(echo.by_status, [("OK", 4), ("UNAVAILABLE", 1)]);
    assert_eq!(echo.by_reason, [("tunnel_lost", 1)]);
    assert_eq!((echo.messages_in, echo.messages_out), (5, 2));
    assert_eq!(echo.duration.count(), 5);
    assert!((echo.per_second - 6.0).abs() < 1.0, "{}", echo.per_second);
    assert_eq!(calls.local_errors(), [("tunnel_lost", "UNAVAILABLE", 1)]);
    let totals = calls.totals();
    assert_eq!((totals.started, totals.ended), (6, 5));
    assert_eq!((totals.duration.count(), totals.overhead.count()), (5, 4));
}

#[test]
fn what_nobody_registered_is_other() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo", "Greeter"]);
    for path in ["/demo.Nobody/Say", "/demo.Echo", "//x", "/demo.Echo/", "/demo.Echo/a/b", "", "x"]
    {
        call(&counters[0], path, failed(UNIMPLEMENTED, "unknown_service"));
    }
    call(&counters[0], &format!("/demo.Echo/{}", "x".repeat(600)), answered(OK));
    call(&counters[0], "/demo.Greeter/Greet", answered(OK));
    let methods = calls.methods();
    assert_eq!(method(&methods, "other").started, 8);
    assert_eq!(method(&methods, "demo.Greeter/Greet").started, 1, "by the last part of the name");
    assert_eq!(methods.len(), 2);
    assert_eq!(calls.services()[0].service, "Greeter");

    calls.match_unqualified(false);
    calls.left(std::iter::once("demo.Echo"));
    call(&counters[0], "/my.Greeter/Greet", answered(OK));
    call(&counters[0], "/demo.Echo/Say", failed(UNAVAILABLE, "no_tunnel"));
    assert_eq!(method(&calls.methods(), "other").started, 10);
}

#[test]
fn a_service_that_is_called_other_counts_among_the_others() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo", "other"]);
    for path in ["/other/Say", "/demo.other/Say", "/demo.Nobody/Say"] {
        call(&counters[0], path, answered(OK));
    }
    call(&counters[0], "/demo.Echo/Say", answered(OK));
    let names: Vec<_> = calls.services().into_iter().map(|service| service.service).collect();
    assert_eq!(names, ["demo.Echo", "other"]);
    let methods = calls.methods();
    assert_eq!((methods.len(), method(&methods, "other").started), (2, 3));
}

#[test]
fn names_in_the_configuration_count_as_served() {
    let (calls, counters) = calls(1, 2_000, &[]);
    let no_tunnel = || failed(UNAVAILABLE, "no_tunnel");
    calls.declare(["demo.Echo", "demo.Old"].into_iter());
    call(&counters[0], "/demo.Echo/Say", no_tunnel());
    calls.served(std::iter::once("demo.Echo"));
    calls.left(std::iter::once("demo.Echo"));
    calls.declare(["demo.Echo", "demo.New"].into_iter());
    for service in ["Echo", "Old", "New"] {
        call(&counters[0], &format!("/demo.{service}/Late"), no_tunnel());
    }
    let names: Vec<_> = calls.methods().into_iter().map(|method| method.method).collect();
    assert_eq!(names, ["demo.Echo/Late", "demo.Echo/Say", "demo.New/Late", "other"]);
}

#[test]
fn services_that_end_in_a_registered_name_push_out_no_method_of_one_that_is_registered() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo", "Greeter"]);
    call(&counters[0], "/demo.Echo/Early", answered(OK));
    for number in 0..1_000 {
        call(&counters[0], &format!("/x{number}.Greeter/Say"), answered(OK));
    }
    call(&counters[0], "/demo.Echo/Late", answered(OK));
    call(&counters[0], "/demo.Greeter/Say", answered(OK));
    let methods = calls.methods();
    for name in ["demo.Echo/Early", "demo.Echo/Late", "demo.Greeter/Say"] {
        assert_eq!(method(&methods, name).started, 1, "{name}");
    }
    assert_eq!(methods.iter().map(|method| method.started).sum::<u64>(), 1_003);
    assert!(lines(&methods) <= 2_000);
}

#[test]
fn errors_give_half_of_the_places_to_methods_that_come_later() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo"]);
    for number in 0..5 {
        for status in [0, 5, 7, 13, 14, 16] {
            call(
                &counters[0],
                &format!("/demo.Echo/M{number}"),
                answered(Status::numbered(status)),
            );
        }
    }
    // Of 28 places they have all. One of these calls ends when its method has lost that place.
    let open: Vec<_> = (0..5)
        .map(|number| counters[0].begin(&format!("/demo.Echo/M{number}"), ticks::now()))
        .collect();
    let mut other_before = calls.totals().ended;
    for number in 0..20 {
        call(&counters[0], &format!("/demo.Echo/Late{number}"), answered(OK));
        let ended = calls.totals().ended;
        assert_eq!((calls.totals().duration.count(), ended), (other_before + 1, other_before + 1));
        other_before = ended;
    }
    for call in &open {
        call.end(answered(Status::numbered(UNAVAILABLE)));
    }
    let methods = calls.methods();
    assert!(lines(&methods) <= 2_000, "{}", lines(&methods));
    let named =
        |number: &usize| methods.iter().any(|m| m.method == format!("demo.Echo/Late{number}"));
    assert_eq!((0..20).filter(named).count(), 10);
    let errors = |m: &&MethodSnapshot| m.by_status.len() > 1 && m.method != "other";
    assert_eq!(methods.iter().filter(errors).count(), 3, "half of the places are left to errors");
    for number in 0..5 {
        let real = method(&methods, &format!("demo.Echo/M{number}"));
        assert_eq!((real.started, statuses(real)[0]), (7, ("OK", 1)), "{number}");
    }
    let ended: u64 = methods.iter().flat_map(statuses).map(|(_, count)| count).sum();
    let started: u64 = methods.iter().map(|method| method.started).sum();
    assert_eq!((started, ended), (5 * 7 + 20, 5 * 7 + 20));
    // When nobody holds them any more, all that they counted is in the cells of the others.
    drop(open);
    calls.left(std::iter::once("demo.Echo"));
    calls.served(std::iter::once("demo.New"));
    for number in 0..1_000 {
        let made = format!("/demo.New/M{number}");
        call(&counters[0], &made, answered(Status::numbered(UNIMPLEMENTED)));
    }
    let left_over = calls.lock().methods().1;
    assert!(left_over.iter().all(|method| method.service() != "demo.Echo"));
    let totals = calls.totals();
    assert_eq!((totals.ended, totals.duration.count()), (ended + 1_000, ended + 1_000));
}

#[test]
fn what_is_held_while_others_lose_their_places_is_taken_over_in_the_end() {
    let (calls, counters) = calls(1, 1_000, &["demo.Echo"]);
    for number in 0..2_000 {
        let made = format!("/demo.Echo/Made{number}");
        call(&counters[0], &made, answered(Status::numbered(UNIMPLEMENTED)));
        // No more are left over than a worker remembers and one look finds.
        assert!(calls.lock().methods().1.len() <= 600, "after {number}");
    }
    let methods = calls.methods();
    assert_eq!(methods.iter().map(|method| method.started).sum::<u64>(), 2_000);
}

#[test]
fn a_service_that_comes_back_goes_on_under_its_name() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo"]);
    call(&counters[0], "/demo.Echo/Say", answered(OK));
    calls.left(std::iter::once("demo.Echo"));
    call(&counters[0], "/demo.Echo/Say", failed(UNAVAILABLE, "no_tunnel"));
    call(&counters[0], "/demo.Echo/New", failed(UNAVAILABLE, "no_tunnel"));
    calls.served(std::iter::once("demo.Echo"));
    call(&counters[0], "/demo.Echo/Say", answered(OK));
    let methods = calls.methods();
    assert_eq!(method(&methods, "demo.Echo/Say").started, 3);
    assert_eq!(method(&methods, "other").started, 1, "a name is made while its service is there");
    let services = calls.services();
    assert_eq!((services[0].started, services[0].by_reason[0]), (4, ("no_tunnel", 2)));
}

#[test]
fn ten_thousand_services_and_methods_stay_within_the_room_and_nothing_is_lost() {
    for series_max in [100, 800, 2_000, 5_000] {
        let names: Vec<_> = (0..10_000).map(|number| format!("demo.S{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (calls, counters) = calls(2, series_max, &names);
        for (place, name) in names.iter().enumerate() {
            let end = if place % 7 == 0 { failed(UNAVAILABLE, "no_tunnel") } else { answered(OK) };
            call(&counters[place % 2], &format!("/{name}/Say"), end);
            for status in 0..17 {
                let end = answered(Status::numbered(status));
                call(&counters[place % 2], &format!("/demo.S0/M{place}"), end);
            }
        }
        let methods = calls.methods();
        let all: u64 = methods.iter().map(|method| method.started).sum();
        let ended: u64 = methods.iter().flat_map(statuses).map(|(_, count)| count).sum();
        assert_eq!((all, ended), (180_000, 180_000), "{series_max}");
        assert!(lines(&methods) <= series_max, "{} of {series_max}", lines(&methods));
        assert!(methods.len() * HISTOGRAM_LINES <= series_max);
        let services = calls.services();
        assert!(services.len() * 2 <= series_max, "{} services", services.len());
        assert_eq!(services.iter().map(|service| service.ended).sum::<u64>(), 180_000);
        assert_eq!(calls.totals().ended, 180_000);
    }
}

#[test]
fn made_up_methods_push_out_nobody_who_has_succeeded_and_nobody_in_flight() {
    let (calls, counters) = calls(1, 2_000, &["demo.Echo"]);
    call(&counters[0], "/demo.Echo/Real", answered(OK));
    let in_flight = counters[0].begin("/demo.Echo/Slow", ticks::now());
    call(&counters[0], "/demo.Echo/Early", answered(Status::numbered(UNIMPLEMENTED)));
    let mut other_before = 0;
    for number in 0..10_000 {
        let end = answered(Status::numbered(UNIMPLEMENTED));
        call(&counters[0], &format!("/demo.Echo/Made{number}"), end);
        if number % 100 == 0 {
            let other = method(&calls.methods(), "other").started;
            assert!(other >= other_before, "a counter got smaller");
            other_before = other;
        }
    }
    in_flight.end(answered(OK));
    call(&counters[0], "/demo.Echo/Late", answered(OK));
    let methods = calls.methods();
    for name in ["Real", "Slow", "Late"] {
        assert_eq!(method(&methods, &format!("demo.Echo/{name}")).started, 1, "{name}");
    }
    assert!(methods.iter().all(|method| method.method != "demo.Echo/Early"));
    let all: u64 = methods.iter().map(|method| method.started).sum();
    let ended: u64 = methods.iter().flat_map(statuses).map(|(_, count)| count).sum();
    assert_eq!((all, ended), (10_004, 10_004));
    assert!(lines(&methods) <= 2_000);
}

#[test]
fn a_call_ends_where_it_began_though_its_method_has_lost_its_place() {
    let (calls, counters) = calls(2, 1_000, &["demo.Echo"]);
    // Another worker remembers the method, which loses its place meanwhile.
    call(&counters[1], "/demo.Echo/Early", answered(Status::numbered(UNIMPLEMENTED)));
    for number in 0..100 {
        let end = answered(Status::numbered(UNIMPLEMENTED));
        call(&counters[0], &format!("/demo.Echo/Made{number}"), end);
    }
    call(&counters[1], "/demo.Echo/Early", answered(OK));
    let methods = calls.methods();
    assert_eq!(method(&methods, "demo.Echo/Early").started, 1, "it has a new place");
    let ended: u64 = methods.iter().flat_map(statuses).map(|(_, count)| count).sum();
    assert_eq!((methods.iter().map(|m| m.started).sum::<u64>(), ended), (102, 102));
}

#[test]
fn a_service_that_is_gone_gives_its_place_to_one_that_is_there() {
    let (calls, counters) = calls(1, 100, &[]);
    for number in 0..1_000 {
        let name = format!("demo.S{number}");
        calls.served(std::iter::once(name.as_str()));
        call(&counters[0], &format!("/{name}/Say"), answered(OK));
        calls.left(std::iter::once(name.as_str()));
    }
    let services = calls.services();
    assert_eq!(services.len(), 50);
    assert!(services.iter().any(|service| service.service == "demo.S999"));
    assert_eq!(services.iter().map(|service| service.ended).sum::<u64>(), 1_000);
}
