//! Where the gateway listens and for whom.

use std::net::SocketAddr;

use super::Listener;
use super::file::{List, ListenerFile, Role};
use super::mistakes::Mistakes;
use super::shapes::Section;
use super::tls;
use crate::tls::credentials::Credentials;

/// More listeners than this is a slip: a gateway needs one or two, and a few more for IPv6.
const LISTENERS_MAX: usize = 64;

/// Joins the listeners as written to the listeners as used.
/// `require_key` is what the file says of callers, `known` certificates are in use already.
pub(super) fn used(
    written: List<Section<ListenerFile>>,
    require_key: Option<bool>,
    known: &[Credentials],
    mistakes: &mut Mistakes,
) -> Vec<Listener> {
    let Some(written) = written else {
        return vec![Listener::default()];
    };
    if written.len() > LISTENERS_MAX {
        mistakes.add("listeners", format_args!("must be {LISTENERS_MAX} at most"));
        return Vec::new();
    }
    let mut listeners: Vec<(String, Listener)> = Vec::new();
    for (index, listener) in written.into_iter().enumerate() {
        let path = format!("listeners[{index}]");
        let listener = listener
            .and_then(|listener| used_one(&path, &listener.0, require_key, known, mistakes));
        let Some(listener) = listener else { continue };
        if let Some((other, _)) =
            listeners.iter().find(|(_, other)| overlap(other.address, listener.address))
        {
            let text = format_args!("{} is taken by {other}", listener.address);
            mistakes.add(format!("{path}.address"), text);
        }
        listeners.push((path, listener));
    }
    let listeners = listeners.into_iter().map(|(_, listener)| listener).collect::<Vec<_>>();
    check_everyone_is_served(&listeners, mistakes);
    listeners
}

fn used_one(
    path: &str,
    written: &ListenerFile,
    require_key: Option<bool>,
    known: &[Credentials],
    mistakes: &mut Mistakes,
) -> Option<Listener> {
    let (callers, tunnels) = roles(&format!("{path}.serves"), written.serves.as_deref(), mistakes);
    let tls = written.tls.as_ref();
    let tls = tls.and_then(|tls| tls::used(&format!("{path}.tls"), &tls.0, known, mistakes));
    let of_callers = [
        ("health", written.health),
        ("reflection", written.reflection),
        ("events", written.events),
    ];
    for (name, asked) in of_callers {
        if asked == Some(true) && !callers {
            mistakes
                .add(format!("{path}.{name}"), "is for callers, whom this listener does not serve");
        }
    }
    let path = format!("{path}.address");
    let Some(address) = &written.address else {
        if !mistakes.touch(&path) {
            mistakes.add(path, "is required, like \"127.0.0.1:50051\"");
        }
        return None;
    };
    let address = address.parse::<SocketAddr>();
    let address = address.map_err(|_| "must be an IP address and a port, like \"127.0.0.1:50051\"");
    let address = mistakes.note(&path, address)?;
    let is_loopback = address.ip().to_canonical().is_loopback();
    // Names and schemas are nobody's business who is not told to look: reflection is for development.
    let reflection = written.reflection.unwrap_or(is_loopback);
    // Who opened calls to everybody has said nothing of what peers tell each other.
    let events = written.events.unwrap_or(is_loopback || require_key != Some(false));
    Some(Listener {
        address,
        callers,
        tunnels,
        health: callers && written.health.unwrap_or(true),
        reflection: callers && reflection,
        events: callers && events,
        tls,
    })
}

/// Whether callers and tunnels are served: both unless the file says which.
fn roles(path: &str, written: Option<&[Option<Role>]>, mistakes: &mut Mistakes) -> (bool, bool) {
    let Some(written) = written else {
        return (true, true);
    };
    if written.is_empty() {
        mistakes.add(path, "must name callers, tunnels or both");
    }
    let times = |role| written.iter().flatten().filter(|written| **written == role).count();
    let (callers, tunnels) = (times(Role::Callers), times(Role::Tunnels));
    if callers > 1 || tunnels > 1 {
        mistakes.add(path, "names the same twice");
    }
    (callers > 0, tunnels > 0)
}

/// Whether both would need the same port of the same address. Port 0 is a new one each time.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, ip_of_other) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same_ip = ip == ip_of_other;
    let either_is_all = ip.is_unspecified() || ip_of_other.is_unspecified();
    let port = one.port();
    port != 0
        && port == other.port()
        && (same_ip || either_is_all && ip.is_ipv4() == ip_of_other.is_ipv4())
}

fn check_everyone_is_served(listeners: &[Listener], mistakes: &mut Mistakes) {
    if mistakes.touch("listeners") {
        return;
    }
    if !listeners.iter().any(|listener| listener.callers) {
        mistakes.add("listeners", "none of them serves callers");
    }
    if !listeners.iter().any(|listener| listener.tunnels) {
        mistakes.add("listeners", "none of them serves tunnels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_listeners_there_is_one_on_loopback_for_both() {
        let (listeners, mistakes) = read("null");
        assert_eq!(listeners, [Listener::default()]);
        assert!(listeners[0].is_loopback() && mistakes.is_empty());
    }

    #[test]
    fn a_listener_serves_whom_it_names_and_both_otherwise() {
        let (listeners, mistakes) =
            read(r#"[ {"address": "0.0.0.0:1", "serves": ["tunnels"]}, {"address": "[::1]:2"} ]"#);
        assert_eq!(mistakes, Vec::<String>::new());
        let roles: Vec<_> = listeners.iter().map(|l| (l.callers, l.tunnels)).collect();
        assert_eq!(roles, [(false, true), (true, true)]);
    }

    #[test]
    fn health_is_for_callers_and_reflection_for_those_on_this_machine_unless_it_says_so() {
        let (listeners, mistakes) = read(
            r#"[ {"address": "127.0.0.1:1"}, {"address": "0.0.0.0:2"},
                 {"address": "0.0.0.0:3", "health": false, "reflection": true},
                 {"address": "127.0.0.1:4", "serves": ["tunnels"]} ]"#,
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let own: Vec<_> = listeners.iter().map(|l| (l.health, l.reflection)).collect();
        assert_eq!(own, [(true, true), (true, false), (false, true), (false, false)]);
        let (_, mistakes) = read(
            r#"[ {"address": "[::1]:1"}, {"address": "[::1]:2", "serves": ["tunnels"], "health": true} ]"#,
        );
        assert_eq!(
            mistakes,
            ["listeners[1].health: is for callers, whom this listener does not serve"]
        );
    }

    #[test]
    fn an_address_is_taken_once_whichever_way_it_is_written() {
        let taken = |one: &str, other: &str| {
            let text = format!(r#"[ {{"address": "{one}"}}, {{"address": "{other}"}} ]"#);
            read(&text).1.iter().any(|m| m.ends_with("is taken by listeners[0]"))
        };
        assert!(taken("127.0.0.1:5", "127.0.0.1:5"));
        assert!(taken("127.0.0.1:5", "[::ffff:127.0.0.1]:5"));
        assert!(taken("0.0.0.0:5", "127.0.0.1:5"));
        assert!(!taken("127.0.0.1:5", "127.0.0.1:6"));
        assert!(!taken("127.0.0.1:5", "127.0.0.2:5"));
        assert!(!taken("127.0.0.1:0", "127.0.0.1:0"), "port 0 is a new port each time");
    }

    #[test]
    fn callers_and_tunnels_must_both_be_served() {
        let only = |role: &str| {
            read(&format!(r#"[{{"address": "127.0.0.1:5", "serves": ["{role}"]}}]"#)).1
        };
        assert_eq!(only("callers"), ["listeners: none of them serves tunnels"]);
        assert_eq!(only("tunnels"), ["listeners: none of them serves callers"]);
        assert_eq!(read("[]").1.len(), 2);
    }

    #[test]
    fn there_is_a_last_listener() {
        let many = vec![r#"{"address": "127.0.0.1:0"}"#; LISTENERS_MAX + 1];
        assert_eq!(read(&format!("[{}]", many[1..].join(","))).1, Vec::<String>::new());
        let (_, mistakes) = read(&format!("[{}]", many.join(",")));
        assert_eq!(mistakes, ["listeners: must be 64 at most"]);
    }

    #[test]
    fn what_is_wrong_with_each_listener_is_reported() {
        let (_, mistakes) = read(
            r#"[ {}, {"address": "localhost:5", "serves": []},
                 {"address": "127.0.0.1:70000", "serves": ["callers", "callers"]} ]"#,
        );
        assert_eq!(
            mistakes,
            [
                "listeners[0].address: is required, like \"127.0.0.1:50051\"",
                "listeners[1].serves: must name callers, tunnels or both",
                "listeners[1].address: must be an IP address and a port, like \"127.0.0.1:50051\"",
                "listeners[2].serves: names the same twice",
                "listeners[2].address: must be an IP address and a port, like \"127.0.0.1:50051\"",
            ]
        );
    }

    fn read(text: &str) -> (Vec<Listener>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let listeners = used(serde_json::from_str(text).unwrap(), None, &[], &mut mistakes);
        (listeners, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
