//! The wire: h2 and protobuf. Nothing of either leaves this folder.
//!
//! - [`listener`] accepts, [`connection`] drives one HTTP/2 connection (over [`socket`]) and sends
//!   each stream to who serves it; [`age`] and [`early_cancels`] may end it
//! - [`forward`]: a caller's stream; [`head`] reads what comes before its first message, `speech`
//!   its messages, [`answer`] writes what comes back
//! - [`tunnel`]: a peer's stream; [`decode`] and [`encode`] are its frames, [`features`] what it
//!   asked for, [`peer_call`] the calls that it makes itself
//! - [`conversation`]: what both kinds of callers have in common
//! - [`own`]: the gateway's own services, generated, on [`body`]: [`register`], [`health`],
//!   [`reflection`], `events`; [`asker`]: what their callers may hear of
//! - `publishing`: what may be published, over a tunnel or without one
//! - `call_record`: what is counted and logged of each call; `request_id` names it
//! - [`refused_key`]: what a wrong key costs; [`revocation`]: a key that is good no more
//! - [`stream`], [`framing`], [`metadata`], [`timeout`], [`compression`]: gRPC over HTTP/2
//! - [`status`]: the one error table

pub mod affinity;
pub mod age;
pub mod answer;
pub mod asker;
pub mod body;
mod call_record;
pub mod compression;
pub mod connection;
pub mod conversation;
pub mod decode;
pub mod door;
pub mod early_cancels;
pub mod encode;
mod events;
pub mod features;
pub mod forward;
pub mod framing;
pub mod head;
pub mod health;
pub mod keepalive;
mod limits_reached;
pub mod listener;
pub mod metadata;
pub mod own;
mod peer_answer;
pub mod peer_call;
mod publishing;
pub mod reflection;
pub mod refused_key;
pub mod register;
mod request_id;
pub mod revocation;
pub mod round_trip;
pub mod socket;
mod speech;
pub mod status;
pub mod stream;
pub mod timeout;
pub mod tunnel;
pub mod wire;

/// The contract in `proto/registry.proto`.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated; the contract's comments are its documentation"
)]
pub mod proto {
    tonic::include_proto!("registry");
}

/// The contracts of the gateway's own services, below `proto/adit` and `proto/grpc`.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated; the contracts' comments are their documentation"
)]
pub mod own_proto {
    /// Modules as packages are, since the first of these names the second.
    pub mod adit {
        pub mod events {
            /// `adit.events.v1`
            pub mod v1 {
                tonic::include_proto!("adit.events.v1");
            }
        }
    }
    pub mod io {
        pub mod cloudevents {
            /// `io.cloudevents.v1`
            pub mod v1 {
                tonic::include_proto!("io.cloudevents.v1");
            }
        }
    }
    pub use self::adit::events::v1 as events;
    pub use self::io::cloudevents::v1 as cloud_events;
    /// `grpc.health.v1`
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
    /// `grpc.reflection.v1`, and the messages of `grpc.reflection.v1alpha`
    pub mod reflection {
        tonic::include_proto!("grpc.reflection.v1");
    }
    /// `grpc.reflection.v1alpha` without its messages
    pub mod reflection_alpha {
        tonic::include_proto!("grpc.reflection.v1alpha");
    }
}
