//! Adit: a gateway for gRPC services that cannot be dialled.

pub mod actors;
pub mod observe;
pub mod tunnel;
