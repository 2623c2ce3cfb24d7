//! The event bus for those who keep no tunnel.

pub(crate) mod cloud_event;
